"""The guard: the notebooks as documents. What a reader would stumble over, and what nbval does not notice, fails here.

nbval compares the outputs that are stored; a notebook whose outputs were stripped would pass it. So this file asks that
they are there, real, in order, and readable. `pytest -rP tests/test_notebooks.py` prints compared / ignored a notebook.
"""
import ast
import base64
import json
import re
from pathlib import Path

import nbformat
import pytest

import googlenet_utils as gu
import write_address
from translation import HAN

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
PATHS = [path for folder in ("", "solutions/", "zh/", "zh/solutions/")
         for path in sorted(NOTEBOOKS.glob(f"{folder}*.ipynb"))]
HEADINGS = {"en": ("You will be able to", "What to keep", "Exercises", "Read on"),
            "zh": ("学完这一课，你能够", "要记住的", "练习", "延伸阅读")}
IGNORED = "nbval-ignore-output"
KNOWN_TAGS = {IGNORED, "hide-input", "listing", "output-slide", "predict", "remove-input", "set-up"}
LONGEST_CELL = 25

pytestmark = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.relative_to(NOTEBOOKS).as_posix())


def cells_of(path, kind="code"):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def tags_of(cell):
    return set(cell.metadata.get("tags", []))


def outputs_of(path):
    return [(cell, output) for cell in cells_of(path) for output in cell.outputs]


def width_of(text):
    """Its length, where a Chinese character counts two."""
    return len(text) + len(HAN.findall(text))


def speaks(source):
    """Whether a cell prints or shows something whenever it runs (inside a definition or an `if`, it may not)."""
    def search(node):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.If, ast.Try, ast.Lambda)):
            return False
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("print", "show", "train", "check", "choose_profile"):
                return True
        return any(search(child) for child in ast.iter_child_nodes(node))

    return search(ast.parse(source))


def test_names_the_kernel_that_every_jupyter_has(path):
    metadata = nbformat.read(path, as_version=4).metadata
    assert metadata.kernelspec.name == "python3"
    assert metadata.kernelspec.display_name == "Python 3"


def test_is_valid_with_an_id_for_every_cell(path):
    raw = json.loads(path.read_text(encoding="utf-8"))
    assert (raw["nbformat"], raw["nbformat_minor"]) >= (4, 5), "cell ids need notebook format 4.5"
    nbformat.validate(nbformat.read(path, as_version=4))
    identities = [cell["id"] for cell in raw["cells"]]
    assert len(set(identities)) == len(identities)
    random = [name for name in identities if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]+)?", name)]
    assert not random, f"give these cells a name that a translation can keep: {random}"


def test_was_run_from_top_to_bottom(path):
    counts = [cell.execution_count for cell in cells_of(path)]
    assert counts == list(range(1, len(counts) + 1)), "run it from top to bottom: python tools/run_notebooks.py"


def test_every_cell_that_prints_or_shows_has_its_output(path):
    silent = [cell.id for cell in cells_of(path) if speaks(cell.source) and not cell.outputs]
    assert not silent, f"outputs are missing; were they stripped? {silent}"


def test_stores_no_error_and_no_warning(path):
    for cell, output in outputs_of(path):
        assert output.output_type != "error", f"{cell.id} stores a traceback"
        assert output.get("name") != "stderr", f"{cell.id} stores stderr: {output.get('text', '')[:200]}"
        assert not re.search(r"\w*Warning:|Traceback \(most recent", json.dumps(output)), f"{cell.id} stores a warning"


def test_shows_no_path_of_one_machine(path):
    text = path.read_text(encoding="utf-8")
    found = re.search(r"/(root|home|tmp|work|Users|mnt|opt)/\w|[A-Z]:\\\\\w", text)
    assert not found, f"a path of one machine: {text[found.start() - 40:found.end() + 40]}"


def test_every_figure_is_a_png_with_a_text_alternative_and_a_caption(path):
    for cell in cells_of(path):
        for index, output in enumerate(cell.outputs):
            data = output.get("data", {})
            assert not set(data) & {"image/svg+xml", "image/jpeg", "application/pdf"}, f"{cell.id}: PNG only (gu.show)"
            assert "<Figure size" not in json.dumps(output), f"{cell.id}: a figure that is not shown by gu.show"
            if "image/png" not in data:
                continue
            assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG"), f"{cell.id}: no PNG"
            alternative = output.metadata.get("image/png", {}).get("alt", "")
            assert width_of(alternative) >= 40, f"{cell.id}: say in the text alternative what the picture shows"
            caption = cell.outputs[index + 1].data.get("text/markdown", "") if index + 1 < len(cell.outputs) else ""
            assert width_of(caption) >= 20, f"{cell.id}: the picture has no caption"


