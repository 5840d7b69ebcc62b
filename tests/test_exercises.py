"""Exercises: `gu.check` and what it says, and that notebooks, solutions, hints and the teacher's pages agree.

An exercise is three cells in a row: NAME-exercise (text), NAME-answer (the stub, which runs as it stands) and
NAME-check (folded; calls `gu.check`). A check cell needs nothing but the imports of the set-up cell and the student's
answer, so that this file can try the right answer and every wrong one.
"""
import collections
import contextlib
import decimal
import fractions
import os
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import googlenet_utils as gu
from mutations import replace

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SET_UP = {"gu": gu, "os": os, "torch": torch, "nn": nn, "F": F}         # what a set-up cell brings, as far as needed
NOT_TRIED, NOT_YET, RIGHT = "○ Not tried yet.", "✗ Not yet.", "✓ Right."
for_each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# What check says

def reply(capsys, answer, right=256, hints=((224, "path 4 is missing"), (288, "a reduction was added")),
          why="64 + 128 + 32 + 32", by=None):
    returned = gu.check(answer, right, hints, why, by)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1, "one line"
    assert returned is printed.startswith(RIGHT), "and whether it is right"
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
    assert reply(capsys, "ＣＡＢ", right="CAB", hints=(), by=sorted).startswith(RIGHT)


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
    # texts
    ("Ｂ", "B", True), ("ｂ", "B", True), ("B。", "B", True), ("B.", "B", True), ("Ｂ）", "B", True),
    ("（B）", "B", True), ("B、", "B", True), ("Ｂ．", "B", True), ("“B”", "B", True), ("B\n", "B", True),
    ("B\u3000", "B", True), ("\xa0B", "B", True), ("Ⓑ", "B", True), ("‘b’:", "B", True),
    (np.str_("B"), "B", True), (np.array("B"), "B", True),
    ("４b", "4b", True), ("stage  4", "Stage 4", True), ("Ｃ", "B", False), ("BB", "B", False), ("", "B", False),
    ("。", "B", False), ("4 b", "4b", False), ("-", "+", False), (np.str_("C"), "B", False), (2, "2", False),
    (["a", "Ｂ"], ("A", "B"), True), (np.array(["A", "B"]), ["A", "B"], True), (["B", "A"], ("A", "B"), False),
    # numbers
    (np.int64(256), 256, True), (np.float32(256), 256, True), (np.float32(2.41), 2.4076, True),
    (np.array(256), 256, True), (torch.tensor([256]), 256, True), (np.array([[256]]), 256, True),
    (torch.tensor(2.41), 2.4076, True), (torch.tensor(2.41, dtype=torch.bfloat16), 2.4076, True),
    (torch.tensor(2.41, requires_grad=True), 2.4076, True), (fractions.Fraction(512, 2), 256, True),
    (decimal.Decimal("2.41"), 2.4076, True), (256, np.int64(256), True),
    (256, torch.tensor(256), True), (2.41, np.float32(2.4076), True), (np.int64(257), 256, False),
    (np.float32(256.5), 256, False), (torch.tensor([256, 256]), 256, False), (np.array([256, 256]), 256, False),
    (257, np.int64(256), False), (0.0, 1e-9, False), (2e-7, 1e-7, False),
    # yes and no
    (np.True_, True, True), (np.False_, False, True), (torch.tensor(True), True, True), (np.array([True]), True, True),
    (True, np.True_, True), (np.False_, True, False), (torch.tensor(False), True, False), (np.True_, 1, False),
    (np.int64(1), True, False), (False, 0, False),
    # several numbers
    (np.array([64, 28]), (64, 28), True), (torch.tensor([64, 28]), (64, 28), True),
    ((64, 28), torch.tensor([64, 28]), True), ([64.0, 28.0], np.array([64, 28]), True),
    (range(1, 4), (1, 2, 3), True),
    ((1, 2, 3), range(1, 4), True),
    ([np.int64(64), torch.tensor(28)], (64, 28), True), (np.array([0.301, 0.5]), (0.3, 0.5), True),
    ([[4, 4], [4, 4]], ((4, 4), (4, 4)), True), (torch.full((2, 2), 4), [[4, 4], [4, 4]], True),
    (np.ones((2, 2)), torch.ones(2, 2), True), (np.array([True, False]), (True, False), True),
    (torch.tensor([1.0 + 1e-7, 1e-9]), (1, 0), True),                       # whole numbers, but for float32's rounding
    (np.array([28, 64]), (64, 28), False), (np.array([64, 28, 28]), (64, 28), False),
    (np.array([[64, 28]]), (64, 28), False), (np.array([True, False]), (1, 0), False),
    (torch.tensor([101, 28]), torch.tensor([100, 28]), False),
    ([np.nan, 1.0], (1.0, 1.0), False), ({64, 28}, (64, 28), False),
    # by name
    ({"3a": np.int64(1), "b": "Ｂ"}, {"3a": 1, "b": "B"}, True),
    (collections.OrderedDict(a=np.array([1, 2])), {"a": (1, 2)}, True),
    ({"a": np.int64(2)}, {"a": 1}, False), ([("a", 1)], {"a": 1}, False),
], ids=lambda value: " ".join(repr(value).split())[:24])
def test_what_counts_as_the_same_answer(capsys, answer, right, same):
    assert reply(capsys, answer, right, hints=[]).startswith(RIGHT if same else NOT_YET)


