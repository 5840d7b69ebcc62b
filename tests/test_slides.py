"""The decks, in a real browser, without a network: every slide fits into 1280 x 720, and nothing is cut off.

End to end (`pytest -m end_to_end tests/test_slides.py`): needs Chromium, and reveal.js, require.js and jQuery in
notebooks/slides/ (notebooks/README.md has the command). With GOOGLENET_SCREENSHOTS=FOLDER, a picture of every slide.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
PROGRAMS = NOTEBOOKS / "slides" / "node_modules"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))

pytestmark = pytest.mark.end_to_end

# What of a slide's content is higher or wider than the slide, or would need a scroll bar.
CUT_OFF = """() => {
    const slide = Reveal.getCurrentSlide(), size = Reveal.getComputedSlideSize();
    const cut = slide.scrollHeight > size.height || slide.scrollWidth > size.width ? ["the slide"] : [];
    for (const part of slide.querySelectorAll("pre, img, table, .jp-OutputArea-output, .CodeMirror, .highlight"))
        if (part.scrollWidth > part.clientWidth + 2 || part.scrollHeight > part.clientHeight + 2)
            cut.push(part.tagName + " " + part.className);
    return [slide.innerText.slice(0, 60), slide.scrollHeight, cut];
}"""
READY = """() => {
    try { window.Reveal = require("node_modules/reveal.js/dist/reveal.js"); return Reveal.isReady() }
    catch (error) { return false }
}"""


@pytest.fixture(scope="module")
def page():
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium or not PROGRAMS.is_dir():
        missing = "needs Chromium, and the programs for slides in notebooks/slides (notebooks/README.md)"
        pytest.skip(missing)
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.route("http*://**", lambda route: route.abort())          # no network: the decks must not need one
        yield page
        browser.close()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_slide_fits(path, page, tmp_path):
    (tmp_path / "node_modules").symlink_to(PROGRAMS)
    subprocess.run([sys.executable, "-m", "nbconvert", "--config", NOTEBOOKS / "slides_config.py", "--to", "slides",
                    path, "--output-dir", tmp_path], cwd=NOTEBOOKS, check=True, capture_output=True)
    page.goto((tmp_path / f"{path.stem}.slides.html").as_uri(), wait_until="domcontentloaded")
    page.wait_for_function(READY, timeout=120_000)
    slides, cut = page.evaluate("Reveal.getTotalSlides()"), []
    assert slides >= 10
    for number in range(1, slides + 1):
        page.wait_for_timeout(100)
        if os.environ.get("GOOGLENET_SCREENSHOTS"):
            page.screenshot(path=Path(os.environ["GOOGLENET_SCREENSHOTS"], f"{path.stem}_{number:02}.png"))
        text, height, parts = page.evaluate(CUT_OFF)
        if parts:
            cut.append((number, text, height, parts))
        page.evaluate("Reveal.next()")
    assert not cut
