"""Exercises: `gu.check` and what it says, and that notebooks, solutions, hints and the lists for the teacher agree.

An exercise is three cells in a row: NAME-exercise (text), NAME-answer (the stub, which runs as it stands) and
NAME-check (folded; calls `gu.check`). A check cell needs nothing but the imports of the set-up cell and the student's
answer, so that this file can try the right answer and every wrong one.
"""
import re
from pathlib import Path

import nbformat
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import googlenet_utils as gu

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOT_TRIED, NOT_YET, RIGHT = "○ Not tried yet.", "✗ Not yet.", "✓ Right."
for_each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# What check says

def reply(capsys, answer, right=256, hints=((224, "path 4 is missing"), (288, "a reduction was added")),
          why="64 + 128 + 32 + 32", by=None):
    gu.check(answer, right, hints, why, by)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1, "one line"
    return printed.strip()


class Hostile:
    """Raises whatever is done with it."""

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None
    __repr__ = __str__ = __float__ = __eq__


def raising(*arguments):
    raise ValueError("from the student's code")


def leaving(*arguments):
    raise SystemExit


def test_says_not_tried_right_with_the_reason_and_the_hint_that_fits(capsys):
    assert reply(capsys, None).startswith(NOT_TRIED)
    assert reply(capsys, 256) == f"{RIGHT} 64 + 128 + 32 + 32"
    assert reply(capsys, 224) == f"{NOT_YET} path 4 is missing"
    assert reply(capsys, 288) == f"{NOT_YET} a reduction was added"
    assert reply(capsys, 1).startswith(NOT_YET)
    assert "path 4" not in reply(capsys, 1)
    assert "without quotes" in reply(capsys, "256")
    assert "without quotes" in reply(capsys, "480, 8, 8", right=(480, 8, 8), hints=())
    assert reply(capsys, " c). ", right="C", hints=()).startswith(RIGHT)
    assert "without quotes" not in reply(capsys, "b", right="A", hints=())


@pytest.mark.parametrize("answer", [
    "", "256", float("nan"), float("inf"), -1, True, [], [256], {}, {256: 1}, object(), Hostile(), raising,
    torch.zeros(3), torch.zeros(0), torch.tensor(float("nan")), nn.Linear(1, 1), int, ..., 10**400, 1j, b"256",
], ids=lambda answer: type(answer).__name__)
@pytest.mark.parametrize("right", [256, 2.5, "B", (1, 2), [1, 2], torch.ones(3), {"3a": 1}, True],
                         ids=lambda right: type(right).__name__)
def test_never_raises_and_calls_none_of_these_right(capsys, answer, right):
    if right is True and answer is True:
        pytest.skip("that one is right")
    assert reply(capsys, answer, right, hints=[]).startswith(NOT_YET)


@pytest.mark.parametrize(("answer", "right", "same"), [
    (256.0, 256, True), (torch.tensor(256), 256, True), (256.5, 256, False), (True, 1, False), (1, True, False),
    (2.41, 2.4076, True), (2.5, 2.4076, False), (0.1, 0.1, True), (" b ", "B", True), ("C", "B", False),
    ([64, 28], (64, 28), True), ((64, 28, 28), (64, 28), False), (torch.Size([1, 2]), (1, 2), True),
    (torch.ones(2, 2), torch.ones(2, 2), True), (torch.ones(2, 1), torch.ones(2, 2), False),
    (torch.ones(2) * 1.5, torch.ones(2), False),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True), ({"a": 1}, {"b": 1}, False),
])
def test_what_counts_as_the_same_answer(capsys, answer, right, same):
    assert reply(capsys, answer, right, hints=[]).startswith(RIGHT if same else NOT_YET)


def test_functions_are_compared_by_what_they_do(capsys):
    def ask(answer):
        return reply(capsys, answer, right=lambda side: side**2, hints=[(lambda side: 2 * side, "that doubles")],
                     by=lambda function: [function(side) for side in (3, 5)])

    assert ask(None).startswith(NOT_TRIED)
    assert ask(lambda side: side * side).startswith(RIGHT)
    assert ask(lambda side: side + side) == f"{NOT_YET} that doubles"
    assert ask(lambda side: side).startswith(NOT_YET)
    assert ask(raising) == f"{NOT_YET} Your answer ran, and stopped: ValueError: from the student's code"
    assert ask(leaving).endswith("and stopped: SystemExit")
    assert ask(3).endswith("and stopped: TypeError: 'int' object is not callable")


def test_a_stub_function_that_returns_nothing_is_not_tried_yet(capsys):
    said = reply(capsys, lambda side: None, right=abs, hints=[], by=lambda f: f(3))
    assert said.startswith(NOT_TRIED) and said.endswith("has to return it.")
    assert "return" not in reply(capsys, None)


# What the notebooks ask

def cells_by_id(path):
    return {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}


def exercises_of(path):
    return [name.removesuffix("-exercise") for name in cells_by_id(path) if name.endswith("-exercise")]


