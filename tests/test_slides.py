"""The decks, in a real browser, without a network: every slide fits into 1280 x 720, and nothing is cut off.

End to end (`pytest -m end_to_end tests/test_slides.py`): needs Chromium, and reveal.js, require.js and jQuery in
notebooks/slides/ (notebooks/README.md has the command). Pictures of all slides go to GOOGLENET_SCREENSHOTS.
"""
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


@pytest.fixture
def page(browser):
    if not PROGRAMS.is_dir():
        pytest.skip("the programs for slides are not in notebooks/slides (notebooks/README.md has the command)")
    with browser.new_context(viewport={"width": 1280, "height": 720}) as context:
        context.route("http*://**", lambda route: route.abort())       # no network: the decks must not need one
        yield context.new_page()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_slide_fits(path, page, screenshots, tmp_path):
    (tmp_path / "node_modules").symlink_to(PROGRAMS)
    subprocess.run([sys.executable, "-m", "nbconvert", "--config", NOTEBOOKS / "slides_config.py", "--to", "slides",
                    path, "--output-dir", tmp_path], cwd=NOTEBOOKS, check=True, capture_output=True)
    page.goto((tmp_path / f"{path.stem}.slides.html").as_uri(), wait_until="domcontentloaded")
    page.wait_for_function(READY, timeout=120_000)
    slides, cut = page.evaluate("Reveal.getTotalSlides()"), []
    assert slides >= 10
    for number in range(1, slides + 1):
        page.wait_for_timeout(100)
        page.screenshot(path=screenshots / f"{path.stem}_slide_{number:02}.png")
        text, height, parts = page.evaluate(CUT_OFF)
        if parts:
            cut.append((number, text, height, parts))
        page.evaluate("Reveal.next()")
    assert not cut