def test_pictures_in_the_text_have_a_text_alternative(path):
    for cell in cells_of(path, "markdown"):
        assert not re.search(r"!\[\s*\]\(|<img(?![^>]*alt=\"[^\"]+\")", cell.source), cell.id


def test_set_up_cell_is_the_same_everywhere_and_asks_for_this_version(path):
    first = cells_of(path)[0]
    assert "set-up" in tags_of(first), "the set-up cell comes first"
    language = write_address.language_of(path.relative_to(NOTEBOOKS))
    assert first.source == write_address.set_up_cell(language=language), "run: python tools/write_address.py"
    assert re.findall(r"\d+\.\d+\.\d+", first.source) == [gu.__version__]


def test_cells_are_short(path):
    for cell in cells_of(path):
        lines = len(cell.source.splitlines())
        assert lines <= LONGEST_CELL or "listing" in tags_of(cell), f"{cell.id} has {lines} lines"
        assert max(map(len, cell.source.splitlines()), default=0) <= 104, f"{cell.id} has a line too long to read"
    assert not [cell.id for cell in cells_of(path) if not cell.source.strip()], "an empty cell"


def test_tags_are_known_and_answers_are_folded(path):
    for cell in cells_of(path):
        assert tags_of(cell) <= KNOWN_TAGS, f"{cell.id}: {tags_of(cell) - KNOWN_TAGS}"
        assert "NBVAL_" not in cell.source, f"{cell.id}: use a tag, which does not stand in the student's way"
        folded = cell.metadata.get("jupyter", {}).get("outputs_hidden", False)
        assert folded == ("predict" in tags_of(cell)), f"{cell.id}: predict cells, and only they, are stored folded"
        if "hide-input" in tags_of(cell):                   # our answer, behind the student's
            assert cell.metadata.get("jupyter", {}).get("source_hidden"), f"{cell.id} is stored folded"


def test_a_cell_that_is_not_compared_asserts_its_claim(path):
    for cell in cells_of(path):
        if IGNORED in tags_of(cell):
            assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(cell.source))), cell.id


def test_most_outputs_are_compared(path):
    speaking = [cell for cell in cells_of(path) if cell.outputs]
    ignored = [cell for cell in speaking if IGNORED in tags_of(cell)]
    print(f"{path.name}: {len(speaking) - len(ignored)} outputs compared, {len(ignored)} ignored")
    if path.stem[:2] in ("01", "02"):
        assert len(ignored) * 3 <= len(speaking)


def test_opens_with_one_question_and_ends_with_what_to_keep(path):
    texts = [cell.source for cell in cells_of(path, "markdown")]
    assert texts[0].startswith("# ")
    if path.parent.name == "solutions":
        return
    goals, *headings = HEADINGS[write_address.language_of(path.relative_to(NOTEBOOKS))]
    assert re.search("[?？]", texts[0]), "the first lines ask the notebook's question"
    assert any(goals in text for text in texts[:3])
    for heading in headings:
        assert any(re.search(rf"^#+ .*{heading}", text, re.M) for text in texts), f"no section {heading!r}"


def test_is_a_deck_of_slides_in_which_answers_start_a_slide_of_their_own(path):
    cells = nbformat.read(path, as_version=4).cells
    if path.parent.name == "solutions":
        return
    kinds = [cell.metadata.get("slideshow", {}).get("slide_type", "-") for cell in cells]
    exercises = [cell.id.removesuffix("-exercise") for cell in cells if cell.id.endswith("-exercise")]
    keyboard = {f"{name}-{part}" for name in exercises for part in ("answer", "check")}
    assert set(kinds) <= {"-", "slide", "skip"}
    assert kinds.count("slide") >= 10
    for cell, kind in zip(cells, kinds, strict=True):
        if "predict" in cell.metadata.get("tags", []):
            assert kind in ("slide", "skip"), f"{cell.id}: an answer would stand under its question"
        assert kind == "skip" or cell.id not in keyboard, f"{cell.id}: a slide has no keyboard"
        folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        tags = cell.metadata.get("tags", [])
        if "hide-input" in tags:
            assert folded and kind in ("slide", "skip"), f"{cell.id}: ours, folded behind the student's"
        else:
            assert ("remove-input" in tags) == (folded and kind != "skip"), cell.id
    assert kinds[[cell.id for cell in cells].index("set-up")] == "skip"
