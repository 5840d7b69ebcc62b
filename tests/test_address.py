"""A notebook away from its project: its set-up cell finds the module or fetches it, or says in a sentence why not.

The servers here are on this machine; notebooks that run to their end in an empty folder: tests/test_colab.py.
"""
import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import googlenet_utils as gu
import write_address

ROOT = Path(__file__).resolve().parent.parent
NOBODY = "http://127.0.0.1:9"           # a port on which nothing listens
VERSION = gu.__version__


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


class WebPage(Quiet):
    """Answers every request with a page, as the log-in page of a hotel's Wi-Fi does."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>Welcome</title>")


class BreaksOff(Quiet):
    """Sends the first half of what it announced."""

    def do_GET(self):
        content = (Path(self.directory) / self.path[1:]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:len(content) // 2])


@contextlib.contextmanager
def served(folder, handler=Quiet):
    """The address of a web server for the files of a folder, as a teacher starts one: python -m http.server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run_set_up(folder, home):
    """Run the set-up cell as a program in `folder`; returns what it prints and the sentence it stops with."""
    done = subprocess.run([sys.executable, "-c", write_address.set_up_cell()], cwd=folder, capture_output=True,
                          text=True, check=False, env={**os.environ, "GOOGLENET_BASE_URL": home})
    return done.stdout, done.stderr


