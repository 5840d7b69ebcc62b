"""A notebook away from its project: its set-up cell finds the module or fetches it, or says in a sentence why not.

The servers here are on this machine; notebooks that run to their end in an empty folder: tests/test_colab.py.
"""
import contextlib
import functools
import http.server
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

import googlenet_utils as gu
import write_address
from translation import HAN

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
        f'__version__ = "{version}"\ndef get_ready(version, language="en"):\n    raise SystemExit(__file__)\n',
        encoding="utf-8")


# One place for the address and the version

@pytest.mark.parametrize(("path", "text"), [pytest.param(path, text, id=path.name)
                                            for path, text in write_address.wanted()])
def test_address_and_version_are_those_of_pyproject_and_the_module_in(path, text):
    assert path.read_text(encoding="utf-8") == text, "run: python tools/write_address.py"


def write_everywhere(root, owner):
    """Give the project at `root` this owner and version 7.8.9; returns its README."""
    for name, old, new in (("pyproject.toml", r"github\.com/[\w.-]+/[\w.-]+", f"github.com/{owner}/lessons"),
                           ("googlenet_utils.py", r'^__version__ = ".+"', '__version__ = "7.8.9"')):
        text, count = re.subn(old, new, (root / name).read_text(encoding="utf-8"), flags=re.M)
        assert count == 1
        (root / name).write_text(text, encoding="utf-8")
    for path, text in write_address.wanted(root):
        path.write_text(text, encoding="utf-8")
    assert all(path.read_text(encoding="utf-8") == text for path, text in write_address.wanted(root))
    return (root / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    for name in ("pyproject.toml", "googlenet_utils.py", "README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    return tmp_path


def test_a_new_address_and_a_new_version_reach_every_place(copy):
    write_everywhere(copy, "ada")
    for path in write_address.notebooks(copy):
        old, new = (json.loads((root / path.relative_to(copy)).read_text(encoding="utf-8"))["cells"]
                    for root in (ROOT, copy))
        changed = [(before, after) for before, after in zip(old, new, strict=True) if before != after]
        ((before, after),) = changed
        assert '"https://raw.githubusercontent.com/ada/lessons", "7.8.9"' in "".join(after["source"])
        (ready,) = after["outputs"][0]["text"]
        assert ready.endswith("googlenet_utils 7.8.9\n")
        assert after["execution_count"] == before["execution_count"]
    module = (copy / "googlenet_utils.py").read_text(encoding="utf-8")
    assert 'HOME = "https://raw.githubusercontent.com/ada/lessons/v" + __version__' in module
    assert "version: 7.8.9\n" in (copy / "CITATION.cff").read_text(encoding="utf-8")


def test_the_folders_to_upload_are_those_that_the_notebooks_read():
    needing = {call: [path.name[:2] for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
                      if f"gu.{call}(" in path.read_text(encoding="utf-8")] for call in ("load_result", "load_trained")}
    assert needing == {"load_result": ["03", "04", "05", "06", "07", "08"], "load_trained": ["04", "05"]}
    said = "Notebooks 3 to 8 also need `benchmarks/results/`, notebooks 4 and 5 `notebooks/weights/`,"
    assert said in write_address.UPLOAD


def test_badges_come_with_a_real_address_and_go_with_it(copy):
    bare = write_everywhere(copy, write_address.NOBODY)
    assert "badge" not in bare and "Upload notebook" in bare
    badges = write_everywhere(copy, "a-department-with-a-long-name")
    colab = "https://colab.research.google.com/github/a-department-with-a-long-name/lessons/blob/v7.8.9/notebooks/"
    assert re.findall(rf"^\[(colab-\d)\]: {colab}(.+)$", badges, re.M) == [
        (f"colab-{number}", path.name) for number, path in enumerate(sorted((ROOT / "notebooks").glob("*.ipynb")), 1)]
    assert re.findall(r"\]\[(colab-\d)\]", badges) == [f"colab-{number}" for number in range(1, 9)]
    assert "Upload notebook" not in badges and len(badges.encode()) <= 8_192
    assert write_everywhere(copy, write_address.NOBODY) == bare


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

@pytest.mark.parametrize("language", [(), ("en",)])
def test_get_ready_says_ready(capsys, monkeypatch, language):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    gu.get_ready(VERSION, *language)
    assert capsys.readouterr().out == f"ready: googlenet_utils {VERSION}\n"


def test_get_ready_chooses_the_language_of_the_class(capsys, monkeypatch):
    monkeypatch.setattr(gu, "_messages", gu._messages)      # which the test gives back
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    monkeypatch.setenv("GOOGLENET_PROFILE", "ci")
    gu.get_ready(VERSION, "zh")
    gu.choose_profile()
    gu.check("Ｂ。", "B", [], "因为如此。")
    assert capsys.readouterr().out == (f"就绪：googlenet_utils {VERSION}\n"
                                       "配置 ci（由 GOOGLENET_PROFILE 指定）：最多 1,000 张训练图像、500 张测试图像，"
                                       "24 x 24 到 32 x 32 像素\n✓ 正确。因为如此。\n")


def test_every_message_stands_in_each_language_with_as_many_fields():
    fields = [{name: re.findall(r"{.*?}", text) for name, text in said.items()} for said in gu._MESSAGES.values()]
    assert fields[0] == fields[1]
    assert all(map(HAN.search, gu._MESSAGES["zh"].values()))


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("9.9.9", "en"), f"this notebook needs googlenet_utils 9.9.9, not {VERSION}: .*"),
    ((VERSION, "de"), "unknown language 'de': choose \"en\" or \"zh\""), ((VERSION, "EN"), "unknown language 'EN': .*"),
    ((VERSION, None), "unknown language None: .*")])
