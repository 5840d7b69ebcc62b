"""End to end: JupyterLab from the lock, in a real browser. Each notebook as it is stored, and after running all cells.

A notebook that lies in notebooks/ is tested by being there. No notebook has a widget today, so nothing here moves one
and looks whether its answer changes.

usage: python -m pytest -m end_to_end tests/test_jupyterlab.py

Needs Chromium (Debian: apt-get install chromium) and Playwright (tests/requirements.txt). Where they are missing the
tests are skipped, but fail in continuous integration (CI is set). GOOGLENET_SCREENSHOTS names a folder for pictures of
each notebook: its window as it opens, and the whole of it, stored and run. Without it they lie in pytest's temporary
folder.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = [path.relative_to(ROOT) for folder in ("", "zh/")
             for path in sorted((ROOT / "notebooks").glob(f"{folder}*.ipynb"))]
LONGEST_RUN = 300           # seconds for all cells of one notebook in profile ci
# It asks about news on the first start, in a corner of the window; a reader has answered that once.
SETTINGS = {"@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab that serves a copy of the project to a reader who starts it for the first time."""
    home = tmp_path_factory.mktemp("lab")
    project = home / "project"
    shutil.copytree(ROOT / "notebooks", project / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copytree(ROOT / "benchmarks" / "results", project / "benchmarks" / "results")
    shutil.copy(ROOT / "googlenet_utils.py", project)
    for name, values in SETTINGS.items():
        path = home / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    own = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
           "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython"}
    environment = {**os.environ, "GOOGLENET_PROFILE": "ci", **{name: str(home / path) for name, path in own.items()}}
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0",
               "--IdentityProvider.token=", f"--ServerApp.root_dir={project}"]
    log = home / "log.txt"
    with log.open("w") as stream:
        server = subprocess.Popen(command, cwd=project, env=environment, stdout=stream, stderr=subprocess.STDOUT,
                                  start_new_session=True)
    try:
        yield wait_for_address(server, log), project
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)           # with its kernels
        server.wait(timeout=60)


def wait_for_address(server, log):
    for _ in range(600):
        found = re.search(r"http://127\.0\.0\.1:\d+/", log.read_text(encoding="utf-8"))
        assert server.poll() is None, log.read_text(encoding="utf-8")
        if found:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{found[0]}api", timeout=10):
                return found[0]
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')}")