def stand_in(folder, version=VERSION):
    """A module of this name that is quick to import: it says that it was used, and ends the program."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "googlenet_utils.py").write_text(
        f'__version__ = "{version}"\ndef get_ready(version):\n    raise SystemExit(__file__)\n', encoding="utf-8")


# One place for the address and the version

@pytest.mark.parametrize(("path", "text"), [pytest.param(path, text, id=path.name)
                                            for path, text in write_address.wanted()])
def test_address_and_version_are_those_of_pyproject_and_the_module_in(path, text):
    assert path.read_text(encoding="utf-8") == text, "run: python tests/write_address.py"


def test_readme_has_a_badge_for_every_notebook():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        owner, name = write_address.read_address()
        address = f"https://colab.research.google.com/github/{owner}/{name}/blob/v{VERSION}/notebooks/{path.name}"
        assert readme.count(address) == 1


def test_a_new_address_and_a_new_version_reach_every_place(tmp_path):
    for name in ("pyproject.toml", "googlenet_utils.py", "README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    for name, old, new in (("pyproject.toml", "/".join(write_address.read_address()), "ada/lessons"),
                           ("googlenet_utils.py", f'__version__ = "{VERSION}"', '__version__ = "7.8.9"')):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert text.count(old) == 1
        (tmp_path / name).write_text(text.replace(old, new), encoding="utf-8")
    for path, text in write_address.wanted(tmp_path):
        before = path.read_text(encoding="utf-8")
        assert "/".join(write_address.read_address()) not in text
        if path.suffix == ".ipynb":
            old, new = ([cell for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
                        for notebook in (before, text))
            assert '"https://raw.githubusercontent.com/ada/lessons"' in "".join(new[0]["source"])
            assert new[0]["outputs"][0]["text"] == ["ready: googlenet_utils 7.8.9\n"]
            assert [cell["execution_count"] for cell in new] == [cell["execution_count"] for cell in old]
            assert new[1:] == old[1:]
        path.write_text(text, encoding="utf-8")
    assert all(path.read_text(encoding="utf-8") == text for path, text in write_address.wanted(tmp_path))
    assert "ada/lessons/blob/v7.8.9/" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "version: 7.8.9\n" in (tmp_path / "CITATION.cff").read_text(encoding="utf-8")


# The set-up cell

@pytest.mark.parametrize("place", [".", "..", "../.."])
def test_the_module_is_found_beside_the_notebook_or_above_it(tmp_path, place):
    folder = tmp_path / "a folder" / "notebooks"
    folder.mkdir(parents=True)
    stand_in(folder / place)
    found = run_set_up(folder, NOBODY)[1].strip()
    assert Path(found).resolve() == (folder / place / "googlenet_utils.py").resolve()


def test_the_module_is_fetched_into_an_empty_folder(tmp_path):
    stand_in(tmp_path / "server")
    empty = tmp_path / "empty"
    empty.mkdir()
    with served(tmp_path / "server") as home:
        printed, stopped = run_set_up(empty, home)
    assert (printed, Path(stopped.strip()).parent.resolve()) == ("", empty.resolve())
    assert [path.name for path in empty.iterdir() if path.is_file()] == ["googlenet_utils.py"]


@pytest.mark.parametrize(("handler", "version", "reason"), [
    (None, None, "refused"), (Quiet, None, "404"), (Quiet, "0.0.1", "another version"),
    (WebPage, None, "another version"), (BreaksOff, VERSION, "IncompleteRead")])
def test_what_cannot_be_fetched_is_said_in_one_sentence_and_nothing_is_left(tmp_path, handler, version, reason):
    server, empty = tmp_path / "server", tmp_path / "empty"
    server.mkdir()
    empty.mkdir()
    if version:
        stand_in(server, version)
    with served(server, handler) if handler else contextlib.nullcontext(NOBODY) as home:
        printed, stopped = run_set_up(empty, home)
    assert printed == ""
    assert stopped.startswith(f"put googlenet_utils.py {VERSION} into this folder")
    assert stopped.count("\n") == 1
    assert home in stopped
    assert reason in stopped
    assert not list(empty.iterdir())


# The module, away from its project

def test_get_ready_says_ready_and_refuses_another_version(capsys, monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    gu.get_ready(VERSION)
    assert capsys.readouterr().out == f"ready: googlenet_utils {VERSION}\n"
    with pytest.raises(SystemExit, match=rf"needs googlenet_utils 9.9.9, not {re.escape(VERSION)}"):
        gu.get_ready("9.9.9")


def test_colab_without_a_gpu_is_told_how_to_switch_it_on(capsys, monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    monkeypatch.setattr(gu.torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(gu.torch.cuda, "is_available", lambda: pytest.fail("this starts CUDA"))
    gu.get_ready(VERSION)
    hint, ready = capsys.readouterr().out.splitlines()
    assert "Change runtime type" in hint
    assert ready.startswith("ready")
    monkeypatch.setattr(gu.torch.cuda, "device_count", lambda: 1)
    gu.get_ready(VERSION)
    assert capsys.readouterr().out == f"ready: googlenet_utils {VERSION}\n"


def test_d2l_is_installed_without_its_pins_where_it_is_missing(monkeypatch):
    commands, code = [], [1]
    monkeypatch.setattr(gu.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(gu.subprocess, "run", lambda command, **options: (
        commands.append(command), subprocess.CompletedProcess(command, code[0]))[1])
    with pytest.raises(SystemExit, match="d2l could not be installed"):
        gu.get_ready(VERSION)
    code[0] = 0
    gu.get_ready(VERSION)
    assert commands[1] == [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "d2l==1.0.3"]


@pytest.fixture
def away(tmp_path, monkeypatch):
    """An empty folder in which the module seems to lie."""
    folder = tmp_path / "away"
    folder.mkdir()
    monkeypatch.setattr(gu, "__file__", str(folder / "googlenet_utils.py"))
    return folder


def test_a_missing_file_is_fetched_once(away, monkeypatch):
    with served(ROOT) as home:
        monkeypatch.setenv("GOOGLENET_BASE_URL", home)
        result = gu.load_result("article_recipe")
    monkeypatch.setenv("GOOGLENET_BASE_URL", NOBODY)
    assert gu.load_result("article_recipe") == result
    fetched = away / "benchmarks" / "results" / "article_recipe.json"
    assert fetched.read_bytes() == (ROOT / "benchmarks" / "results" / "article_recipe.json").read_bytes()
    assert [path.name for path in fetched.parent.iterdir()] == [fetched.name]


@pytest.mark.parametrize(("handler", "module", "result", "reason"), [
    (None, None, None, "refused"), (Quiet, None, None, "404"), (Quiet, VERSION, None, "404"),
    (Quiet, "0.0.1", "{}", f"not version {VERSION}"), (WebPage, None, None, f"not version {VERSION}"),
    (Quiet, VERSION, "<!DOCTYPE html>", "Expecting value"), (BreaksOff, VERSION, "{}", "IncompleteRead")])
def test_what_cannot_be_had_is_refused_and_not_left(tmp_path, away, monkeypatch, refuses, handler, module, result,
                                                    reason):
    server = tmp_path / "server"
    (server / "benchmarks" / "results").mkdir(parents=True)
    if module:
        stand_in(server, module)
    if result:
        (server / "benchmarks" / "results" / "speed.json").write_text(result, encoding="utf-8")
    with served(server, handler) if handler else contextlib.nullcontext(NOBODY) as home:
        monkeypatch.setenv("GOOGLENET_BASE_URL", home)
        with refuses(RuntimeError, "speed.json", "missing", home, reason):
            gu.load_result("speed")
    assert not [path for path in away.rglob("*") if path.is_file()]
