"""Run notebooks from top to bottom and store their outputs: what a maintainer does after changing a cell or the module.

usage: GOOGLENET_PROFILE=cpu python tools/run_notebooks.py [notebooks/03_*.ipynb ...]        (none named: all of them)
       GOOGLENET_PROFILE=ci python tools/run_notebooks.py notebooks/solutions/*.ipynb
       python tools/run_notebooks.py --compared notebooks/04_*.ipynb

Notebooks 1, 2 and 8 print the same in every profile; the others are stored in profile cpu, with the CIFAR-10 in data/.
With --compared, only the outputs that nbval compares are stored anew, from a run in profile ci, and those of long runs
stay: for a changed result file, or text that a cell prints from the module. A notebook that fails stays as it was, and
the error is printed. Afterwards: pytest tests/test_notebooks.py
"""
import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
KEPT = ("accelerator", "colab")         # what a notebook says of itself beyond its kernel


def execute(path):
    """The notebook at `path`, run in its own folder, without what belongs to one run only."""
    notebook = nbformat.read(path, as_version=4)
    # Streams are joined, and what a progress bar wrote over itself is left out.
    client = NotebookClient(notebook, timeout=3_600, kernel_name="python3", coalesce_streams=True,
                            resources={"metadata": {"path": str(path.parent)}})
    client.execute()
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                         "language_info": {"name": "python"},
                         **{name: notebook.metadata[name] for name in KEPT if name in notebook.metadata}}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)                # time stamps
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = without_bars(output.text)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.text.strip()]
    return notebook


def store(path, compared_only):
    """Run the notebook at `path` and write it back: all outputs, or only those that nbval compares."""
    if compared_only:
        os.environ["GOOGLENET_PROFILE"] = "ci"
    executed = notebook = execute(path)
    if compared_only:
        notebook = nbformat.read(path, as_version=4)
        for cell, new in zip(notebook.cells, executed.cells, strict=True):
            if cell.cell_type == "code":
                cell.execution_count = new.execution_count              # a new cell moves on those after it
                if "nbval-ignore-output" not in cell.metadata.get("tags", []):
                    cell.outputs = new.outputs
    partial = path.with_suffix(".part")
    nbformat.write(notebook, partial)
    partial.replace(path)


def without_bars(text):
    """What remains to be read of a stream: in each line, the text after the last carriage return."""
    lines = text.split("\n")
    return "\n".join(line.rsplit("\r", 1)[-1] for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted((ROOT / "notebooks").glob("*.ipynb")))
    parser.add_argument("--compared", action="store_true", help="only the outputs that nbval compares, in profile ci")
    options, failed = parser.parse_args(), False
    for path in options.notebooks:
        start = time.time()
        try:
            store(path.resolve(), options.compared)
            profile = os.environ.get("GOOGLENET_PROFILE", "by hardware")
            print(f"{path.name}: {time.time() - start:.0f} s, profile {profile}", flush=True)
        except (CellExecutionError, DeadKernelError, OSError) as error:
            failed = True
            print(f"{path.name}: not stored\n{error}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
