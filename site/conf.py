"""Settings of the website: python -m sphinx -W -b html site site/_build/html (CONTRIBUTING.md, "The website").

Sphinx reads only its own folder, so the pages are laid there first, as they are and under the paths that they have in
the project: links between them, and buttons that lead to them, are right without a change. What the site wants of a
notebook otherwise (which cells are folded, alternative texts) is changed while it is read.

A second Sphinx, which the first one starts, makes the Chinese pages from notebooks/zh.
"""
import base64
import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from docutils import nodes
from sphinx import addnodes
from sphinx.search.zh import SearchChinese
from sphinx.util import inspect

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
import write_address  # noqa: E402

CHINESE = tags.has("zh")  # noqa: F821  (Sphinx defines it; the second Sphinx is started with it)
PROJECT = ROOT / "notebooks" / "zh" if CHINESE else ROOT            # what the pages' names are relative to
NOTEBOOKS = "" if CHINESE else "notebooks/"                         # where the notebooks' pages are
OTHER = ROOT / "notebooks" / ("" if CHINESE else "zh")              # the notebooks in the other language
GLOSSARY = (ROOT / "notebooks" / "glossary.md").read_text(encoding="utf-8")
README = (ROOT / ("README.zh-CN.md" if CHINESE else "README.md")).read_text(encoding="utf-8")
owner, name = write_address.read_address()
PUBLISHED = owner != write_address.NOBODY
REPOSITORY = f"https://github.com/{owner}/{name}"
SITE = write_address.site()
release = write_address.read_version()

project = "GoogLeNet，逐条求证" if CHINESE else "GoogLeNet, claim by claim"
author = "the authors of the series"
language = "zh_CN" if CHINESE else "en"
extensions = ["myst_nb", "sphinx_design", "sphinx_copybutton", "sphinxext.opengraph", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "zh", "index.zh.md"]
nb_execution_mode = "off"                                           # the outputs are those that are stored
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
autodoc_mock_imports = ["numpy", "torch", "tqdm"]
default_role = "py:obj"                                             # `name` in a docstring
add_module_names = False

templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/icon.svg"
html_extra_path = ["extra"]                                         # what README shows without Sphinx's knowledge
html_theme = "sphinx_book_theme"
html_title = project
html_domain_indices = False
html_context = {"default_mode": "auto"}                              # the theme follows the reader's system
html_theme_options = {
    "article_header_end": ["switch.html", "article-header-buttons.html"],
    "path_to_docs": "notebooks/zh" if CHINESE else "",
    "navbar_persistent": [],                                        # the sidebar has the search
    "footer_content_items": [],
    "use_fullscreen_button": False,
}
if PUBLISHED:
    html_baseurl = ogp_site_url = SITE + "zh/" * CHINESE
    ogp_image = SITE + "notebooks/pictures/googlenet.png"
    html_theme_options.update(
        repository_url=REPOSITORY, repository_branch=f"v{release}", use_repository_button=True, use_issues_button=True,
        use_edit_page_button=True, launch_buttons={"colab_url": "https://colab.research.google.com"})
    # Colab opens the notebooks of this version, which fit its module; an edit is made on the branch.
    html_context.update(edit_page_provider_name="GitHub",
                        edit_page_url_template=f"{REPOSITORY}/edit/main/{{{{ doc_path }}}}{{{{ file_name }}}}")
    tags.add("published")  # noqa: F821
ogp_social_cards = {"enable": False}
if CHINESE:
    # The search finds the glossary's terms as words. The name: Sphinx 9.0 asks for a stemmer of the language's name,
    # which Chinese does not have (sphinx-doc/sphinx, issue 14229).
    SearchChinese.language_name = "English"
    (HERE / "zh" / "words.txt").write_text("\n".join(re.findall("[\u4e00-\u9fff]+", GLOSSARY)), encoding="utf-8")
    html_search_options = {"dict": str(HERE / "zh" / "words.txt")}


# The pages

def lay_out():
    """Copy what becomes a page into this folder; what an earlier build left goes."""
    ignored = shutil.ignore_patterns(".ipynb_checkpoints", "zh", "weights", "results", "*.py", "*.css")
    for source, copy in (("notebooks", "notebooks"), ("benchmarks", "benchmarks"), ("docs", "docs"),
                         ("notebooks/pictures", "extra/notebooks/pictures"), ("notebooks/zh", "zh")):
        shutil.rmtree(HERE / copy, ignore_errors=True)
        shutil.copytree(ROOT / source, HERE / copy, ignore=ignored)
    shutil.copy2(ROOT / "CONTRIBUTING.md", HERE)
    shutil.copy2(HERE / "index.zh.md", HERE / "zh" / "index.md")


