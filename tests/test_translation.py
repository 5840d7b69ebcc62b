"""The Chinese notebooks have the cells of the English ones, their code, and one term for one thing."""
import copy
import json
import re

import pytest

import translation
from translation import cells_of, text_of

PAIRS = translation.notebooks()
# What the Chinese edition does not call these things; the other names may stand in parentheses, once explained.
OTHER_TERMS = {
    "汇聚": "池化", "批量规范化": "批归一化|批标准化|批量归一化", "暂退法": "丢弃法|随机失活", "数据增广": "数据增强",
    "验证集": "留出集", "步幅": "步长", "连结": "拼接|级联", "特征图": "特征映射", "路径": "线路",
    "类激活图": "类激活映射", "检查点": "断点", "推断": "推理", "梯度裁剪": "梯度截断", "轮次": "迭代周期",
    "感受野": "接受域", "残差连接": "捷径连接", "全归约": "全规约", "遮挡": "遮蔽",
}
READ = re.compile(r'"[^"\n]*[一-鿿][^"\n]*"|#.*[一-鿿].*')           # literals and comments that hold Chinese
CODE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|<[^>]+>|\$[^$]*\$", re.S)
HALF_WIDTH = re.compile(r"[一-鿿][,;:?!(]|[,;:?!)][一-鿿]|[一-鿿]\.(?!\w)|[一-鿿][\"']|[\"'][一-鿿]")

each_pair = pytest.mark.parametrize(("english", "chinese"), PAIRS,
                                    ids=[path.relative_to(translation.CHINESE).as_posix() for _, path in PAIRS])


def test_every_lesson_and_every_solution_has_its_translation():
    english = translation.ROOT / "notebooks"
    assert [path for path, _ in PAIRS] == sorted([*english.glob("*.ipynb"), *english.glob("solutions/*.ipynb")])


def texts_of(path):
    """{cell: its text for a reader}: of a text cell without code, of a code cell its literals and comments."""
    texts = {}
    for name, cell in cells_of(path).items():
        if cell["cell_type"] == "markdown":
            texts[name] = CODE.sub("", text_of(cell))
        else:
            texts[name] = "\n".join(READ.findall(text_of(cell))).replace('"', "\n")
    return texts


@each_pair
def test_has_the_same_cells_in_the_same_order(english, chinese):
    def frame(path):
        cells = copy.deepcopy(list(cells_of(path).values()))
        for cell in cells:
            cell["metadata"].pop("translation_of", None)
        return [(cell["id"], cell["cell_type"], cell["metadata"]) for cell in cells]

    assert frame(english) == frame(chinese)


@each_pair
def test_nothing_english_has_changed_since_it_was_translated(english, chinese):
    assert not translation.stale(english, chinese), "look at these cells again; then tools/translation.py --stamp"


@each_pair
def test_code_is_the_same_but_for_what_a_reader_reads(english, chinese):
    before, after = cells_of(english), cells_of(chinese)
    for name, cell in after.items():
        if cell["cell_type"] == "code" and name != "set-up":        # tests/test_notebooks.py compares that one
            assert not translation.differences(text_of(before[name]), text_of(cell)), name


@each_pair
def test_all_texts_are_chinese(english, chinese):
    after = cells_of(chinese)
    same = [name for name, cell in cells_of(english).items() if cell["cell_type"] == "markdown"
            and re.search("[a-z]{3}", CODE.sub("", text_of(cell))) and not translation.HAN.search(text_of(after[name]))]
    assert not same


@each_pair
def test_one_term_for_one_thing(english, chinese):
    for name, text in texts_of(chinese).items():
        text = re.sub("（[^）]*）", "", text)
        found = [word for words in OTHER_TERMS.values() for word in re.findall(words, text)]
        assert not found, f"{name}: {found}"


@each_pair
def test_punctuation_is_chinese(english, chinese):
    for name, text in texts_of(chinese).items():
        found = [text[max(0, match.start() - 8):match.end() + 8] for match in HALF_WIDTH.finditer(text)]
        assert not found, f"{name}: {found}"
        for left, right in ("（）", "“”"):
            assert text.count(left) == text.count(right), f"{name}: {left}{right}"


PLANTED = [
    ('net = build("kaiming")', 'net = build("xavier")'),
    ('print("step", step)', 'print("一步", step + 1)'),
    ('print(f"{a} of {b}")', 'print(f"{b} 中的 {c}")'),
    ('print(f"{a:.2f}")', 'print(f"约 {a:.3f}")'),
    ("x = 1", "x = 1\ny = 2"),
    ('gu.check(a, right="B", hints=[(1, "why?")])', 'gu.check(a, right="C", hints=[(1, "为什么？")])'),
]


@pytest.mark.parametrize(("english", "chinese"), PLANTED)
def test_other_code_is_noticed(english, chinese):
    assert translation.differences(english, chinese)


@pytest.mark.parametrize(("english", "chinese"), [
    ('print(f"{a} of {b}")     # how many', 'print(f"{b} 中的 {a}")     # 多少'),
    ('gu.check(a, right="B", hints=[(1, "why?")])', 'gu.check(a, right="B", hints=[(1, "为什么？")])'),
    ('"""What it does."""', '"""做什么。"""')])
def test_another_text_is_no_other_code(english, chinese):
    assert not translation.differences(english, chinese)


def test_a_cell_that_is_not_in_both_languages_is_not_stamped():
    _, path = PAIRS[0]
    before = path.read_bytes()
    with pytest.raises(SystemExit, match="no such cell in both languages: typo"):
        translation.stamp(path, ["typo"])
    assert path.read_bytes() == before


def test_a_changed_english_cell_makes_its_translation_stale(tmp_path):
    cell = {"id": "one", "cell_type": "markdown", "metadata": {}, "source": ["An image."]}
    english, chinese = tmp_path / "en.ipynb", tmp_path / "zh.ipynb"
    english.write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    made = {**cell, "source": ["一张图像。"], "metadata": {"translation_of": translation.stamp_of(cell)}}
    chinese.write_text(json.dumps({"cells": [made]}), encoding="utf-8")
    assert not translation.stale(english, chinese)
    english.write_text(json.dumps({"cells": [{**cell, "source": ["Two images."]}]}), encoding="utf-8")
    assert translation.stale(english, chinese) == ["one"]
