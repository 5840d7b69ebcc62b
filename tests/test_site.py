"""The website, built as CONTRIBUTING.md says and served as in a room without internet, in a real browser.

usage: python -m pytest -m end_to_end tests/test_site.py

Needs the site's environment in .venv-site/ (CONTRIBUTING.md, "The website"), Chromium and Playwright. Where they are
missing the tests are skipped, but fail where CI is set. GOOGLENET_SCREENSHOTS names a folder for a picture of each
page, wide, narrow and dark.
"""
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from test_address import served, write_everywhere

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = {**{f"notebooks/{path.stem}.html": path for path in NOTEBOOKS},
         **{f"zh/{path.stem}.html": path for path in sorted((ROOT / "notebooks" / "zh").glob("*.ipynb"))}}
HEAVIEST_PAGE = 1_500_000       # bytes of a page and its images, the theme apart

pytestmark = pytest.mark.end_to_end


def build(root, python):
    done = subprocess.run([python, "-m", "sphinx", "-E", "-q", "-W", "--keep-going", "-b", "html", "site",
                           "site/_build/html"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return root / "site" / "_build" / "html"


@pytest.fixture(scope="module")
def site(site_python):
    return build(ROOT, site_python)


@pytest.fixture(scope="module")
def address(site):
    with served(site) as address:
        yield address


@pytest.fixture(scope="module")
def pages(site):
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html") if "_static" not in path.parts)


# What a page holds: sizes, where its links lead, the anchors that links can lead to, and its figures.
LOOK = """() => ({
    width: document.documentElement.scrollWidth, room: document.documentElement.clientWidth,
    links: [...document.querySelectorAll("a[href]")].map(link => link.href),
    anchors: [...document.querySelectorAll("[id]")].map(part => part.id),
    empty: [...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src),
    images: [...document.images].map(image => image.currentSrc || image.src),
    silent: [...document.querySelectorAll("article img")].filter(image => image.alt.length < 20).length,
    figures: [...document.querySelectorAll(".cell_output img")].map(image => image.alt),
})"""


@pytest.fixture(scope="module", params=[1280, 390])
def looked_at(request, browser, address, pages, screenshots):
    """What a visitor sees who opens every page in a window of this width, and what went wrong on the way."""
    seen, wrong = {}, []
    with browser.new_context(viewport={"width": request.param, "height": 900}) as context:
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and wrong.append((page.url, message.text)))
        page.on("pageerror", lambda error: wrong.append((page.url, str(error))))
        page.on("request", lambda sent: sent.url.startswith((address, "data:")) or wrong.append((page.url, sent.url)))
        page.on("response", lambda answer: answer.status < 400 or wrong.append((page.url, answer.url)))
        for name in pages:
            page.goto(f"{address}/{name}", wait_until="load")
            seen[name] = page.evaluate(LOOK)
            picture = f"site_{name.removesuffix('.html').replace('/', '_')}"
            if "GOOGLENET_SCREENSHOTS" in os.environ:
                page.screenshot(path=screenshots / f"{picture}_{request.param}.png", full_page=True)
                if request.param == 1280:
                    page.emulate_media(color_scheme="dark")
                    page.screenshot(path=screenshots / f"{picture}_dark.png", full_page=True)
                    page.emulate_media(color_scheme="light")
    return seen, wrong


def test_no_page_has_an_error_or_asks_another_server(looked_at):
    assert not looked_at[1]


def test_no_page_is_wider_than_its_window(looked_at):
    assert not {name: page["width"] for name, page in looked_at[0].items() if page["width"] > page["room"]}


def test_every_figure_is_there_with_its_stored_words(looked_at):
    for name, page in looked_at[0].items():
        assert not page["empty"] and not page["silent"], name
    for name, path in PAGES.items():
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        stored = [output["metadata"]["image/png"]["alt"] for cell in cells for output in cell.get("outputs", [])
                  if "image/png" in output.get("data", {})]
        assert looked_at[0][name]["figures"] == stored, name


def test_every_link_and_anchor_is_alive(looked_at, site, address):
    dead = set()
    for name, page in looked_at[0].items():
        for link in page["links"]:
            parts = urlsplit(link)
            if link.startswith(address):
                target = parts.path.lstrip("/") or "index.html"
                anchors = ["", *looked_at[0].get(target, {}).get("anchors", [])]
                if not (site / unquote(target)).is_file() or unquote(parts.fragment) not in anchors:
                    dead.add((name, link))
            assert "PUT_OWNER_HERE" not in link and (parts.scheme != "file"), (name, link)
    assert not dead


def test_pages_are_light(looked_at, site, address):
    for name, page in looked_at[0].items():
        images = {site / unquote(urlsplit(image).path.lstrip("/")) for image in page["images"]
                  if image.startswith(address)}
        assert sum(path.stat().st_size for path in {site / name, *images}) <= HEAVIEST_PAGE, name


@pytest.mark.parametrize("name", PAGES)
def test_an_answer_is_hidden_until_it_is_clicked(name, browser, address):
    cells = json.loads(PAGES[name].read_text(encoding="utf-8"))["cells"]
    answers = [cell["id"] for cell in cells if "predict" in cell["metadata"].get("tags", []) and cell["outputs"]]
    assert answers
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto(f"{address}/{name}")
        for cell in answers:
            output = page.locator(f"#cell-{cell} .output, #cell-{cell} .cell_output img").first
            assert not output.is_visible(), cell
            page.locator(f"#cell-{cell} summary").click()
            assert output.is_visible(), cell


def test_chinese_search_finds_a_word_in_a_sentence(browser, address):
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto(f"{address}/zh/search.html?q=感受野")
        page.wait_for_selector("#search-results li a")
        assert page.locator('#search-results li a[href*="01_inception_block"]').count()


def test_search_and_dark_theme(browser, address):
    with browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light") as context:
        page = context.new_page()
        page.goto(f"{address}/search.html?q=receptive+field")
        page.wait_for_selector("#search-results li a")
        assert page.locator('#search-results li a[href*="01_inception_block"]').count()
        page.goto(f"{address}/index.html")
        shades = []
        for mode in ("light", "dark", "auto"):
            page.click(".theme-switch-button")
            page.click(f'.theme-change-button[data-mode="{mode}"]')
            shades.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert shades[0] == shades[2] != shades[1]


def test_with_an_address_there_are_buttons_and_beside_a_twin_a_switch(tmp_path, site_python):
    """The project of somebody else."""
    left_out = shutil.ignore_patterns(".*", "data", "_build", "node_modules", "checkpoints", "weights")
    for folder in ("benchmarks", "docs", "notebooks", "site", "tests", "tools"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=left_out)
    for name in ("CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md", "README.zh-CN.md", "googlenet_utils.py",
                 "pyproject.toml", "requirements.in", ".ci", ".github"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    write_everywhere(tmp_path, "Ada")
    site = build(tmp_path, site_python)

    def links(name):
        text = (site / name).read_text(encoding="utf-8")
        assert "PUT_OWNER_HERE" not in re.sub(r"<(pre|code).*?</\1>", "", text, flags=re.S)
        return [urljoin(f"/{name}", link) for link in re.findall(r'href="([^"]+)"', text)]

    github, page = "https://github.com/Ada/lessons", f"notebooks/{NOTEBOOKS[0].stem}"
    colab = "https://colab.research.google.com/github/Ada/lessons/blob/v7.8.9"
    found = links(f"{page}.html")
    assert {github, f"{github}/edit/main/{page}.ipynb", f"{colab}/{page}.ipynb",
            f"https://ada.github.io/lessons/{page}.html"} <= {*found}
    assert f"/zh/{NOTEBOOKS[0].stem}.html" in found
    assert f"{github}/edit/main/site/index.md" in links("index.html") and "/zh/index.html" in links("index.html")
    assert f"{github}/blob/v7.8.9/.ci/run" in links("CONTRIBUTING.html")
    assert not [link for link in links("CONTRIBUTING.html") if link.startswith("/zh")]
    twin = f"zh/{NOTEBOOKS[0].stem}.html"
    assert {f"/{page}.html", f"{colab}/notebooks/zh/{NOTEBOOKS[0].name}"} <= {*links(twin)}
    assert '<html lang="zh-CN"' in (site / twin).read_text(encoding="utf-8")
    assert f"https://ada.github.io/lessons/{page}.html" in (site / "sitemap.txt").read_text().splitlines()
    assert '<base href="/lessons/404.html">' in (site / "404.html").read_text(encoding="utf-8")
