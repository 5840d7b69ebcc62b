"""The documents: what they point to is there, their numbers are those of the result files, and they stay short."""
import json
import re
from collections import Counter
from pathlib import Path

import pytest

import tables

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(path for pattern in ("*.md", "benchmarks/*.md", "docs/*.md", "notebooks/**/*.md")
                   for path in ROOT.glob(pattern) if "node_modules" not in path.parts)
CLAIMS = (ROOT / "notebooks" / "claims.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", CLAIMS, re.M)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(("name", "limit"), [("README.md", 8_192), ("CONTRIBUTING.md", 9_216)])
def test_a_newcomer_can_finish(name, limit):
    assert len((ROOT / name).read_bytes()) <= limit


# Links

@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_to_files_and_headings(path):
    text = path.read_text(encoding="utf-8")
    links = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r' (?:src|srcset|href)="([^"]+)"', text),
             *re.findall(r"^\[[^\]]+\]: (\S+)", text, re.M)]
    for link in links:
        if link.startswith(("http", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        leads_to = path.parent / target if target else path
        assert leads_to.exists(), f"{name_of(path)} links to {target}, which does not exist"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", leads_to.read_text(encoding="utf-8"), re.M)
            anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, f"{name_of(path)} links to {link}, which is no heading"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_figures_have_a_text_alternative(path):
    text = path.read_text(encoding="utf-8")
    figures = [*re.findall(r"!\[([^\]]*)\]", text), *re.findall(r'<img [^>]*alt="([^"]*)"', text)]
    assert len(figures) == text.count("![") + text.count("<img ")
    assert all(len(alternative) > 20 for alternative in figures)


def test_every_notebook_stands_in_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "<img " in readme
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{path.name})" in readme


def test_no_document_sends_a_reader_to_an_address_that_nobody_has():
    for path in DOCUMENTS:
        assert not re.search(r"https?://\S*PUT_OWNER_HERE", path.read_text(encoding="utf-8")), name_of(path)
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("PUT_OWNER_HERE") <= 1


# Numbers

@pytest.mark.parametrize("path", tables.DOCUMENTS, ids=name_of)
def test_tables_are_those_of_the_result_files(path):
    text = path.read_text(encoding="utf-8")
    assert "<!-- table: " in text
    assert tables.filled(text) == text, "run: python benchmarks/tables.py"


def test_every_table_is_shown():
    texts = "".join(path.read_text(encoding="utf-8") for path in tables.DOCUMENTS)
    assert set(re.findall(r"<!-- table: (\w+) -->", texts)) == set(tables.TABLES)


WITHOUT_NUMBERS = [path for path in DOCUMENTS if path.parent.name not in ("notebooks", "teacher")]


@pytest.mark.parametrize("path", WITHOUT_NUMBERS, ids=name_of)
def test_no_accuracy_is_written_by_hand(path):
    text = re.sub(r"<!-- table: .*?<!-- end of table -->", "", path.read_text(encoding="utf-8"), flags=re.S)
    assert re.findall(r"\b0\.\d{3}\b", text) == []


# The article's claims

def test_each_of_the_25_claims_has_a_verdict():
    assert [int(number) for number, *_ in ROWS] == list(range(1, 26))
    verdicts = Counter(verdict.split(":")[0].strip("* ") for _, _, verdict, _ in ROWS)
    assert set(verdicts) <= {"holds", "correction", "wrong", "not proved"}
    assert ("Of 25, {holds} hold, {correction} need a correction, {wrong} are wrong, and {not proved} are not proved."
            .format_map(verdicts)) in CLAIMS


def test_each_part_of_the_articles_code_is_met_in_cells_that_are_there():
    rows = re.findall(r"\| \[notebook \d\]\((\S+)\) (`.+?`) \|", CLAIMS.split("## The article's code")[1])
    assert len(rows) == 10
    for name, identities in rows:
        cells = json.loads((ROOT / "notebooks" / name).read_text(encoding="utf-8"))["cells"]
        assert set(re.findall(r"`([\w-]+)`", identities)) <= {cell["id"] for cell in cells}, name


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"claim {row[0]}")
def test_a_claim_is_settled_by_the_paper_or_by_cells_that_hold_its_numbers(row):
    _, _, verdict, settled = row
    paper, text = "https://arxiv.org/abs/1409.4842" in settled, ""
    for name, identities in re.findall(r"\]\(([^)]+\.ipynb)\)((?: ?`[a-z0-9-]+`,?)*)", settled):
        cells = json.loads((ROOT / "notebooks" / name).read_text(encoding="utf-8"))["cells"]
        named = [cell for cell in cells if f"`{cell['id']}`" in identities]
        assert len(named) == identities.count("`") / 2 > 0, f"{name} has not all of {identities}"
        for cell in named:
            text += "".join(cell["source"])
            text += "".join("".join(output.get("text", [])) for output in cell.get("outputs", []))
    assert paper or text, "it leads nowhere"
    if not paper:
        assert [number for number in re.findall(r"\d+(?:[.,]\d+)+|\d{3,}", verdict) if number not in text] == []


def test_the_chinese_claims_are_the_same():
    """Number, verdict, the longer numbers in it, and the cells of each claim; the parts of the code and their cells."""
    verdicts = {"holds": "成立", "correction": "更正", "wrong": "有误", "not proved": "未证实"}
    chinese = (ROOT / "notebooks" / "zh" / "claims.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", chinese, re.M)
    for (number, _, verdict, settled), translated in zip(ROWS, rows, strict=True):
        assert translated[0] == number
        assert translated[2].split("：")[0].strip("* ") == verdicts[verdict.split(":")[0].strip("* ")]
        for pattern, before, after in ((r"\d+(?:[.,]\d+)+|\d{3,}", verdict, translated[2]),
                                       (r"\(\S+?\)|`[\w-]+`", settled, translated[3])):
            assert sorted(re.findall(pattern, before)) == sorted(re.findall(pattern, after)), number
    for pair in zip(CLAIMS.split("\n## ")[1].splitlines(), chinese.split("\n## ")[1].splitlines(), strict=True):
        cells = [re.findall(r"`([\w-]+)`", line) for line in pair]
        assert cells[0] == cells[1]