@pytest.mark.parametrize("answer", [
    "256", "２５６", " 256 ", "two hundred", b"256", np.str_("256"), ("480", "8", "8"), ["８"]], ids=repr)
@pytest.mark.parametrize("right", [256, 2.5, np.int64(256), torch.tensor(256), (480, 8, 8), torch.ones(3)], ids=repr)
def test_a_text_in_the_place_of_numbers_is_named(capsys, answer, right):
    assert "numbers are asked for" in reply(capsys, answer, right, hints=[])


@pytest.mark.parametrize(("answer", "right"), [
    ("A", "B"), ("ResNet", ["ResNet", "NiN"]), ("3", {"3a": 1}), (3, 256), ((3, 4), (480, 8, 8)), (3, "B"),
    ("yes", True)], ids=repr)
def test_a_text_is_not_blamed_where_no_numbers_are_asked_for_or_given(capsys, answer, right):
    assert "quotes" not in reply(capsys, answer, right, hints=[])


def test_a_hint_finds_its_slip_in_any_of_these_forms(capsys):
    hints = [((28, 64), "their order"), ("A", "the letter before")]
    assert reply(capsys, np.array([28, 64]), (64, 28), hints) == f"{NOT_YET} their order"
    assert reply(capsys, "Ａ。", "B", hints) == f"{NOT_YET} the letter before"


def test_all_that_it_says_stands_in_one_place(capsys, monkeypatch):
    """So that another language can stand beside it."""
    monkeypatch.setattr(gu, "_messages", {kind: f"<{kind}>" for kind in gu._messages})
    for answer, said in ((None, "not tried"), (256, "right"), (224, "hint"), ("256", "text"), (1, "else")):
        gu.check(answer, 256, [(224, "path 4 is missing")], "64 + 128 + 32 + 32")
        assert capsys.readouterr().out == f"<{said}>\n"
    gu.check(3, 256, [], "", by=raising)
    assert capsys.readouterr().out == "<stopped>\n"


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
    stub = re.search(r"^\w+ = gu\.check\(\s*(\w+)", cell.source, re.M)
    assert stub, f"{cell.id} calls gu.check(the name of the answer"
    with monkeypatch.context() as patch:
        patch.setattr(gu, "check", lambda answer, right, hints, why, by=None: calls.append((right, hints, why, by)))
        exec(cell.source, {**SET_UP, stub[1]: None})
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
        assert re.search(r"^\w+ = gu\.check\(", check.source, re.M), f"{check.id}: it would be displayed"
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
        assert reply(capsys, right, right, hints, why, by) == f"{RIGHT} {why}"
        for wrong, hint in hints:
            assert reply(capsys, wrong, right, hints, why, by) == f"{NOT_YET} {hint}", name


# What is built in class is used by the cells after it

