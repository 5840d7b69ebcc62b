"""The decks, in a real browser, without a network: every slide fits into 1280 x 720, nothing is cut off, and
pictures have their text alternative.

usage: python -m pytest -m end_to_end tests/test_slides.py

Needs Chromium and Playwright, as tests/test_jupyterlab.py does, and reveal.js, require.js and jQuery in
tools/slides/ (notebooks/README.md has the command). Where they are missing the tests are skipped, but fail in
continuous integration (CI is set). GOOGLENET_SCREENSHOTS names a folder for a picture of each slide.
"""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PATHS = [path for folder in ("", "zh/") for path in sorted((ROOT / "notebooks").glob(f"{folder}*.ipynb"))]
SMALLEST_TEXT = 16          # points, on a slide that is 810 high

pytestmark = pytest.mark.end_to_end

# What is wrong with the slide that is shown. Its folded answers are opened for it: they have to fit as well.
# - The slide is as high as its content, so one that is higher than the deck's slides does not fit. The browser rounds
#   both sizes to whole points.
# - What sticks out of a part is cut off, or gets a scroll bar, where the part does not show it. (Where it does, the
#   slide is wider or higher, and is found there.) No tolerance is needed: nbconvert's frames of code are 15 points
#   wider than the editor around them, which hides their right edge, but our style sheet puts their padding inside.
FAULTS = """smallest => {
    const slide = Reveal.getCurrentSlide(), size = Reveal.getComputedSlideSize(), faults = [];
    const folded = slide.querySelectorAll("details");
    folded.forEach(details => details.open = true);
    if (slide.scrollHeight > size.height) faults.push(`it is ${slide.scrollHeight} high`);
    if (slide.scrollWidth > size.width) faults.push(`it is ${slide.scrollWidth} wide`);
    for (const part of slide.querySelectorAll("*")) {
        const style = getComputedStyle(part), name = `${part.tagName} ${part.className}`;
        if (style.display === "none" || style.display.startsWith("inline")) continue;
        if (style.overflowX !== "visible" && part.scrollWidth > part.clientWidth) faults.push(`${name} is too wide`);
        if (style.overflowY !== "visible" && part.scrollHeight > part.clientHeight) faults.push(`${name} is too high`);
        if (part.tagName === "IMG" && !part.naturalWidth) faults.push("a picture is not there");
    }
    const texts = document.createTreeWalker(slide, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const points = parseFloat(getComputedStyle(texts.currentNode.parentElement).fontSize);
        if (texts.currentNode.data.trim() && points < smallest)
            faults.push(`"${texts.currentNode.data.trim().slice(0, 30)}" has ${points} points`);
    }
    if (!slide.innerText.trim() && !slide.querySelector("img")) faults.push("it is empty");
    folded.forEach(details => details.open = false);
    return faults.map(fault => `${slide.innerText.trim().slice(0, 40)}: ${fault}`);
}"""
READY = """() => {
    try { window.Reveal = require("node_modules/reveal.js/dist/reveal.js"); return Reveal.isReady() }
    catch (error) { return false }
}"""


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_slide_fits(path, browser, slide_programs, screenshots, tmp_path):
    (tmp_path / "node_modules").symlink_to(slide_programs)
    done = subprocess.run([sys.executable, "-m", "nbconvert", "--config", "tools/slides_config.py", "--to", "slides",
                           path, "--output-dir", tmp_path], cwd=ROOT, check=True, capture_output=True)
    assert b"Alternative text is missing" not in done.stderr
    faults = {}
    with browser.new_context(viewport={"width": 1280, "height": 720}, offline=True) as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / f"{path.stem}.slides.html").as_uri(), wait_until="domcontentloaded")
        page.wait_for_function(READY)
        slides = page.evaluate("Reveal.getTotalSlides()")
        for number in range(1, slides + 1):
            page.wait_for_timeout(100)
            page.screenshot(path=screenshots / f"{path.parent.name}_{path.stem}_slide_{number:02}.png")
            if found := page.evaluate(FAULTS, SMALLEST_TEXT):
                faults[number] = found
            page.evaluate("Reveal.next()")
        assert not page.evaluate("Reveal.availableRoutes().right")      # all of them were shown
    assert not faults
    assert slides >= 10
    assert not [url for url in asked if not url.startswith(("file:", "data:"))], "a deck needs no network"
