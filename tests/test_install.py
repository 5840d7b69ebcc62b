"""What is installed covers what is used; the module stays short and light."""
import ast
import importlib.metadata
import re
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import write_address

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "googlenet_utils.py"
NOTEBOOKS = write_address.notebooks()
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
SYSTEMS = {"linux": ("Linux", "x86_64"), "darwin": ("Darwin", "arm64"), "win32": ("Windows", "AMD64")}
# d2l pins these to releases of 2023; pyproject.toml overrides them. It never imports jupyter.
OVERRIDDEN = {"numpy", "pandas", "scipy", "matplotlib", "matplotlib-inline", "requests", "jupyter"}


def requirements(name):
    """The requirements in a file, a `Requirement` a line that holds one."""
    lines = [re.split(r"\s*(?:^|\s)#", line)[0].strip() for line in (ROOT / name).read_text("utf-8").splitlines()]
    return [Requirement(line) for line in lines if line]


def locked():
    """The lock: the requirements of each package, by its canonical name."""
    packages = {}
    for requirement in requirements("requirements.txt"):
        packages.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return packages


def version_of(requirement):
    (pin,) = requirement.specifier
    assert pin.operator == "==", f"{requirement} is not pinned"
    return pin.version


def environment(system, python):
    """The markers' variables on another machine."""
    platform_system, machine = SYSTEMS[system]
    return {**default_environment(), "sys_platform": system, "platform_system": platform_system,
            "platform_machine": machine, "os_name": "nt" if system == "win32" else "posix", "python_version": python,
            "python_full_version": f"{python}.5", "implementation_version": f"{python}.5"}


def sources():
    """The module's code and each notebook's, IPython's magic lines made Python."""
    yield MODULE.name, MODULE.read_text("utf-8")
    for path in NOTEBOOKS:
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        yield path.name, "\n".join(TransformerManager().transform_cell(cell) for cell in cells)


def imported(code):
    """The top-level names of all modules that some code imports."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


# The lock

@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_lock_has_one_fitting_version_of_every_requirement_on(system, python):
    packages, machine = locked(), environment(system, python)
    for requirement in requirements("requirements.in"):
        pins = [pin for pin in packages.get(canonicalize_name(requirement.name), [])
                if pin.marker is None or pin.marker.evaluate(machine)]
        assert len(pins) == 1, f"{requirement} is locked {len(pins)} times: make the lock again, as its header says"
        assert requirement.specifier.contains(version_of(pins[0]), prereleases=True), \
            f"{pins[0]} is not {requirement}: make the lock again, as its header says"


def test_the_lock_holds_everything_that_its_packages_need_here():
    # It is installed with --no-deps: what it does not name is not there.
    packages = locked()
    missing = []
    for name, pins in packages.items():
        (pin,) = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()] or [None]
        if pin is None:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:     # the CUDA libraries, where a smaller torch was chosen
            continue
        for need in map(Requirement, needs):
            if need.marker is not None and not need.marker.evaluate({"extra": ""}):
                continue
            needed = canonicalize_name(need.name)
            if name == "d2l" and needed in OVERRIDDEN:
                continue
            versions = [version_of(p) for p in packages.get(needed, []) if p.marker is None or p.marker.evaluate()]
            if len(versions) != 1 or not need.specifier.contains(versions[0], prereleases=True):
                missing.append(f"{name} needs {need}, and the lock has {versions}")
    assert missing == []


def test_every_requirement_has_its_reason_beside_it():
    lines = [line for line in (ROOT / "requirements.in").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert [line for line in lines if line.strip() and not re.search(r"\S\s+# \w", line)] == []


def test_the_lock_says_how_it_was_made_and_names_no_host():
    text = (ROOT / "requirements.txt").read_text("utf-8")
    header = text[:text.index("\n\n")] if "\n\n" in text else text[:500]
    assert "uv pip compile --universal" in header
    assert "requirements.in -o requirements.txt" in header
    assert not re.search(r"(?im)://|^\s*--|\s@\s|file:|index-url|find-links", text)


def test_conda_installs_the_same_lock():
    text = (ROOT / "environment.yml").read_text("utf-8")
    code = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert [line.strip() for line in code][-2:] == ["- pip:", "- -r requirements.txt"]
    indents = [len(line) - len(line.lstrip()) for line in code]
    assert indents[-1] > indents[-2] == indents[-3]         # the file is an entry under pip
    assert "- conda-forge" in [line.strip() for line in code]
    assert "PIP_NO_DEPS=1" in text
    (python,) = [line.strip()[len("- python "):] for line in code if line.strip().startswith("- python ")]
    accepted = Requirement(f"python{python}").specifier
    assert [version for version in ("3.9", *PYTHONS, "3.14") if accepted.contains(version)] == list(PYTHONS)


def test_every_import_is_a_requirement_of_ours():
    ours = {canonicalize_name(requirement.name) for requirement in requirements("requirements.in")}
    distributions = {}      # by module, from the lists of files: packages_distributions() of Python 3.10 misses most
    for distribution in importlib.metadata.distributions():
        for module in {file.parts[0].removesuffix(".py") for file in distribution.files or [] if file.suffix == ".py"}:
            distributions.setdefault(module, []).append(distribution.metadata["Name"])
    unknown = {}
    for name, code in sources():
        for module in set(imported(code)) - set(sys.stdlib_module_names) - {"googlenet_utils"}:
            if not ours & {canonicalize_name(distribution) for distribution in distributions.get(module, [])}:
                unknown.setdefault(module, []).append(name)
    assert unknown == {}, "these imports are not in requirements.in"


# Continuous integration on GitHub

@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_read_only_and_name_actions_by_commit(path):
    text = path.read_text(encoding="utf-8")
    assert re.search(r"^permissions:\n  contents: read$", text, re.M)
    uses = re.findall(r"uses: (.+)", text)
    assert uses
    assert [name for name in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", name)] == []


# d2l, without the versions that it pins

def test_d2l_imports_and_its_helpers_work():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                     # they are d2l's
        from d2l import torch as d2l
    assert d2l.try_gpu().type in ("cpu", "cuda")
    assert d2l.try_gpu(99).type == "cpu"
    timer = d2l.Timer()
    assert timer.stop() >= 0
    assert timer.sum() == timer.times[0]


# The module

def test_importing_the_module_stays_light():
    heavy = ["d2l", "pandas", "matplotlib", "requests", "torchvision", "scipy", "IPython"]
    code = f"import sys, googlenet_utils; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