def test_get_ready_refuses_another_version_and_an_unknown_language(capsys, arguments, sentence):
    with pytest.raises(SystemExit, match=f"^{sentence}$"):
        gu.get_ready(*arguments)
    assert capsys.readouterr().out == ""


def test_colab_without_a_gpu_is_told_how_to_switch_it_on(capsys, monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    monkeypatch.setattr(gu.torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(gu.torch.cuda, "is_available", lambda: pytest.fail("this starts CUDA"))
    gu.get_ready(VERSION, "en")
    hint, ready = capsys.readouterr().out.splitlines()
    assert "Change runtime type" in hint
    assert ready.startswith("ready")
    monkeypatch.setattr(gu.torch.cuda, "device_count", lambda: 1)
    gu.get_ready(VERSION, "en")
    assert capsys.readouterr().out == f"ready: googlenet_utils {VERSION}\n"


@pytest.fixture
def without_d2l(tmp_path, monkeypatch):
    """A Python without d2l, whose user's folder does not exist yet, and a pip that tells what it was asked for.

    `pip.code` is what it returns; where that is 0 it installs a d2l into `pip.folder`.
    """
    user = tmp_path / "user" / "site-packages"
    pip = SimpleNamespace(commands=[], code=0, folder=user)

    def run(command, **options):
        pip.commands.append(command)
        if pip.code == 0:
            (pip.folder / "d2l").mkdir(parents=True)
            (pip.folder / "d2l" / "__init__.py").write_bytes(b"")
        return subprocess.CompletedProcess(command, pip.code)

    before = set(sys.path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(gu.site, "getusersitepackages", lambda: str(user))
    monkeypatch.setattr(gu.subprocess, "run", run)
    monkeypatch.setattr(gu.importlib.util, "find_spec", lambda name: importlib.machinery.PathFinder.find_spec(
        name, [folder for folder in sys.path if folder not in before]))
    return pip


def test_a_missing_d2l_is_installed_without_its_pins_and_found_in_the_users_folder(without_d2l, capsys):
    gu.get_ready(VERSION, "en")
    assert without_d2l.commands == [[sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "d2l==1.0.3"]]
    assert importlib.util.find_spec("d2l").origin.startswith(str(without_d2l.folder))
    assert capsys.readouterr().out.splitlines()[-1] == f"ready: googlenet_utils {VERSION}"


@pytest.mark.parametrize("fault", ["pip fails", "pip installs where this Python does not look"])
def test_ready_is_not_said_where_d2l_cannot_be_found(without_d2l, capsys, tmp_path, fault):
    if fault == "pip fails":
        without_d2l.code = 1
    else:
        without_d2l.folder = tmp_path / "elsewhere"
    with pytest.raises(SystemExit, match=r"^d2l cannot be found: .* restart the kernel: .* d2l==1\.0\.3$"):
        gu.get_ready(VERSION, "en")
    assert capsys.readouterr().out == ""


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


@pytest.mark.parametrize("folder", ["file", "file/course"])
def test_where_the_course_folder_cannot_be_written_files_are_fetched_into_the_home_folder(
        tmp_path, home, monkeypatch, capsys, folder):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(gu, "__file__", str(tmp_path / folder / "googlenet_utils.py"))
    with served(ROOT) as address:
        monkeypatch.setenv("GOOGLENET_BASE_URL", address)
        result = gu.load_result("article_recipe")
    monkeypatch.setenv("GOOGLENET_BASE_URL", NOBODY)
    assert gu.load_result("article_recipe") == result
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{tmp_path / folder / 'benchmarks' / 'results'} cannot be written: {home}")
    assert [path.name for path in home.rglob("results/*")] == ["article_recipe.json"]


def test_a_file_that_is_there_is_used_in_a_course_folder_that_is_read_only(guest_folder, home, monkeypatch, capsys):
    monkeypatch.setattr(gu, "__file__", str(guest_folder.path / "googlenet_utils.py"))
    monkeypatch.setenv("GOOGLENET_BASE_URL", NOBODY)
    (guest_folder.path / "benchmarks" / "results").mkdir(parents=True)
    (guest_folder.path / "benchmarks" / "results" / "speed.json").write_text("{}", encoding="utf-8")
    with guest_folder.as_guest(0o555):
        assert gu.load_result("speed") == {}
    assert capsys.readouterr().out == ""
    assert list(home.iterdir()) == []


def test_a_full_disk_is_not_called_the_servers_fault(away, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(gu, "_write_whole", full)
    with served(ROOT) as home:
        monkeypatch.setenv("GOOGLENET_BASE_URL", home)
        with pytest.raises(OSError, match=r"No space left on device: .*article_recipe\.json"):
            gu.load_result("article_recipe")


@pytest.mark.parametrize(("handler", "module", "result", "reason"), [
    (None, None, None, "refused"), (Quiet, None, None, "404"), (Quiet, VERSION, None, "404"),
    (Quiet, "0.0.1", "{}", f"not version {VERSION}"),
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