# A notebook's exercise, and the last cell that uses its answer: errors to plant in our solution, and the check's hints.
BUILT = {
    ("01_inception_block", "forward", "same-numbers"): [
        ("F.relu(self.p2_1(x))", "self.p2_1(x)", "path 2) are wrong"),
        ("self.p4_2(self.p4_1(x))", "self.p4_2(x)", "path 4) are wrong"),
        ("[p1, p2, p3, p4]", "[p4, p3, p2, p1]", "not in their order"),
        ("[p1, p2, p3, p4]", "[p1, p2, p3]", "Path 3 or path 4 is missing")],
    ("02_five_stages", "build", "same-numbers"): [
        ("channels = row.channels", "pass", "Every block gets 192 channels"),
        ('stages["4"].append(halve())', "pass", "Stages 3 and 4 end with"),
        ('stages["3"].append(halve())', 'stages["3"].append(nn.MaxPool2d(2, 2))', "a 3×3 window"),
        ("nn.AdaptiveAvgPool2d", "nn.AdaptiveMaxPool2d", "Which pooling comes after 5b"),
        ('[row.name[0]]', '["4"]', "How many blocks does each stage have")],
    ("04_training_on_cifar10", "input", "same"): [
        ("x.flip(2)", "x.flip(1)", "stands on its head"),
        ("x / 255", "x", "the bytes"),
        ("top:top + 32, left:left + 32", "left:left + 32, top:top + 32", "have changed places"),
        (" / std.view(3, 1, 1)", "", "a standard deviation of 1")],
    ("04_training_on_cifar10", "optimizer", "groups"): [
        ("p.dim() <= 1", "p.dim() < 1", "they would stay as they are"),
        ('"weight_decay": 0.0005', '"weight_decay": 0', "Nothing decays yet"),
        ("lr=learning_rate", "lr=0.1", "The learning rate is always"),
        ("nesterov=True", "nesterov=False", "Nesterov's variant is not")],
    ("05_looking_inside", "activation", "cam-proof"): [
        ("weights[classes]", "weights[:1]", "weights of class 0"),
        ("own[:, :, None, None] * feature_maps", "feature_maps", "counts the same"),
        ("sum(dim=1)", "mean(dim=1)", "the mean over the feature maps"),
        ("sum(dim=1)", "sum(dim=(2, 3))", "added up the positions"),
        ("weighted.sum(dim=1)", "F.relu(weighted.sum(dim=1))", "below zero")],
    ("06_the_papers_network", "head", "inference"): [
        ("F.relu(self.conv(x))", "self.conv(x)", "no ReLU after the convolution"),
        ("F.relu(self.fc1(x))", "self.fc1(x)", "two in a row are one"),
        ("adaptive_avg_pool2d", "adaptive_max_pool2d", "takes averages"),
        ("F.adaptive_avg_pool2d(x, 4)", "F.avg_pool2d(x, 5, stride=3)", "fits 14 to 16 positions"),
        ("0.7, self.training", "0.7", "at inference, too"),
        ("0.7", "0.3", "not the one that is kept"),
        ("128 * 4 * 4", "128", "128 channels × 4 × 4 positions"),
        ("return self.fc2(x)", "return self.fc2(x).softmax(dim=1)", "Return logits")],
    ("07_the_neighbours", "residual", "same-logits"): [
        ("F.relu(self.shortcut(x) + self.f(x))", "self.shortcut(x) + self.f(x)", "What follows it"),
        ("self.shortcut(x) + self.f(x)", "self.f(x)", "`f(x)` alone"),
        ("self.shortcut(x) + self.f(x)", "self.shortcut(x) + F.relu(self.f(x))", "before the sum"),
        ("if stride != 1 or in_channels != channels", "if True", "needs no layer"),
        ("kernel_size=1, stride=stride", "kernel_size=1", "With a stride of 2"),
        ("bias=False),\n                nn.BatchNorm2d(channels))", "bias=False))", "One batch norm")],
    ("08_many_gpus", "mean", "seven"): [
        ("count * one", "one", "already a mean"),
        ("sum(counts)", "len(counts)", "number of processes"),
        ("total += count * one", "total = count * one", "Only the last gradient"),
        ("torch.zeros_like(gradients[0])", "gradients[0]", "changes `gradients` themselves"),
        ("    return total", "        return total", "inside the loop")],
}

# Of the cells before the exercise, those that it needs, where all of them would take long.
NEEDED = {("04_training_on_cifar10", "input"): ["load", "split", "article-data"],
          ("04_training_on_cifar10", "optimizer"): [],
          ("07_the_neighbours", "residual"): ["nin"],
          ("06_the_papers_network", "head"): []}