def cards(folder):
    """A card for each notebook in README's table: its question and its first figure."""
    (folder / "cards").mkdir(exist_ok=True)
    for title, path, question, need, minutes in re.findall(
            r"^\| \[(.+?)\]\((\S+)\.ipynb\).*? \| (.+) \| (.+) \| (\d+) \|$", README, re.M):
        page = path.removeprefix("notebooks/zh/")
        yield f"::::{{grid-item-card}} {title}\n:link: {page}\n:link-type: doc\n:class-card: lesson\n"
        outputs = [output for cell in read(ROOT / f"{path}.ipynb")["cells"] for output in cell.get("outputs", [])]
        figure = next((output for output in outputs if "image/png" in output.get("data", {})), None)
        if figure:
            picture = Path("cards", f"{Path(path).name}.png")
            (folder / picture).write_bytes(base64.b64decode(figure["data"]["image/png"]))
            yield f":img-top: {picture.as_posix()}\n:img-alt: {figure['metadata']['image/png']['alt']}\n"
        needs = f"{minutes} 分钟。预备知识：{need}" if CHINESE else f"{minutes} minutes; you need {need}"
        yield f"\n**{question}**\n\n{needs}\n::::\n"


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def folded(cell):
    """The tag of the theme that folds here what is folded in the notebook, and what stands on the fold."""
    tags, hidden = cell["metadata"]["tags"], cell["metadata"].get("jupyter", {})
    if "set-up" in tags:
        return "hide-cell", "准备" if CHINESE else "Set-up"
    if cell["id"].endswith("-check"):
        return "hide-cell", "检查" if CHINESE else "The check"
    if hidden.get("outputs_hidden"):
        return "hide-output", "输出：先预测" if CHINESE else "The output: predict it first"
    return ("hide-input", "我们的代码" if CHINESE else "Our code") if hidden.get("source_hidden") else None


