"""Every mutation of tools/mutations.py has its place in the code, however that is written. None is run here."""
import ast
import functools

import pytest

from mutations import MODULE, MUTATIONS, ROOT, NotFoundError, default, drop, either, exchange, replace, silence


@functools.cache
def source_of(path):
    return (ROOT / path).read_text(encoding="utf-8")


@functools.cache
def reformatted_module():
    """The module without its comments, line breaks and quotes."""
    return ast.unparse(ast.parse(source_of(MODULE)))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.text)
def test_a_mutation_can_be_planted(mutation):
    source = source_of(mutation.path)
    changed = mutation.change(source)
    assert changed != source
    if mutation.path == MODULE:
        compile(changed, mutation.path, "exec")
        assert mutation.change(reformatted_module()) != reformatted_module()
    assert (ROOT / mutation.tests).exists() or (ROOT / f"tests/test_{mutation.tests}.py").exists()


def test_each_mutation_stands_once_in_the_table():
    assert len({(mutation.kind, mutation.text) for mutation in MUTATIONS}) == len(MUTATIONS)


def plant(change, source):
    return change[1](source)


@pytest.mark.parametrize(("change", "source", "expected"), [
    (drop("_.step(_)"), "if True:\n    self.scaler.step(  # so\n        optimizer)\n    schedule.step()",
     "if True:\n    pass\n    schedule.step()"),
    (drop("_.zero_grad(...)"), "opt.zero_grad(set_to_none=True)  # ä", "pass  # ä"),
    (replace("_.relu(_x_)", "_x_"), "y = relu(a + b) * 2", "y = (a + b) * 2"),
    (replace("_a_ / 255", "_a_"), "é = 'ä'; y = (images / 255 - mean) / std", "é = 'ä'; y = (images - mean) / std"),
    (replace("_a_ == _a_", "True"), "a.b == c, a.b == a.b", "a.b == c, True"),
    (replace("_f_(..., p=1)", "_f_(..., p=2)"), "f(x, *y, q=3, p=1, **z)", "f(x, *y, p=2, q=3, **z)"),
    (replace("{**_, 'a': _}", "{**_, 'a': None}"), "d = {'b': 1, 'a': 2, **c}", "d = {'a': None, 'b': 1, **c}"),
    (replace("1", "2", inside="f|g"), "x = 1\ndef g():\n    return 1", "x = 1\ndef g():\n    return 2"),
    (replace("1", "2", beside="here()"), "def f():\n    def g():\n        here(); return 1\n    return 1",
     "def f():\n    def g():\n        here(); return 2\n    return 1"),
    (replace("_.lower()", "_", every=True), "a.lower(); b.lower()", "_; _"),
    (silence("too small"), 'if a:\n    raise ValueError(f"{a} is too small " "for it")', "if a:\n    pass"),
    (silence("too small"), 'rules = [(a > b, f"{a} is too small"), (c, "d")]',
     'rules = [(True, f"{a} is too small"), (c, "d")]'),
    (default("A.f", "x", "2"), "class A:\n    def f(self, *, w=1, x=1): ...",
     "class A:\n    def f(self, *, w=1, x=2): ..."),
    (exchange("N", "a", "b"), "N = ('a', 'c', 'b')", "N = ('b', 'c', 'a')"),
    (either(replace("one", "1"), replace("two", "2")), "two", "2"),
])
def test_a_change_finds_its_place_by_what_the_code_is(change, source, expected):
    assert plant(change, source) == expected


@pytest.mark.parametrize("change", [replace("_ + 1", "2"), drop("_.step()"), drop("_.step()", inside="step"),
                                    silence("words"), default("f", "y", "1"), default("g", "x", "1"),
                                    exchange("N", "a", "c"), either(drop("nothing"), drop("_.step()"))])
def test_a_place_that_is_missing_or_not_the_only_one_is_told(change):
    with pytest.raises(NotFoundError, match="found"):
        plant(change, "def f(x=0):\n    a.step(); b.step()\nN = ('a', 'b')")