def run_with(answer, notebook, name, last, capsys):
    """What the cells from NAME-check to `last` print now, and what is stored, with `answer` in the place of the stub.

    The notebook runs from its start, but for cells that only draw, or from what is needed."""
    (path,) = [path for path in NOTEBOOKS if path.stem == notebook]
    cells, names, said = cells_by_id(path), dict(SET_UP), {}
    before = list(cells)[:list(cells).index(f"{name}-answer")]
    left_out = set(before) - set(NEEDED.get((notebook, name), before))
    for cell in cells.values():
        if cell.cell_type == "code" and cell.id not in left_out and not (
                {"set-up", "remove-input"} & set(cell.metadata.get("tags", []))):
            exec(answer if cell.id == f"{name}-answer" else cell.source, names)
            said[cell.id] = capsys.readouterr().out
        if cell.id == last:
            break
    order = list(said)
    return [(said[one], printed(cells[one])) for one in order[order.index(f"{name}-check"):]]


def solution_of(notebook, name):
    return cells_by_id(ROOT / "notebooks" / "solutions" / f"{notebook}.ipynb")[f"{name}-answer"].source


@pytest.mark.parametrize("exercise", BUILT, ids="-".join)
def test_the_cells_after_it_go_on_with_what_the_student_built(exercise, capsys):
    check, *after = run_with(solution_of(*exercise[:2]), *exercise, capsys)
    assert check[0].startswith(RIGHT)
    assert len(after) >= 2
    assert all(said == stored for said, stored in after), "they print what they print with ours"


@pytest.mark.parametrize(("exercise", "old", "new", "hint"), [
    (exercise, *error) for exercise, errors in BUILT.items() for error in errors],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else value)
def test_an_error_in_it_is_noticed_by_its_check_and_without_that_by_a_cell_that_uses_it(
        exercise, old, new, hint, capsys, monkeypatch):
    solution = solution_of(*exercise[:2])
    assert solution.count(old) == 1
    check, *after = run_with(solution.replace(old, new), *exercise, capsys)
    assert check[0].startswith(NOT_YET)
    assert hint in check[0]
    assert all(said == stored for said, stored in after), "they go on with ours"
    monkeypatch.setattr(gu, "check", lambda *arguments, **options: True)
    with contextlib.suppress(AssertionError, RuntimeError):             # shapes that do not fit
        _, *after = run_with(solution.replace(old, new), *exercise, capsys)
        assert any(said != stored for said, stored in after)


# The same in notebook 3, where cells that train stand between

def drawn_afresh(**options):                        # the lesson's own stands in a cell that trains
    torch.manual_seed(0)
    return gu.GoogLeNet(num_classes=10, initialization="pytorch", **options)


LESSON_3, SOLUTION_3 = (folder / "03_why_it_does_not_learn.ipynb"
                        for folder in (ROOT / "notebooks", ROOT / "notebooks" / "solutions"))
BUILT_IN_3 = {      # an exercise: what the lesson's cells need before it, those after it, slips of a student
    "counter": (["evaluate", "loop", "constant-loss"], ["mended", "mended-test"], [
        replace("batch_loss.item() * len(y)", "batch_loss.item()"),
        replace("loss_sum / images", "loss_sum"),
        replace("images += len(y)", "images += 1", statement=True)]),
    "kaiming": (["std-function", "layer"], ["signal"], [
        replace("(2 / n) ** 0.5", "2 / n"),
        replace("(2 / n) ** 0.5", "(1 / (3 * n)) ** 0.5"),
        replace("layer.weight[0].numel()", "layer.weight.shape[1]")]),
}
for_each_slip_in_3 = pytest.mark.parametrize(("name", "slip"), [
    pytest.param(name, slip, id=f"{name}-{number}")
    for name, (*_, slips) in BUILT_IN_3.items() for number, (_, slip) in enumerate(slips)])


def run_cells(path, names, **sources):
    """Run these cells of a notebook, with other code for some of them; returns the names that they define."""
    cells = cells_by_id(path)
    defined = {**SET_UP, "fresh": drawn_afresh, **{f"{name}_right": True for name in BUILT_IN_3}}     # if no check runs
    for name in names:
        exec(sources.get(name, cells[name].source), defined)
    return defined


@for_each_slip_in_3
def test_a_slip_in_the_solution_fails_the_cell_after_it(name, slip, capsys):
    slipped = slip(cells_by_id(SOLUTION_3)[f"{name}-answer"].source)
    with pytest.raises(AssertionError):
        run_cells(SOLUTION_3, [f"{name}-answer", f"{name}-check", f"{name}-test"], **{f"{name}-answer": slipped})
    assert NOT_YET in capsys.readouterr().out, "and before it, the check has a hint"