class Notebook:
    """A notebook in JupyterLab, as its reader sees it."""
    PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"

    def __init__(self, page, address, path, cells):
        self.page = page
        page.set_default_timeout(60_000)
        page.goto(f"{address}lab/tree/{path.as_posix()}?reset")
        page.wait_for_function("([selector, cells]) => document.querySelectorAll(selector).length === cells",
                               arg=[f"{self.PANEL} .jp-Cell", cells])
        page.wait_for_selector("#jupyterlab-splash", state="detached")
        self.wait_until_idle()

    def wait_until_idle(self):
        """Wait for the kernel, or for a question about it."""
        self.page.wait_for_function("""() => document.querySelector(".jp-Dialog") ||
            document.querySelector("#jp-main-statusbar").textContent.includes("| Idle")""")

    def choose(self, menu, entry):
        """Click an entry of a menu, as a reader does."""
        self.page.click(f'.lm-MenuBar-itemLabel:text-is("{menu}")')
        self.page.click(f'.lm-Menu-itemLabel:text-is("{entry}")')

    def texts(self, selector):
        return self.page.eval_on_selector_all(f"{self.PANEL} {selector}", "all => all.map(one => one.textContent)")

    def outputs(self):
        return self.texts(".jp-OutputArea-output")

    def pictures(self):
        """How many pictures the outputs show; each must be painted, with a width and a height."""
        sizes = self.page.evaluate("""async selector => {
            const sizes = [];
            for (const picture of document.querySelectorAll(selector)) {
                picture.scrollIntoView();
                await picture.decode().catch(() => undefined);
                const place = picture.getBoundingClientRect();
                sizes.push([picture.naturalWidth, picture.naturalHeight, place.width, place.height]);
            }
            return sizes;
        }""", f"{self.PANEL} :is(.jp-OutputArea-output, .jp-MarkdownOutput) img")
        assert all(min(size) > 10 for size in sizes), f"a picture is not painted: {sizes}"
        return len(sizes)

    def dialogs(self):
        return self.page.eval_on_selector_all(".jp-Dialog", "all => all.map(one => one.textContent)")

    def run_all(self):
        self.choose("Run", "Run All Cells")
        self.page.wait_for_function(r"""selector => {
            const prompts = [...document.querySelectorAll(selector)].map(one => one.textContent);
            return prompts.every(prompt => /^\[\d+\]:$/.test(prompt)) || document.querySelector(".jp-RenderedText " +
                '[data-mime-type="application/vnd.jupyter.error"]') !== null;
        }""", arg=f"{self.PANEL} .jp-CodeCell .jp-InputPrompt", timeout=1000 * LONGEST_RUN)
        self.wait_until_idle()

    def save(self):
        self.choose("File", "Save Notebook")
        self.page.wait_for_selector(".lm-DockPanel-tabBar .lm-mod-current:not(.jp-mod-dirty)")

    def screenshot(self, path):
        """A picture of the whole notebook, for a person to look at."""
        height = self.page.evaluate("""selector => {
            const outer = document.querySelector(selector + " .jp-WindowedPanel-outer");
            outer.scrollTop = 0;
            return outer.scrollHeight;
        }""", self.PANEL)
        self.page.set_viewport_size({"width": 1280, "height": min(height + 200, 16_000)})
        self.page.wait_for_timeout(500)
        self.page.screenshot(path=path)
        self.page.set_viewport_size({"width": 1280, "height": 900})


def count_pictures(notebook, folded):
    """The pictures in the outputs of a stored notebook, with or without the cells whose outputs are folded."""
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells if cell.cell_type == "code"
               if folded or not cell.metadata.get("jupyter", {}).get("outputs_hidden") for output in cell.outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.as_posix())
def test_opens_as_stored_and_runs_from_top_to_bottom_in(path, lab, browser, screenshots):
    address, project = lab
    name = ("zh_" if "zh" in path.parts else "") + path.stem
    stored = nbformat.read(project / path, as_version=4)
    in_text = sum(len(re.findall(r"!\[|<img", cell.source)) for cell in stored.cells if cell.cell_type == "markdown")
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        notebook = Notebook(context.new_page(), address, path, len(stored.cells))

        # As a reader finds it: nothing was run, and nothing asks.
        notebook.page.screenshot(path=screenshots / f"{name}_opened.png")
        assert notebook.dialogs() == []
        assert not [text for text in notebook.outputs() if "<Figure size" in text]
        assert notebook.pictures() == count_pictures(stored, folded=False) + in_text
        notebook.choose("View", "Expand All Outputs")
        assert notebook.pictures() == count_pictures(stored, folded=True) + in_text
        assert not [text for text in notebook.outputs() if "<Figure size" in text]
        notebook.screenshot(screenshots / f"{name}_stored.png")

        # Run.
        notebook.choose("View", "Expand All Code")              # a folded cell shows no number
        notebook.choose("Edit", "Clear Outputs of All Cells")
        assert notebook.outputs() == []
        notebook.run_all()
        assert notebook.dialogs() == []
        assert notebook.texts('[data-mime-type$="error"], [data-mime-type$="stderr"]') == []
        notebook.choose("View", "Expand All Outputs")
        pictures = notebook.pictures()
        assert not [text for text in notebook.outputs() if "<Figure size" in text]
        notebook.screenshot(screenshots / f"{name}_run.png")
        notebook.save()
        notebook.choose("Kernel", "Shut Down Kernel")

    run = nbformat.read(project / path, as_version=4)
    code = [cell for cell in run.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for output in (output for cell in code for output in cell.outputs):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
    assert pictures == count_pictures(run, folded=True) + in_text == count_pictures(stored, folded=True) + in_text
