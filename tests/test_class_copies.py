"""The class's copies: no answers in them, everything that a notebook needs beside them, and nothing else changed."""
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tools" / "class_copies.py"


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def copies(folder):
    done = run(folder / "class")
    assert (done.returncode, done.stderr) == (0, "")
    assert "without their answers" in done.stdout
    return folder / "class"


def test_answers_are_cleared_and_all_else_stays(copies):
    originals = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert [path.name for path in sorted((copies / "notebooks").glob("*.ipynb"))] == [path.name for path in originals]
    cleared = 0
    for path in originals:
        before = nbformat.read(path, as_version=4).cells
        after = nbformat.read(copies / "notebooks" / path.name, as_version=4).cells
        for old, new in zip(before, after, strict=True):
            if "predict" in old.metadata.get("tags", []):
                assert new.outputs == []
                assert new.execution_count is None
                assert (new.id, new.source) == (old.id, old.source)
                cleared += 1
            else:
                assert new == old
    assert cleared >= 2 * len(originals)


def test_a_chinese_class_gets_the_chinese_notebooks(folder):
    done = run(folder / "class", "--language", "zh")
    assert (done.returncode, done.stderr) == (0, "")
    first = nbformat.read(folder / "class" / "notebooks" / "01_inception_block.ipynb", as_version=4).cells[0]
    assert first.source.startswith("# 1 · 一个 Inception 块")


def test_solutions_and_data_are_absent(copies):
    names = {path.relative_to(copies).as_posix() for path in copies.rglob("*")}
    assert "googlenet_utils.py" in names
    assert not [name for name in names if "solution" in name or name.startswith(("data", "tests"))]


def test_a_copy_runs_where_it_lies(copies):
    environment = {**os.environ, "GOOGLENET_PROFILE": "ci", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-m", "jupyter", "execute", "01_inception_block.ipynb"],
                          cwd=copies / "notebooks", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]


def test_a_folder_with_something_in_it_is_refused(folder):
    (folder / "mine.txt").write_text("keep me")
    done = run(folder)
    assert done.returncode == 1
    assert "not an empty folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