@pytest.mark.parametrize("name", BUILT_IN_3)
def test_the_lesson_goes_on_with_what_the_student_built(name):
    before, after, _ = BUILT_IN_3[name]
    cells = [*before, f"{name}-answer", f"{name}-check", f"{name}-ours", *after]
    solved = cells_by_id(SOLUTION_3)[f"{name}-answer"].source
    assert run_cells(LESSON_3, cells, **{f"{name}-answer": solved})[f"{name}_right"] is True


@for_each_slip_in_3
def test_and_with_ours_if_that_is_not_right(name, slip):
    before, after, _ = BUILT_IN_3[name]
    slipped = {f"{name}-answer": slip(cells_by_id(SOLUTION_3)[f"{name}-answer"].source)}
    defined = run_cells(LESSON_3, [f"{name}-answer", f"{name}-check"], **slipped)
    assert defined[f"{name}_right"] is False                # then the cell NAME-ours, which nbval runs, takes its place
    with pytest.raises(AssertionError):                     # it would have stopped at the slip
        run_cells(LESSON_3, [*before, f"{name}-answer", *after], **slipped)


# What each goal is tried by, and what the teacher's pages say

@for_each_notebook
def test_each_goal_is_tried_by_an_exercise(path):
    cells = cells_by_id(path)
    goals = re.findall(r"^- .*?\*+(.+?)\*+", cells["goals"].source, re.M)             # their verbs, in bold
    tried = {name: cells[f"{name}-check"].metadata.get("goals", []) for name in exercises_of(path)}
    assert all(tried.values()), "the metadata of a check cell say which goals it tries"
    assert {goal for of_one in tried.values() for goal in of_one} == set(goals)


def page_of(path):
    return (ROOT / "notebooks" / "teacher" / f"{path.stem}.md").read_text(encoding="utf-8")


def questions_of(path):
    """Rows of the teacher's tables: (asked in, the right letter of a vote or "", its slips or the slip, settled in)."""
    return re.findall(r"^\| `([\w-]+)` \| (?:([A-D]) \| )?(.+?) \| `([\w-]+)` \|$", page_of(path), re.M)


@for_each_notebook
def test_the_teacher_finds_each_vote_with_what_its_wrong_options_give_away(path):
    votes = [cell for cell in cells_by_id(path).values() if "**Vote.**" in cell.source]
    rows = {asked: (right, slips) for asked, right, slips, _ in questions_of(path) if right}
    assert len(votes) >= 2
    assert set(rows) == {cell.id for cell in votes}
    for cell in votes:
        right, slips = rows[cell.id]
        assert re.findall(r"^- \*\*([A-D])\*\*", cell.source, re.M) == list("ABCD"), cell.id
        assert re.findall(r"\b([A-D]): ", slips) == [letter for letter in "ABCD" if letter != right], cell.id


@for_each_notebook
def test_what_is_asked_is_settled_by_a_cell_after_it(path):
    cells = cells_by_id(path)
    order = list(cells)
    for asked, _, _, settled in questions_of(path):
        assert "?" in cells[asked].source, f"{asked}: nothing is asked"
        assert order.index(asked) < order.index(settled)
        assert "predict" in cells[settled].metadata.get("tags", []), f"{settled} is stored folded"
        assert cells[settled].get("outputs"), f"{settled} runs nothing that could settle it"


def test_the_minutes_name_cells_that_are_there():
    for path in NOTEBOOKS:
        named = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", page_of(path)))
        assert named <= {*cells_by_id(path), *exercises_of(path)}, path.stem


ASKED_OF_US = (                                     # the misconceptions that these notebooks were made to meet
    "a 1×1 convolution sees neighbours", "kernel size is receptive field", "the pooling path is free",
    "concatenation adds", "22 layers are 22 blocks", "fewer parameters is faster",
    "a falling printed loss is learning", "enlarging an image from 32 to 224 pixels adds information",
    "test accuracy above training accuracy is a bug", "softmax before cross-entropy",
    "without dropout nothing happens when eval mode is forgotten", "switching a path off is training without it",
    "an activation map explains why", "half a point on one seed is an effect", "auxiliary heads run at inference",
    "torchvision's googlenet is the paper's")


def test_every_misconception_is_met():
    tables = "".join(slips for path in NOTEBOOKS for _, _, slips, _ in questions_of(path))
    assert not [name for name in ASKED_OF_US if name not in tables]
