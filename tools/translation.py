"""The Chinese notebooks: which of their cells were made from an English cell that has changed since?

Each cell of notebooks/zh/ keeps a hash of the English cell that it was made from, in its metadata. A translator who has
looked at a cell again (and changed it or not) stamps it with the hash of today's English cell.

usage: python tools/translation.py                          lists the cells
       python tools/translation.py --stamp NOTEBOOK CELL ...
"""
import argparse
import ast
import hashlib
import json
import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
CHINESE = ROOT / "notebooks" / "zh"
HAN = re.compile("[\u4e00-\u9fff]")


def notebooks():
    """Pairs of an English notebook's path and its Chinese one's."""
    paths = sorted([*CHINESE.glob("*.ipynb"), *CHINESE.glob("solutions/*.ipynb")])
    return [(ROOT / "notebooks" / path.relative_to(CHINESE), path) for path in paths]


def cells_of(path):
    """{id: cell} of a notebook."""
    return {cell["id"]: cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]}


def text_of(cell):
    return "".join(cell["source"])


def stamp_of(cell):
    """What marks the text of an English cell."""
    return hashlib.sha256(text_of(cell).encode()).hexdigest()[:12]


def stale(english, chinese):
    """The ids of the cells of `chinese` that were made from another text than `english` has today."""
    today = cells_of(english)
    return [name for name, cell in cells_of(chinese).items()
            if name not in today or cell["metadata"].get("translation_of") != stamp_of(today[name])]


def differences(english, chinese):
    """Where the code of a Chinese cell is other code than the English: pairs of the two places.

    Comments do not count. A text that holds Chinese stands for any text; in an f-string the fields have to be the same,
    in any order.
    """
    def compare(one, other):
        if isinstance(one, ast.JoinedStr) and isinstance(other, ast.JoinedStr) and HAN.search(ast.unparse(other)):
            fields = [sorted(ast.dump(value) for value in text.values if isinstance(value, ast.FormattedValue))
                      for text in (one, other)]
            if fields[0] != fields[1]:
                yield ast.unparse(one), ast.unparse(other)
        elif isinstance(one, ast.Constant) and isinstance(other, ast.Constant) and isinstance(one.value, str):
            if one.value != other.value and not HAN.search(str(other.value)):
                yield ast.unparse(one), ast.unparse(other)
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            for pair in zip(one, other, strict=True):
                yield from compare(*pair)
        elif isinstance(one, ast.AST) and type(one) is type(other):
            for field in one._fields:
                yield from compare(getattr(one, field, None), getattr(other, field, None))
        elif one != other:
            yield str(one), str(other)

    return list(compare(ast.parse(english), ast.parse(chinese)))


def stamp(path, names):
    """Say of these cells that they are what the English cells of today say."""
    notebook = nbformat.read(path, as_version=4)
    today = cells_of(ROOT / "notebooks" / path.relative_to(CHINESE))
    if unknown := set(names) - ({cell.id for cell in notebook.cells} & today.keys()):
        raise SystemExit(f"{path.name} has no such cell in both languages: {', '.join(sorted(unknown))}")
    for cell in notebook.cells:
        if cell.id in names:
            cell.metadata["translation_of"] = stamp_of(today[cell.id])
    nbformat.write(notebook, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stamp", nargs="+", metavar=("NOTEBOOK", "CELL"))
    options = parser.parse_args()
    if options.stamp:
        stamp(Path(options.stamp[0]).resolve(), options.stamp[1:])
    for english, chinese in notebooks():
        for name in stale(english, chinese):
            print(f"{chinese.relative_to(ROOT).as_posix()}: {name}")


if __name__ == "__main__":
    main()
