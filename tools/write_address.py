"""Write the project's address and version wherever they stand, and the set-up cell into every notebook.

The address stands in pyproject.toml ([project.urls], Repository), the version in googlenet_utils.py. After changing
either, run this. It writes the set-up cells with their metadata for Colab, the module's HOME and the version in
CITATION.cff; and README's Colab badges and its link to the website, once the address is a real one. Outputs and
execution counts of the notebooks stay as they are; only the version that a set-up cell printed follows.
tests/test_address.py fails where something differs.

usage: python tools/write_address.py
"""
import functools
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The one text of the set-up cell; <HOME> is replaced by the address of the raw files and <VERSION> by the version.
# It loads the module from the notebook's folder or one above, or else fetches it. What cannot be had is said in one
# sentence. Nothing is stored before it was looked at, so that no web page and no half file ever has the module's name.
# The cell is stored folded, like the code of the opening picture: a reader sees its first line and its output.
SET_UP = '''\
# <TITLE>
import os
import sys
import urllib.request
from pathlib import Path

home, version = "<HOME>", "<VERSION>"
folders = [f for f in (Path.cwd(), *Path.cwd().parents) if (f / "googlenet_utils.py").exists()]
if not folders:                     # as on Colab: fetch the module of this notebook's version
    home = os.environ.get("GOOGLENET_BASE_URL") or f"{home}/v{version}"
    try:
        code = urllib.request.urlopen(f"{home}/googlenet_utils.py", timeout=60).read()
        assert f'__version__ = "{version}"'.encode() in code, "what it sends is another version"
    except Exception as error:
        sys.exit(f"put googlenet_utils.py {version} into this folder: {home} did not send it ({error})")
    Path("googlenet_utils.py.part").write_bytes(code)
    Path("googlenet_utils.py.part").replace("googlenet_utils.py")
sys.path.insert(0, str(folders[0] if folders else Path.cwd()))
import googlenet_utils as gu

gu.get_ready(version, "<LANGUAGE>")
import torch
from d2l import torch as d2l
from torch import nn
from torch.nn import functional as F'''

TITLES = {"en": "Set-up: finds or fetches googlenet_utils, which we call gu; imports torch, nn, F and d2l",
          "zh": "准备：找到或取得 googlenet_utils（以下称 gu），导入 torch、nn、F 和 d2l"}

# What README says under "Without installing", before there is an address and after.
UPLOAD = ("in [Google Colab](https://colab.research.google.com) choose *File → Upload notebook*, then upload "
          "`googlenet_utils.py` beside it (folder symbol on the left). Notebooks 3 to 8 also need "
          "`benchmarks/results/`, notebooks 4 and 5 `notebooks/weights/`, in folders of these names.")
CLICK = ("read it as [a website]({}), with answers folded; or a badge in the table opens its notebook in Google Colab. "
         "The first cell fetches what it needs.")
NOBODY = "PUT_OWNER_HERE"           # no account has this name, so nobody else's code can answer

ACCELERATOR = {"accelerator": "GPU", "colab": {"gpuType": "T4"}}


def read_address(root=ROOT):
    """The owner and the name of the repository on GitHub, as pyproject.toml says."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    address = re.search(r'^Repository = "https://github\.com/([\w.-]+)/([\w.-]+)"$', text, re.M)
    if address is None:
        raise SystemExit('pyproject.toml, [project.urls], needs a line: Repository = "https://github.com/OWNER/NAME"')
    return address.groups()


def read_version(root=ROOT):
    return re.search(r'^__version__ = "(.+)"$', (root / "googlenet_utils.py").read_text(encoding="utf-8"), re.M)[1]


def raw_files(root=ROOT):
    """Where GitHub serves the repository's files; a version's tag or a branch follows."""
    return "https://raw.githubusercontent.com/{}/{}".format(*read_address(root))


def site(root=ROOT):
    """Where GitHub Pages serves the website."""
    owner, name = read_address(root)
    return f"https://{owner.lower()}.github.io/{name}/"


def set_up_cell(root=ROOT, language="en"):
    fields = {"HOME": raw_files(root), "VERSION": read_version(root), "LANGUAGE": language, "TITLE": TITLES[language]}
    return re.sub(r"<([A-Z]+)>", lambda match: fields[match[1]], SET_UP)


def language_of(path):
    return "zh" if "zh" in path.parts else "en"


def with_set_up_cell(text, root, language="en"):
    """A notebook's text with the set-up cell (folded), the version in its output, and the wish for a GPU on Colab."""
    notebook = json.loads(text)
    (cell,) = [cell for cell in notebook["cells"] if "set-up" in cell["metadata"].get("tags", [])]
    cell["source"] = set_up_cell(root, language).splitlines(keepends=True)
    cell["metadata"]["jupyter"] = {"source_hidden": True}
    for output in cell["outputs"]:
        output["text"] = [re.sub(r"^(.+googlenet_utils ).+", rf"\g<1>{read_version(root)}", line)
                          for line in output["text"]]
    notebook["metadata"].update(ACCELERATOR)
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def with_badges(text, root):
    """README's text with a Colab badge beside each notebook's link, if the address is a real one, and without else."""
    owner, name = read_address(root)
    text = re.sub(r" \[!\[[^\]]*\]\[badge\]\]\[colab-\d+\]|\n*^\[(?:badge|colab-\d+)\]: .*$", "", text, flags=re.M)
    text = re.sub(r"(<!-- colab -->).*?(<!-- end of colab -->)",
                  lambda match: match[1] + (UPLOAD if owner == NOBODY else CLICK.format(site(root))) + match[2], text)
    if owner == NOBODY:
        return text
    colab = "https://colab.research.google.com"
    links = [f"[badge]: {colab}/assets/colab-badge.svg"]

    def with_badge(match):
        links.append(f"[colab-{match[2]}]: {colab}/github/{owner}/{name}/blob/v{read_version(root)}/{match[3]}")
        return f"{match[1]} [![Open notebook {match[2]} in Google Colab][badge]][colab-{match[2]}]"

    text = re.sub(r"^(\| \[(\d+) · [^\]]+\]\((notebooks/[^)]+\.ipynb)\))", with_badge, text, flags=re.M)
    return text.rstrip("\n") + "\n\n" + "\n".join(links) + "\n"


def with_home(text, root):
    return re.sub(r'^HOME = .*$', f'HOME = "{raw_files(root)}/v" + __version__', text, flags=re.M)


def with_version(text, root):
    return re.sub(r"^version: .*$", f"version: {read_version(root)}", text, flags=re.M)


def notebooks(root=ROOT):
    """The paths of all notebooks, solutions too."""
    return sorted(path for path in (root / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def wanted(root=ROOT):
    """What each file should say: `(path, text)` for every file that names the address or the version."""
    changes = [(root / "googlenet_utils.py", with_home), (root / "README.md", with_badges),
               (root / "CITATION.cff", with_version),
               *((path, functools.partial(with_set_up_cell, language=language_of(path.relative_to(root))))
                 for path in notebooks(root))]
    for path, change in changes:
        yield path, change(path.read_text(encoding="utf-8"), root)


def main():
    for path, text in wanted():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8", newline="\n")
            print("written:", path.relative_to(ROOT).as_posix())


if __name__ == "__main__":
    main()
