"""What several test files share: the real CIFAR-10, the same random numbers for every test, and a check of refusals."""
import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import googlenet_utils as gu

ROOT = Path(__file__).resolve().parent.parent

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# The tests' networks are small. On cores that other processes use too, threads that wait for each other made these
# tests five times slower than one thread that waits for nobody.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_random_numbers():
    """Every test draws the same numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def cifar10():
    """The real CIFAR-10; tests that ask for it are skipped where it is not on disk (nothing is downloaded)."""
    folder = Path(os.environ.get("GOOGLENET_DATA_DIR") or ROOT / "data")
    if not any((folder / name).is_dir() for name in ("cifar-10-batches-bin", "cifar-10-batches-py")):
        pytest.skip("CIFAR-10 is not on this disk: put it into data/ or set GOOGLENET_DATA_DIR")
    return gu.load_images("cifar10", folder)


@pytest.fixture
def folder(tmp_path):
    """A folder with spaces and other letters than English in its name; large files do not stay behind in it."""
    folder = tmp_path / "Bilder für 课 é"
    folder.mkdir()
    yield folder
    shutil.rmtree(tmp_path)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder of the test's own, and no folder of which it was said that it cannot be written."""
    (tmp_path / "home").mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setattr(gu, "_READ_ONLY", set())
    return tmp_path / "home"


@pytest.fixture
def guest_folder():
    """A folder outside pytest's, which only their owner may enter, and `as_guest()`: a user who may not write to it.

    Root may write everywhere: where these tests run as root, the guest is "nobody".
    """
    if not hasattr(os, "geteuid"):
        pytest.skip("this system knows no permissions of this kind")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))

    @contextlib.contextmanager
    def as_guest(mode):
        folder.chmod(mode)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65_534)
        try:
            yield
        finally:
            os.seteuid(user)
            folder.chmod(0o755)

    yield SimpleNamespace(path=folder, as_guest=as_guest)
    shutil.rmtree(folder)


@pytest.fixture
def refuses():
    """`with refuses(ValueError, "word", ...)`: the block raises it, in one sentence with all of these words."""
    @contextlib.contextmanager
    def expect(kind, *words):
        with pytest.raises(kind) as caught:
            yield
        message = str(caught.value)
        assert "\n" not in message
        assert not re.search(r"[.!?] [A-Z]", message), f"more than one sentence: {message}"
        for word in words:
            assert word in message, f"{word!r} is missing in: {message}"
    return expect


# For the tests in a real browser (end to end)

def missing(what):
    """Skip where a tool is missing; fail where continuous integration should have installed it."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory):
    folder = Path(os.environ.get("GOOGLENET_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright (tests/requirements.txt)")
    program = next(filter(None, map(shutil.which, BROWSERS)), None) or missing("Chromium")
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=quiet)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site_python():
    """The Python of the website's own environment."""
    python = ROOT / ".venv-site" / ("Scripts" if os.name == "nt" else "bin") / "python"
    return python if python.exists() else missing("the website's environment, .venv-site (see CONTRIBUTING.md)")


@pytest.fixture(scope="session")
def slide_programs():
    """The folder with reveal.js, require.js and jQuery, which turn the pages of a deck."""
    folder = ROOT / "tools" / "slides" / "node_modules"
    return folder if folder.is_dir() else missing("reveal.js in tools/slides (see notebooks/README.md)")
