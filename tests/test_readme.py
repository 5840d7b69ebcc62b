"""README and the result files say the same; what README points to is there."""
import json
import re
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

import ablations
import googlenet_utils as gu
import gradient_norms
import recipe_steps
import tables

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_tables_in_readme_are_those_of_the_result_files():
    assert README.count("<!-- table: ") == len(tables.TABLES)
    assert tables.with_tables(README) == README, "run: python benchmarks/tables.py"


@pytest.mark.parametrize("document", sorted(path.relative_to(ROOT).as_posix() for path in chain(
    ROOT.glob("*.md"), ROOT.glob("notebooks/*.md"), ROOT.glob("notebooks/weights/*.md"))))
def test_links_lead_to_files_and_headings(document):
    path = ROOT / document
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", path.read_text(encoding="utf-8")):
        if target.startswith(("http", "mailto")):
            continue
        leads_to = path.parent / target if target else path
        assert leads_to.exists(), f"{document} links to {target}, which does not exist"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", leads_to.read_text(encoding="utf-8"), re.M)
            anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, f"{document} links to {target}#{anchor}, which is no heading"


def test_claims_table_has_a_verdict_for_each_of_the_25_claims_and_names_cells_that_exist():
    rows = re.findall(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", README, re.M)
    assert [int(row[0]) for row in rows] == list(range(1, 26))
    verdicts = [verdict.split(":")[0].strip("* ") for _, _, verdict, _ in rows]
    assert set(verdicts) <= {"holds", "correction", "wrong", "not proved"}
    assert ("Of 25, {holds} hold, {correction} need a correction, {wrong} are wrong, and {not proved} are not proved."
            .format_map(Counter(verdicts))) in README
    for number, _, _, settled in rows:
        links = re.findall(r"\[[^\]]+\]\(([^)]+)\)", settled)
        assert links, f"claim {number} leads nowhere"
        for link in links:
            assert link.startswith("https://arxiv.org/abs/") or (ROOT / link).exists(), f"claim {number}: no {link}"
        for notebook, cells in re.findall(r"\]\((notebooks/[^)]+\.ipynb)\)((?: ?`[a-z0-9-]+`,?)*)", settled):
            identities = {cell["id"] for cell in json.loads((ROOT / notebook).read_text(encoding="utf-8"))["cells"]}
            named = re.findall(r"`([a-z0-9-]+)`", cells)
            assert named, f"claim {number} names no cell of {notebook}"
            assert set(named) <= identities, f"claim {number}: {notebook} has no cell {set(named) - identities}"


def test_pictures_have_a_text_alternative_and_exist():
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", README)
    assert pictures, "README shows a picture"
    for alternative, path in pictures:
        assert len(alternative) > 30
        assert path.startswith("http") or (ROOT / path).exists()


def test_the_picture_is_the_one_that_notebook_3_stores():
    assert tables.PICTURE.read_bytes() == tables.first_picture(), "run: python benchmarks/tables.py"


def test_every_notebook_stands_in_readme():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert f"notebooks/{path.name}" in README


def test_result_files_say_where_they_come_from():
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(root|home|tmp|work)/", text), path.name
        result = json.loads(text)
        rows = result.get("rows", [result])
        for part in [run for row in rows for run in row.get("runs", [row])]:
            machine = part.get("machine") or result["machine"]
            assert {"hardware", "python", "torch", "date"} <= set(machine), path.name


def test_the_recipe_is_what_the_steps_kept():
    """The table that argues for the recipe was measured with the recipe's own numbers."""
    table = recipe_steps.settings_by_change()
    ours = table[[text for text, _, kept in recipe_steps.STEPS if kept][-1]]
    assert ours["batch_norm"] and ours["nesterov"] and ours["one_cycle"]
    assert (ours["learning_rate"], ours["batch_size"]) == (gu.RECIPE["learning_rate"], gu.PROFILES["cpu"].batch_size)
    assert ours["weight_decay"] == gu.RECIPE["weight_decay"]
    assert tuple(ours["crop_scale"]) == gu.RECIPE["crop_scale"]
    assert ours["max_norm"] == gu.RECIPE["max_norm"]
    assert ours["label_smoothing"] == 0
    stored = {row["change"]: (row["settings"], row["kept"]) for row in gu.load_result("recipe_steps")["rows"]}
    assert stored == {text: (table[text], kept) for text, _, kept in recipe_steps.STEPS}


def test_two_runs_are_the_same_up_to_the_one_step_that_is_shortened():
    """What notebook 4's ★ "One step" says of its picture."""
    result = gu.load_result("gradient_norms")
    assert result["settings"] == recipe_steps.settings_by_change()[gradient_norms.CHANGE]
    assert result["max_norm"] == gu.RECIPE["max_norm"]
    first, second = result["rows"]
    step, start = second["shortened_step"], result["start"]
    assert first["shortened_step"] is None and start == gradient_norms.START < step
    assert len(first["losses"]) == len(first["norms"]) == len(second["losses"]) == 3 * recipe_steps.TRAIN_IMAGES // 128
    for name in ("losses", "norms"):                        # the loss of a step is computed before its weights move
        assert first[name][:step] == second[name][:step] and first[name][step] != second[name][step]
    assert first["norms"][step - 1] == max(first["norms"][start:]) > gradient_norms.LONG
    assert second["held_out_accuracy"] > first["held_out_accuracy"] + 0.04


def test_ablations_are_compared_at_equal_cost_on_equally_many_images():
    rows = {row["variant"]: row for row in gu.load_result("ablations")["rows"]}
    assert all(row["settings"] == ablations.settings_by_variant()[name] for name, row in rows.items())
    baseline = rows["baseline"]["runs"][0]
    for name, row in rows.items():
        assert len({run["seed"] for run in row["runs"]}) == len(row["runs"]) >= 3, f"{name}: three seeds"
        for run in row["runs"]:
            assert run["precision"] == "float32"
            spent = run["macs_per_image"] * run["images"] * run["epochs"]
            assert spent == pytest.approx(baseline["macs_per_image"] * ablations.IMAGES, rel=0.015), name
            if name != "half width":
                assert run["macs_per_image"] == pytest.approx(baseline["macs_per_image"], rel=0.015), name


def test_version_stands_in_the_citation_too():
    assert f"version: {gu.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
