"""Copies for a class: the notebooks with the answers taken out, and what they need to run, in one folder.

In the copies the outputs of cells tagged `predict` are cleared, so that nobody finds an answer by unfolding it, and the
solved notebooks are left out. Answers in the text stay folded ("The answer"), to be opened after the vote. Data sets
are not copied: put an archive of CIFAR-10 into the folder's data/ (notebooks/README.md says how).

usage: python tools/class_copies.py FOLDER [--language zh]      (an empty folder, or one that is not there yet)
"""
import argparse
import shutil
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
# What a notebook needs beside itself; folders are copied whole.
NEEDED = ["googlenet_utils.py", "requirements.txt", "environment.yml", "LICENSE", "notebooks/pictures",
          "notebooks/weights", "benchmarks/results"]


def without_answers(notebook):
    """`notebook`, in which no cell tagged `predict` has an output or looks as if it had been run."""
    for cell in notebook.cells:
        if "predict" in cell.metadata.get("tags", []):
            cell.outputs, cell.execution_count = [], None
            cell.metadata.get("jupyter", {}).pop("outputs_hidden", None)    # what the student's run gives is shown
    return notebook


def copy_for_class(folder, language="en"):
    """Write the class's copies into `folder`; returns the notebooks' paths. Raises ValueError where it is not empty."""
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and is not an empty folder: name another one")
    for name in NEEDED:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target)
        else:
            shutil.copy(ROOT / name, target)
    copies = []
    for path in sorted((ROOT / "notebooks" / ("zh" if language == "zh" else "")).glob("*.ipynb")):
        copies.append(folder / "notebooks" / path.name)
        nbformat.write(without_answers(nbformat.read(path, as_version=4)), copies[-1])
    return copies


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--language", choices=["en", "zh"], default="en")
    options = parser.parse_args()
    try:
        copies = copy_for_class(options.folder, options.language)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    print(f"{len(copies)} notebooks without their answers are in {copies[0].parent}")


if __name__ == "__main__":
    main()
