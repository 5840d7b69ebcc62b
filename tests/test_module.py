"""The module as a whole: `train` can be read in one sitting, the module too; what others rely on keeps its name."""
import ast
import functools
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import googlenet_utils as gu

ROOT = Path(__file__).resolve().parent.parent
SECTIONS = ("Model", "Training", "Measuring", "Figures", "Exercises", "Data", "Support")
NO_DEFAULT = inspect.Parameter.empty
ANY = object()                                              # a default that may change: a number of a recipe, a mean


@functools.cache
def source():
    return (ROOT / "googlenet_utils.py").read_text(encoding="utf-8")


@functools.cache
def definitions():
    """The module's functions and classes by name."""
    return {node.name: node for node in ast.parse(source()).body
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}


@functools.cache
def variables():
    """The module's own variables by name; a name stands for what was computed for it."""
    found = {}
    for node in ast.parse(source()).body:
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            for name in ast.walk(target) if target is not None else ():
                if isinstance(name, ast.Name):
                    found[name.id] = node
    return found


def length(node):
    """Lines of a definition, with its decorators, without docstrings: its own and those of what is defined in it."""
    lines = set(range(min([node.lineno, *(part.lineno for part in node.decorator_list)]), node.end_lineno + 1))
    for part in ast.walk(node):
        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and ast.get_docstring(part):
            lines -= set(range(part.body[0].lineno, part.body[0].end_lineno + 1))
    return len(lines)