def change_source(app, docname, source):
    if docname == "index":
        source[0] = source[0].replace("<!-- cards -->", "".join(cards(Path(app.srcdir))))
    elif docname == "notebooks/README" and not CHINESE:
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\nteacher/*\n```\n"
    elif app.env.doc2path(docname).suffix == ".ipynb":
        notebook = json.loads(source[0])
        for cell in notebook["cells"]:
            cell["metadata"].setdefault("tags", [])
            cell["metadata"]["id"] = cell["id"]
            if cell["cell_type"] == "markdown" and cell["id"] != "title":       # what a link to it leads to
                cell["source"] = f"<span id=\"cell-{cell['id']}\"></span>\n\n{''.join(cell['source'])}"
            shown = cell["metadata"]["mystnb"] = {}
            if fold := folded(cell):
                cell["metadata"]["tags"].append(fold[0])
                shown.update(code_prompt_show=fold[1], code_prompt_hide=fold[1])
            for output in cell.get("outputs", []):
                if alternative := output.get("metadata", {}).get("image/png"):
                    shown["image"] = alternative
        source[0] = json.dumps(notebook)


def link_terms(app, document):
    """Link each of the glossary's terms where the notebook that the glossary names uses it first."""
    page = app.env.docname
    if page == f"{NOTEBOOKS}glossary":
        for row in document.findall(nodes.row):
            row["ids"].append(nodes.make_id(f"term-{row[0].astext()}"))
    for row, here in re.findall(r"^\| ([^|]+?) \|.*\| (\d) \|$", GLOSSARY, re.M):
        if not page.startswith(f"{NOTEBOOKS}0{here}"):
            continue
        terms = re.split(r"[,;] ", re.sub(r" ?\(.+?\)", "", row))
        for text in document.findall(nodes.Text):
            found = re.search(rf"\b(?:{'|'.join(map(re.escape, terms))})s?\b", text, re.I)
            if found and isinstance(text.parent, (nodes.paragraph, nodes.strong)):
                place = app.builder.get_relative_uri(page, f"{NOTEBOOKS}glossary")
                link = nodes.reference("", found[0], classes=["term"], internal=True,
                                       refuri=f"{place}#{nodes.make_id(f'term-{row}')}")
                text.parent.replace(text, [nodes.Text(text[:found.start()]), link, nodes.Text(text[found.end():])])
                break


def link_cells(app, document):
    """Give each cell of code the anchor of its id (text cells have theirs), and link to a cell where a claim or a
    teacher's page names it."""
    page = app.env.docname
    for cell in document.findall(lambda node: "cell_metadata" in getattr(node, "attributes", {})):
        cell["ids"].append(f"cell-{cell['cell_metadata']['id']}")
    if page == f"{NOTEBOOKS}claims" or page.startswith(f"{NOTEBOOKS}teacher/"):
        notebook = page.replace("teacher/", "")
        for node in list(document.findall()):
            if isinstance(node, addnodes.pending_xref):
                notebook = node["reftarget"]
            path = PROJECT / f"{notebook}.ipynb"
            if isinstance(node, nodes.literal) and path.exists() and node.astext() in cells_of(path):
                place = app.builder.get_relative_uri(page, notebook)
                link = nodes.reference("", "", internal=True, refuri=f"{place}#cell-{node.astext()}")
                node.replace_self(link)
                link += node


@functools.cache
def cells_of(path):
    return {cell["id"] for cell in read(path)["cells"]} - {"title"}


def lead_out(app, document):
    """Links that Sphinx cannot follow: to README, to a page in the other language; and a link to a file that is no page
    leads to GitHub once the project is there. Until then it is its text."""
    own = "zh/" if CHINESE else ""                                  # where this Sphinx's pages lie in the website
    for link in list(document.findall(addnodes.pending_xref)):
        target = link["reftarget"].partition("#")
        if link.get("refdomain") == "doc" and Path(target[0]).is_absolute():         # a file that is not in this folder
            target = f"{target[0]}.md", "#", link.get("reftargetid") or ""
        elif link["reftype"] != "myst" or link.get("refdomain") == "doc" or not target[0]:
            continue
        path = (ROOT if app.env.docname == "index" else (PROJECT / app.env.docname).parent) / target[0]
        if not path.exists():
            continue                                                # Sphinx will complain
        path = path.resolve().relative_to(ROOT).as_posix()
        if page := page_of(path):
            place = app.builder.get_relative_uri(own + app.env.docname, page) + "".join(target[1:]).rstrip("#")
            link.replace_self(nodes.reference("", "", *link.children, internal=True, refuri=place))
        elif PUBLISHED:
            link.replace_self(nodes.reference("", "", *link.children, refuri=f"{REPOSITORY}/blob/v{release}/{path}"))
        else:
            link.replace_self(link.children)


def page_of(path):
    """The page of the website that a file or folder of the project became, if it did."""
    known = {"README.md": "index", "notebooks/solutions": "solutions", "README.zh-CN.md": "zh/index",
             "notebooks/zh": "zh/index", "notebooks/zh/solutions": "zh/index"}
    page, _, suffix = path.rpartition(".")
    if path in known or suffix not in ("md", "ipynb"):
        return known.get(path)
    return page.removeprefix("notebooks/") if page.startswith("notebooks/zh/") else page


# The frame of a page

def add_frame(app, pagename, template, context, document):
    """The page in the other language, where it exists; where its source is; where the links of the 404 page start."""
    if not list(PROJECT.glob(f"{pagename}.*")):
        context["doc_path"] = "site"
    stem = pagename.removeprefix(NOTEBOOKS)
    if pagename == "index" or list(OTHER.glob(f"{stem}.*")):
        folder = "zh/" if not CHINESE else "../" if pagename == "index" else "../notebooks/"
        context["twin"] = f"{context['content_root']}{folder}{stem}.html"
    if pagename == "404":
        context["metatags"] += f'<base href="{urlsplit(SITE).path if PUBLISHED else "/"}404.html">'


def finish(app, exception):
    """The list of pages for search engines; then the Chinese pages."""
    if exception:
        return
    if PUBLISHED:
        pages = (html_baseurl + app.builder.get_target_uri(page) for page in sorted(app.env.found_docs - {"404"}))
        (app.outdir / "sitemap.txt").write_text("\n".join(pages), encoding="utf-8")
    if not CHINESE:
        subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", "-t", "zh", "-c", HERE, HERE / "zh",
                        app.outdir / "zh"], check=True)


# The module's page

def show_options(app, what, name, thing, options, signature, returns):
    """A class is built with the arguments of its __init__, which the stand-in for nn.Module would hide."""
    if what == "class" and thing.__module__ == "googlenet_utils" and "__init__" in vars(thing):
        arguments = inspect.signature(thing.__init__, bound_method=True)
        return inspect.stringify_signature(arguments, show_return_annotation=False), None


def keep_lines(app, what, name, thing, options, lines):
    """The module's table of contents keeps its lines."""
    if what == "module":
        lines.insert(1, "::")
        lines.insert(1, "")


def skip_field(app, what, name, thing, skip, options):
    return skip or (thing.__doc__ or "").startswith("Alias for field number")


if not CHINESE:
    lay_out()


def setup(app):
    app.connect("source-read", change_source)
    if not CHINESE:
        app.connect("doctree-read", link_terms)
    app.connect("doctree-read", link_cells)
    app.connect("doctree-read", lead_out)
    app.connect("html-page-context", add_frame)
    app.connect("build-finished", finish)
    app.connect("autodoc-process-signature", show_options)
    app.connect("autodoc-process-docstring", keep_lines)
    app.connect("autodoc-skip-member", skip_field)
