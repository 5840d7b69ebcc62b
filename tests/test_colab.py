"""End to end: each notebook on a machine like Colab's, in a folder that holds nothing else.

Python 3.13 with current packages, as Colab has them, the lock's torch, and no d2l. A web server on this machine stands
in for the address of the code. The set-up cell fetches the rest, and the notebook runs to its end in profile ci.

usage: python -m pytest -m end_to_end tests/test_colab.py

The environment takes some minutes and about 6 GB; it stays in .venv-colab/ for the next run. GOOGLENET_COLAB_PYTHON
names the Python of another one. Without Python 3.13 the tests are skipped, but fail where CI is set.
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from test_address import served

import googlenet_utils as gu
from write_address import language_of

ROOT = Path(__file__).resolve().parent.parent
# Of the Chinese ones the first: what they fetch is what the English ones fetch.
NOTEBOOKS = [*sorted((ROOT / "notebooks").glob("*.ipynb")), ROOT / "notebooks" / "zh" / "01_inception_block.ipynb"]
ENVIRONMENT = ROOT / ".venv-colab"
# What Colab has and the notebooks or d2l import; nbclient runs them here. The lock's torch comes on top.
PACKAGES = ["accelerate", "ipykernel", "jupyter-client", "matplotlib", "nbclient", "numpy", "pandas", "pillow", "pip",
            "requests", "safetensors", "scipy", "tqdm"]
BY_ITSELF = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")      # for this Python only

pytestmark = pytest.mark.end_to_end


def python_3_13():
    """A Python 3.13 of this machine: on the path, among pyenv's or among uv's. None without one."""
    pyenv = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    found = subprocess.run([sys.executable, "-m", "uv", "python", "find", "--no-python-downloads", "3.13"],
                           capture_output=True, text=True, check=False).stdout.strip()
    for candidate in ("python3.13", found, *sorted(glob.glob(f"{pyenv}/versions/3.13*/bin/python"))):
        program = candidate and shutil.which(candidate)
        if program and "3.13" in ask(program, "import sys; print(sys.version)"):
            return program
    return None


def ask(python, code, **options):
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, **options).stdout


def build(python):
    """Make the environment, or leave it as it is where it holds what it should."""
    pins = re.findall(r"^(?:torch|torchvision)==[\w.]+", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)
    wish = "\n".join([python, *pins, *PACKAGES])
    stamp = ENVIRONMENT / "made-of.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wish:
        uv = [sys.executable, "-m", "uv"]
        for command in ([*uv, "venv", "--quiet", "--clear", "--python", python, str(ENVIRONMENT)],
                        [*uv, "pip", "install", "--quiet", "--python", str(ENVIRONMENT), *pins, *PACKAGES]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        stamp.write_text(wish, encoding="utf-8")
    return str(ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin") / "python")


@pytest.fixture(scope="module")
def colab_python():
    if os.environ.get("GOOGLENET_COLAB_PYTHON"):
        return os.environ["GOOGLENET_COLAB_PYTHON"]
    python = python_3_13()
    if python is None:
        if os.environ.get("CI"):
            pytest.fail("Python 3.13 is missing")
        pytest.skip("Python 3.13, which Colab has, is missing on this machine")
    return build(python)


@pytest.fixture(scope="module")
def code_host():
    with served(ROOT) as home:
        yield home


def packages(python, environment):
    code = ("import importlib.metadata, json; "
            "print(json.dumps({d.name.lower(): d.version for d in importlib.metadata.distributions()}))")
    return json.loads(ask(python, code, env=environment))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_runs_to_its_end_in_an_empty_folder(path, tmp_path, colab_python, code_host):
    environment = {name: value for name, value in os.environ.items() if name not in BY_ITSELF}
    environment |= {"GOOGLENET_BASE_URL": code_host, "GOOGLENET_PROFILE": "ci", "COLAB_RELEASE_TAG": "like-colab",
                    "JUPYTER_DATA_DIR": str(tmp_path / "jupyter"), "IPYTHONDIR": str(tmp_path / "ipython")}
    subprocess.run([sys.executable, "-m", "uv", "pip", "uninstall", "--quiet", "--python", colab_python, "d2l"],
                   check=False, capture_output=True)
    before = packages(colab_python, environment)
    assert "d2l" not in before
    folder = tmp_path / "content"
    folder.mkdir()
    notebook = nbformat.read(path, as_version=4)
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs, cell.execution_count = [], None           # what is there afterwards, this run has made
    nbformat.write(notebook, folder / path.name)

    execute = "from nbclient.cli import main; main()"           # what `jupyter execute` runs
    command = [colab_python, "-c", execute, "--inplace", "--timeout=600", path.name]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

    code = [cell for cell in nbformat.read(folder / path.name, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    *hint, ready = "".join(output.text for output in code[0].outputs).splitlines()
    language = language_of(path.relative_to(ROOT))
    assert ready == gu._MESSAGES[language]["ready"].format(gu.__version__)
    gpus = int(ask(colab_python, "import torch; print(torch.cuda.device_count())", env=environment))
    assert len(hint) == (gpus == 0)
    assert all("Change runtime type" in line for line in hint)

    assert packages(colab_python, environment) == {**before, "d2l": "1.0.3"}        # nothing else was touched
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    fetched = ("benchmarks/results/", "notebooks/weights/")
    files = {file for file in files if "__pycache__" not in file and not file.startswith(fetched)}
    assert files == {path.name, "googlenet_utils.py"}
    for file in (file for file in folder.rglob("*") if file.suffix in (".py", ".json", ".safetensors")):
        assert file.read_bytes() == (ROOT / file.relative_to(folder)).read_bytes()