def reached_from(start, ignored=("Batches",)):
    """The definitions whose names stand in `start`, or in what they reach, directly or by a variable."""
    reached, waiting, seen = set(), [start], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name in ignored:
            continue
        seen.add(name)
        node = definitions().get(name) or variables().get(name)
        if name in definitions():
            reached.add(name)
        if node is not None:
            waiting += [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
    return reached


@functools.cache
def sections():
    """Each section's banner, and the names that are defined under it."""
    lines = source().splitlines()
    banners = [(number, match[1]) for number, line in enumerate(lines)
               if (match := re.fullmatch(r"# =+ (\S.*?) =+", line))]
    ends = [number for number, _ in banners[1:]] + [len(lines)]
    places = {name: node.lineno for name, node in {**variables(), **definitions()}.items()}
    return [(title, {name for name, line in places.items() if begin < line <= end})
            for (begin, title), end in zip(banners, ends, strict=True)]


def contents():
    """The table of contents in the module's docstring: sections, and what it names of each."""
    rows = []
    for line in ast.get_docstring(ast.parse(source())).splitlines():
        if match := re.fullmatch(r" {4}([A-Z]\w+) {2,}(.*)", line):
            rows.append((match[1], match[2]))
        elif rows and line.startswith(" " * 8):             # goes on in the next line
            rows[-1] = (rows[-1][0], f"{rows[-1][1]} {line.strip()}")
    return rows


# The training loop is read in one sitting

def test_the_training_loop_has_at_most_100_lines():
    lengths = {name: length(definitions()[name]) for name in ("train", "_step")}
    assert sum(lengths.values()) <= 100, lengths


def test_whoever_follows_train_reads_at_most_15_definitions_none_of_them_long():
    reached = reached_from("train")
    assert {"train", "_step", "evaluate_accuracy"} <= reached           # names are followed
    assert len(reached) <= 15, sorted(reached)
    lengths = {name: length(definitions()[name]) for name in reached}
    assert max(lengths.values()) <= 80, lengths


# The module, too

def test_the_sections_stand_in_the_order_of_the_table_of_contents():
    assert tuple(re.split(r"\W", title)[0] for title, _ in sections()) == SECTIONS
    assert tuple(title for title, _ in contents()) == SECTIONS


@pytest.mark.parametrize("section", SECTIONS[:-1])          # Support's own names are private: it says what it is about
def test_what_the_table_of_contents_names_stands_in_that_section(section):
    names = dict(contents())[section].split(", ")
    defined = next(names for title, names in sections() if title == section)
    assert names
    assert [name for name in names if name not in defined] == []
    assert [name for name in names if not hasattr(gu, name)] == []


def test_the_table_of_contents_says_what_support_is_about():
    words = dict(contents())["Support"]
    assert words.split(", ")[0]
    defined = next(names for title, names in sections() if title.startswith("Support"))
    assert {"get_ready", "project_file"} <= defined


def test_every_public_function_and_class_says_what_it_is_for():
    public = [name for name in definitions() if not name.startswith("_")]
    assert len(public) > 25
    assert [name for name in public if not ast.get_docstring(definitions()[name])] == []


def test_importing_it_is_light():
    """What only some functions need is imported by them: half a dozen notebooks start in seconds."""
    heavy = ("matplotlib", "torchvision", "pandas", "scipy", "d2l", "accelerate", "IPython.display", "requests",
             "safetensors", "torch.utils.flop_counter")
    code = ("import sys, torch, numpy, tqdm; before = set(sys.modules); import googlenet_utils; "
            f"print([name for name in {heavy} if name in sys.modules.keys() - before])")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("[]\n", "")


def test_the_version_is_the_second():
    assert gu.__version__ == "0.2.0"


# What is relied on from outside: names, order, defaults

SIGNATURES = {      # by position, and after None by keyword only
    "Inception": {"in_channels": NO_DEFAULT, "c1": NO_DEFAULT, "c2": NO_DEFAULT, "c3": NO_DEFAULT, "c4": NO_DEFAULT,
                  None: None, "batch_norm": False},
    "GoogLeNet": {"in_channels": 3, "num_classes": 1000, None: None, "batch_norm": False, "small_images": False,
                  "initialization": "kaiming", "aux": False, "dropout": 0.0},
    "Batches": {"images": NO_DEFAULT, "labels": NO_DEFAULT, "batch_size": NO_DEFAULT, "image_size": NO_DEFAULT,
                "train": NO_DEFAULT, "device": "cpu", None: None, "mean": ANY, "std": ANY, "scale": (0.08, 1.0),
                "ratio": (3 / 4, 4 / 3), "flip": True, "seed": 0, "rank": ANY, "world_size": ANY},
    "train": {"net": NO_DEFAULT, "train_iter": NO_DEFAULT, "val_iter": NO_DEFAULT, "loss": NO_DEFAULT,
              "optimizer": NO_DEFAULT, "device": NO_DEFAULT, "epochs": NO_DEFAULT, None: None, "schedule": None,
              "max_norm": None, "precision": "auto", "checkpoint": None, "progress": True, "on_step": None},
    "evaluate_accuracy": {"data_iter": NO_DEFAULT, "net": NO_DEFAULT, "device": NO_DEFAULT, None: None,
                          "precision": "auto"},
    "choose_precision": {"device": NO_DEFAULT},
    "initialize": {"net": NO_DEFAULT, "kind": "kaiming"},
    "make_recipe": {"net": NO_DEFAULT, "batch_size": NO_DEFAULT, "total_steps": NO_DEFAULT},
    "trace_shapes": {"net": NO_DEFAULT, "size": NO_DEFAULT},
    "count_cost": {"net": NO_DEFAULT, "size": NO_DEFAULT},
    "load_images": {"source": "auto", "root": None},
    "make_shapes": {"count": NO_DEFAULT, "seed": NO_DEFAULT},
    "load_trained": {},
    "class_activation_map": {"net": NO_DEFAULT, "images": NO_DEFAULT, "classes": None},
    "show": {"fig": NO_DEFAULT, "alt": NO_DEFAULT, "caption": NO_DEFAULT},
    "show_images": {"images": NO_DEFAULT, "titles": None, None: None, "columns": 10, "size": 1.1},
    "plot_history": {"history": NO_DEFAULT, None: None, "title": ""},
    "check": {"answer": NO_DEFAULT, "right": NO_DEFAULT, "hints": NO_DEFAULT, "why": NO_DEFAULT, "by": None},
    "choose_profile": {},
    "load_result": {"name": NO_DEFAULT},
    "project_file": {"name": NO_DEFAULT, "check": None},
}
CALLS = {           # as notebooks and benchmarks write them
    "Inception": [("192, 64, (96, 128), (16, 32), 32"), ("192, 64, (96, 128), (16, 32), 32, batch_norm=True")],
    "GoogLeNet": ["", "3, 10", "num_classes=10, batch_norm=True, small_images=True, initialization='xavier', aux=True, "
                  "dropout=0.4"],
    "Batches": ["0, 0, 128, 96, True, 'cpu'", "0, 0, 128, [32, 48], train=False, device='cpu', mean=0, std=1, seed=3",
                "0, 0, 128, 96, True, scale=(0.8, 1.0)"],
    "train": ["0, 0, 0, 0, 0, 'cpu', 10", "0, 0, 0, 0, 0, 'cpu', epochs=10, schedule=0, max_norm=5, "
              "precision='float32', checkpoint='file', progress=False, on_step=print"],
    "evaluate_accuracy": ["0, 0, 'cpu'", "0, 0, 'cpu', precision='float32'"],
    "choose_precision": ["'cpu'"],
    "initialize": ["0", "0, 'xavier'"],
    "make_recipe": ["0, 128, 100", "0, batch_size=128, total_steps=100, learning_rate=0.2"],
    "trace_shapes": ["0, 96"], "count_cost": ["0, 96"],
    "load_images": ["", "'cifar10'", "'cifar10', 'data'"],
    "make_shapes": ["10, 0", "10, seed=0"],
    "load_trained": [""],
    "class_activation_map": ["0, 0", "0, 0, 3"],
    "show": ["0, 'a dog', 'A dog.'", "0, alt='a dog', caption='A dog.'"],
    "show_images": ["0", "0, []", "0, titles=[], columns=4, size=2"],
    "plot_history": ["0", "0, title='a run'"],
    "check": ["0, right=1, hints=[], why=''", "0, right=1, hints=[], why='', by=len"],
    "choose_profile": [""],
    "load_result": ["'scaling'"],
    "project_file": ["'benchmarks/results/scaling.json'", "'a file', check=print"],
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_that_is_relied_on_keeps_its_names_order_and_defaults(name):
    """More may follow, by keyword or with a default, but nothing goes, moves or changes."""
    parameters = inspect.signature(getattr(gu, name)).parameters
    expected, keywords = SIGNATURES[name], []
    if None in expected:
        place = list(expected).index(None)
        keywords, expected = list(expected)[place + 1:], dict(expected)
        del expected[None]
    positional = [key for key, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional[:len(expected) - len(keywords)] == [key for key in expected if key not in keywords]
    assert {key: parameters[key].kind for key in keywords} == dict.fromkeys(keywords, inspect.Parameter.KEYWORD_ONLY)
    for key, default in expected.items():
        assert default is ANY or parameters[key].default == default, key
        assert (parameters[key].default is NO_DEFAULT) == (default is NO_DEFAULT), key
    for key in parameters.keys() - expected.keys():
        extra = parameters[key]
        assert extra.default is not NO_DEFAULT or extra.kind is extra.VAR_KEYWORD, key


@pytest.mark.parametrize(("name", "arguments"), [(name, call) for name, calls in CALLS.items() for call in calls])
def test_the_calls_of_notebooks_and_benchmarks_still_fit(name, arguments):
    def call(*args, **kwargs):
        inspect.signature(getattr(gu, name)).bind(*args, **kwargs)
    eval(f"call({arguments})", {"call": call})


def test_every_signature_is_also_called():
    assert SIGNATURES.keys() == CALLS.keys()


def test_a_set_up_cell_says_its_version_and_its_language():
    assert list(inspect.signature(gu.get_ready).bind("0.2.0", "en").arguments.values()) == ["0.2.0", "en"]


def test_other_names_are_still_there():
    assert {"ci", "cpu", "gpu"} <= gu.PROFILES.keys()
    assert all(isinstance(profile, gu.Profile) for profile in gu.PROFILES.values())
    assert len(gu.TABLE_1) == 12
    for name in ("AuxiliaryHead", "RECIPE", "CIFAR10_CLASSES", "CIFAR10_MEAN", "CIFAR10_STD", "SHAPE_CLASSES", "COLORS",
                 "LayerRow", "Cost", "HOME", "get_ready", "new_figure"):
        assert hasattr(gu, name), name


def test_a_networks_parts_have_the_articles_names():
    net = gu.GoogLeNet(num_classes=10)
    assert [name for name, _ in net.named_children()] == ["stage1", "stage2", "stage3", "stage4", "stage5", "fc"]
    assert [name for name, _ in net.stage3[0].named_children()] == ["p1_1", "p2_1", "p2_2", "p3_1", "p3_2", "p4_1",
                                                                    "p4_2"]


def test_a_history_and_a_card_keep_their_keys():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    batches = [(torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0]))]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    history = gu.train(net, batches, batches, nn.CrossEntropyLoss(), optimizer, "cpu", 1, progress=False)
    assert list(history) == ["loss", "train_acc", "val_acc", "seconds"]
    assert {"image_size", "test_accuracy"} <= gu.load_trained()[1].keys()