def printed(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


def arguments_of(cell, monkeypatch):
    """What a check cell calls `gu.check` with, run with nothing but the imports of the set-up cell."""
    calls = []
    stub = re.search(r"^gu\.check\(\s*(\w+)", cell.source, re.M)
    assert stub, f"{cell.id} calls gu.check(the name of the answer"
    with monkeypatch.context() as patch:
        patch.setattr(gu, "check", lambda answer, right, hints, why, by=None: calls.append((right, hints, why, by)))
        exec(cell.source, {"gu": gu, "torch": torch, "nn": nn, "F": F, stub[1]: None})
    assert len(calls) == 1
    return calls[0]


@for_each_notebook
def test_four_to_six_exercises_with_stub_and_folded_check(path):
    cells, names = cells_by_id(path), exercises_of(path)
    assert 4 <= len(names) <= 6
    order = list(cells)
    for name in names:
        start = order.index(f"{name}-exercise")
        assert order[start:start + 3] == [f"{name}-exercise", f"{name}-answer", f"{name}-check"]
        text, stub, check = (cells[one] for one in order[start:start + 3])
        assert "**Exercise" in text.source
        assert check.metadata.get("jupyter", {}).get("source_hidden"), f"{check.id} is stored folded"
        assert printed(check).startswith(NOT_TRIED), "the stub is not the solution"
        assert not stub.outputs, f"{stub.id}: a stub prints nothing"


@for_each_notebook
def test_solutions_and_stubs_belong_together(path):
    solved = path.parent / "solutions" / path.name
    cells, solutions = cells_by_id(path), cells_by_id(solved)
    assert exercises_of(solved) == exercises_of(path)
    for name in exercises_of(path):
        check = solutions[f"{name}-check"]
        assert check.source == cells[f"{name}-check"].source, "the same check in both"
        assert solutions[f"{name}-answer"].source != cells[f"{name}-answer"].source
        assert printed(check).startswith(RIGHT)


@for_each_notebook
def test_the_right_answer_is_right_and_each_usual_slip_has_its_own_hint(path, capsys, monkeypatch):
    cells = cells_by_id(path)
    for name in exercises_of(path):
        right, hints, why, by = arguments_of(cells[f"{name}-check"], monkeypatch)
        assert len(hints) >= 2, f"{name}: two usual slips at least"
        assert len({hint for _, hint in hints}) == len(hints), f"{name}: each slip its own hint"
        assert all(len(text) >= 25 for text in (why, *(hint for _, hint in hints))), f"{name}: whole sentences"
        assert reply(capsys, right, right, hints, why, by) == f"{RIGHT} {why}"
        for wrong, hint in hints:
            assert reply(capsys, wrong, right, hints, why, by) == f"{NOT_YET} {hint}", name


# What the lists for maintainer and teacher say

@for_each_notebook
def test_each_goal_has_its_exercise_in_the_map(path):
    goals = re.findall(r"^- (.+?)[;,.]?$", cells_by_id(path)["goals"].source, re.M)
    verbs = [re.findall(r"\*+(.+?)\*+", goal)[0] for goal in goals]
    rows = re.findall(rf"^\| {int(path.stem[:2])} \| (.+?) \| (.+?) \|$",
                      (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M)
    assert 3 <= len(verbs) <= 5
    assert [goal.split()[0].strip("*") for goal, _ in rows] == [verb.split()[0] for verb in verbs]
    named = {name.strip(" `") for _, names in rows for name in names.split(",")}
    assert named == set(exercises_of(path))


@for_each_notebook
def test_two_votes_of_four_options_whose_slips_the_teacher_finds_by_name(path):
    teacher = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    votes = [cell for cell in cells_by_id(path).values() if "**Vote.**" in cell.source]
    assert len(votes) >= 2
    for cell in votes:
        assert re.findall(r"^- \*\*([A-D])\*\*", cell.source, re.M) == list("ABCD"), cell.id
        row = re.search(rf"^\| {int(path.stem[:2])} \| `{cell.id}` \| ([A-D]) \| (.+?) \| (\d+ %) \|$", teacher, re.M)
        assert row, f"{cell.id} has no row in notebooks/README.md"
        slips = re.findall(r"\b([A-D]): ", row[2])
        assert slips == [letter for letter in "ABCD" if letter != row[1]], f"{cell.id}: name what each wrong option is"
        assert 35 <= int(row[3].split()[0]) <= 70, f"{cell.id}: too easy or too hard for a vote"


ASKED_OF_US = (                                     # with what each is called in the teacher's table
    "a 1×1 convolution sees neighbours", "kernel size is receptive field", "the pooling path is free",
    "concatenation adds", "22 layers are 22 blocks", "fewer parameters is faster",
    "a falling printed loss is learning", "enlarging a picture from 32 to 224 pixels adds information",
    "test accuracy above training accuracy is a bug", "softmax before cross-entropy",
    "without dropout nothing happens when eval mode is forgotten", "switching a path off is training without it",
    "an activation map explains why", "half a point on one seed is an effect", "auxiliary heads run at inference",
    "torchvision's googlenet is the paper's")


def misconceptions():
    text = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    rows = text.split("| misconception | notebook | asked in | settled in |\n|---|---|---|---|\n")[1].split("\n\n")[0]
    return [[part.strip(" `") for part in row.strip().strip("|").split("|")] for row in rows.splitlines()]


def test_every_misconception_is_in_the_table():
    missing = set(ASKED_OF_US) - {name for name, *_ in misconceptions()}
    assert not missing


@pytest.mark.parametrize(("name", "number", "asked", "settled"), misconceptions())
def test_each_misconception_is_asked_for_before_a_cell_settles_it(name, number, asked, settled):
    cells = cells_by_id(NOTEBOOKS[int(number) - 1])
    order = list(cells)
    assert "?" in cells[asked].source, f"{asked}: nothing is asked"
    assert order.index(asked) < order.index(settled)
    assert cells[settled].cell_type == "code" and "predict" in cells[settled].metadata.get("tags", []), "stored folded"
    assert cells[settled].outputs, f"{settled} runs nothing that could settle it"
