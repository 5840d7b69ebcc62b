"""Does the suite notice? Plant one mutation at a time in a copy of the project and run the tests that should fail.

A mutation in the module is planted by what the code is, not by its text, so that it survives new names, new line breaks
and functions that are merged: it is found in the syntax tree by a pattern, and only the found piece of the source is
replaced. A pattern is Python code in which

    _         stands for anything: `_.relu(_)` is a call of F.relu, nn.functional.relu or a bare relu with one argument;
    _x_       stands for anything, too, which the replacement may use again; the same name twice is the same code twice;
    ...       among the arguments of a call stands for all other arguments, `**_` in a dict for all other entries.

Each mutation must find exactly one place, or say that it wants every place; otherwise the tool says so and fails.

usage: python tools/mutations.py [--module PATH] [--list] [word ...]

words: only the mutations whose kind or text contains one. --list: plant, but run nothing (seconds; a test does the
same). --module: another file in the place of googlenet_utils.py. Everything takes an hour or more on two cores.
"""
import argparse
import ast
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
MODULE = "googlenet_utils.py"
FIRST, SECOND, THIRD, FOURTH = (f"notebooks/{name}.ipynb" for name in (
    "01_inception_block", "02_five_stages", "03_why_it_does_not_learn", "04_training_on_cifar10"))
LIMIT = 600                                                 # seconds: a mutation may make a test wait for ever


class NotFoundError(Exception):
    """A mutation has no place in this source, or more than one."""


# ======================================================================================================================
# Finding: patterns
# ======================================================================================================================

def is_any(pattern):
    """Whether a piece of a pattern stands for anything: `_` or `_name_`."""
    return isinstance(pattern, ast.Name) and re.fullmatch("_|_[a-z]+_", pattern.id) is not None


def is_dots(pattern):
    return isinstance(pattern, ast.Constant) and pattern.value is ...


def matches(pattern, node, found):
    """Whether `node` is code as the pattern says; `found` collects what stands for the pattern's _names_ and dots."""
    if is_any(pattern):
        before = node if pattern.id == "_" else found.setdefault(pattern.id, node)
        return isinstance(node, ast.expr) and (before is node or ast.unparse(before) == ast.unparse(node))
    if isinstance(pattern, list):
        return len(pattern) == len(node) and all(matches(p, n, found) for p, n in zip(pattern, node, strict=True))
    if not isinstance(pattern, ast.AST):
        return type(pattern) is type(node) and pattern == node
    if isinstance(pattern, ast.Attribute) and is_any(pattern.value) and isinstance(node, ast.Name):
        return pattern.attr == node.id                      # `_.relu` is also the relu of `from ... import relu`
    if type(pattern) is not type(node):
        return False
    if isinstance(pattern, ast.Call) and any(map(is_dots, pattern.args)):
        return matches_some_arguments(pattern, node, found)
    if isinstance(pattern, ast.Dict) and None in pattern.keys:
        return matches_some_entries(pattern, node, found)
    # Whether a name is read or written (ctx) follows from where it stands.
    return all(matches(value, getattr(node, field), found) if isinstance(value, (ast.AST, list))
               else value == getattr(node, field)
               for field, value in ast.iter_fields(pattern) if field not in ("ctx", "kind"))


def matches_some_arguments(pattern, node, found):
    """A call with dots: the arguments before them, the keywords that are named, and whatever else there is."""
    first = [argument for argument in pattern.args if not is_dots(argument)]
    given = {keyword.arg: keyword for keyword in node.keywords}
    named = [keyword.arg for keyword in pattern.keywords]
    found["..."] = (node.args[len(first):], [keyword for keyword in node.keywords if keyword.arg not in named])
    return (matches(pattern.func, node.func, found) and matches(first, node.args[:len(first)], found)
            and all(name in given for name in named)
            and all(matches(keyword.value, given[keyword.arg].value, found) for keyword in pattern.keywords))


def matches_some_entries(pattern, node, found):
    """A dict with `**_`: the entries that are named, and whatever else there is."""
    def entries(display):
        return {ast.unparse(key): (key, value) for key, value in zip(display.keys, display.values, strict=True) if key}

    named, given = entries(pattern), entries(node)
    found["**"] = [(key, value) for key, value in zip(node.keys, node.values, strict=True)
                   if key is None or ast.unparse(key) not in named]
    return all(name in given and matches(value, given[name][1], found) for name, (_, value) in named.items())


class Fill(ast.NodeTransformer):
    """Puts what a pattern found into the replacement."""

    def __init__(self, found):
        self.found = found

    def visit_Name(self, node):
        return self.found.get(node.id, node)

    def visit_Call(self, node):
        if any(map(is_dots, node.args)):
            arguments, keywords = self.found["..."]
            node.args = [argument for argument in node.args if not is_dots(argument)] + arguments
            node.keywords = node.keywords + keywords
        return self.generic_visit(node)

    def visit_Dict(self, node):
        if None in node.keys:
            entries = [(key, value) for key, value in zip(node.keys, node.values, strict=True) if key is not None]
            node.keys, node.values = map(list, zip(*entries, *self.found["**"], strict=True))
        return self.generic_visit(node)


@functools.cache
def parsed(source):
    return ast.parse(source)


@functools.cache
def pieces(node):
    """Every node under `node`, itself included. Not inside f-strings: until Python 3.12 their places are not known."""
    children = [] if isinstance(node, ast.JoinedStr) else ast.iter_child_nodes(node)
    return (node, *(piece for child in children for piece in pieces(child)))


def definitions(tree, names):
    """The functions, classes and constants of these names ("one|other"), wherever they are defined."""
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        own = [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else map(ast.unparse, targets)
        if set(own) & set(names.split("|")):
            yield node


def innermost_functions(tree, pattern):
    """The functions that hold the pattern themselves, not only in a function inside them."""
    def holds(node):
        return any(matches(pattern, piece, {}) for piece in pieces(node))

    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and holds(node)]
    return [node for node in functions if not any(other in pieces(node) for other in functions if other is not node)]


# ======================================================================================================================
# Planting: functions that return a change, which takes a source and returns the changed one
# ======================================================================================================================

def put(source, places):
    """The source with new text in the places of these nodes: pairs of a node and a text."""
    lines = source.encode().splitlines(keepends=True)       # the tree counts bytes
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    content = b"".join(lines)
    for node, text in sorted(places, key=lambda place: (place[0].lineno, place[0].col_offset), reverse=True):
        start, end = (starts[line - 1] + column for line, column in (
            (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)))
        content = content[:start] + text.encode() + content[end:]
    return content.decode()


def one_place(places, what):
    if len(places) != 1:
        raise NotFoundError(f"found {len(places) or 'nowhere'}{' times' * bool(places)}: {what}")
    return places


def written(node):
    """A node's source, in brackets where its surroundings could take it apart."""
    text = ast.unparse(node)
    closed = (ast.stmt, ast.Name, ast.Attribute, ast.Call, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Subscript)
    return text if isinstance(node, closed) else f"({text})"


def part(code, statement):
    """A pattern or a replacement as a tree; an expression, unless a statement is wanted."""
    (tree,) = ast.parse(code).body
    return tree if statement or not isinstance(tree, ast.Expr) else tree.value


def replace(pattern, new, *, inside=None, beside=None, every=False, statement=False):
    """Put `new` in the place of the one piece of code (with `every`: of each piece) that is as the pattern says.

    inside: only in the functions, classes or constants of these names. beside: only in the function that holds this
    pattern, too. statement: the piece is a whole statement.
    """
    def change(source):
        tree = parsed(source)
        around = [tree] if inside is None else list(definitions(tree, inside))
        if beside is not None:
            around = innermost_functions(tree, part(beside, False))
        wanted, places = part(pattern, statement), []
        for node in dict.fromkeys(piece for outer in around for piece in pieces(outer)):
            found = {}
            if matches(wanted, node, found):
                places.append((node, written(Fill(found).visit(part(new, statement)))))
        what = pattern + (f" inside {inside}" if inside else "") + (f" beside {beside}" if beside else "")
        return put(source, places if every and places else one_place(places, what))
    return MODULE, change


def drop(pattern, **where):
    """Leave out the statement that is as the pattern says, such as a call."""
    return replace(pattern, "pass", statement=True, **where)


def silence(words):
    """Never say these words: leave out the statement that raises or prints them, or let the rule hold that ends in
    them, a pair of a condition and a sentence."""
    def change(source):
        def says(node):
            return any(isinstance(piece, ast.Constant) and isinstance(piece.value, str) and words in piece.value
                       for piece in ast.walk(node))

        places = []
        for node in ast.walk(parsed(source)):
            if isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
                places += [(node, "pass")] * says(node)
            elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
                places += [(node.elts[0], "True")] * (says(node.elts[1]) and not isinstance(node.elts[0], ast.Constant))
        return put(source, one_place(places, f"what says {words!r}"))
    return MODULE, change


def default(function, parameter, new):
    """Another default for a parameter of a function ("Class.method" or "function")."""
    def change(source):
        tree, places = parsed(source), []
        for name in function.split("."):
            (tree,) = one_place(list(definitions(tree, name)), f"a definition of {function}")
        arguments = tree.args
        positional = arguments.args[len(arguments.args) - len(arguments.defaults):]
        for argument, value in zip(positional + arguments.kwonlyargs, arguments.defaults + arguments.kw_defaults,
                                   strict=True):
            if argument.arg == parameter and value is not None:
                places.append((value, new))
        return put(source, one_place(places, f"a default of {parameter} in {function}"))
    return MODULE, change


def exchange(name, one, other):
    """Let two texts of a constant, such as a tuple of names, change places."""
    def change(source):
        (constant,) = one_place(list(definitions(parsed(source), name)), f"the constant {name}")
        places = {value: one_place([node for node in ast.walk(constant) if isinstance(node, ast.Constant)
                                    and node.value == value], f"{value!r} in {name}")[0] for value in (one, other)}
        return put(source, [(node, repr(other if value == one else one)) for value, node in places.items()])
    return MODULE, change


def either(*changes):
    """The first of these changes that has its place: for code that may be written in one way or another."""
    def change(source):
        reasons = []
        for _, attempt in changes:
            try:
                return attempt(source)
            except NotFoundError as error:
                reasons.append(str(error))
        raise NotFoundError("; or ".join(reasons))
    return MODULE, change


def not_restored(name):
    """A part of a run's state that a checkpoint holds, and that does not come back."""
    return replace("_part_.load_state_dict(_content_[_name_])",
                   f"_name_ == {name!r} or _part_.load_state_dict(_content_[_name_])", every=True)


def not_described(name):
    """A setting that a checkpoint does not compare any more."""
    return either(replace(f"{{**_, {name!r}: _}}", f"{{**_, {name!r}: None}}", inside="Batches|_describe_run"),
                  replace(f"{{**_, {name!r}: _, 'precision': _now_}}", f"{{**_, {name!r}: None, 'precision': _now_}}"))


def edit(path, change_cells):
    """A change in a notebook: `change_cells` gets its cells (code only) and its metadata."""
    def change(source):
        notebook = json.loads(source)
        change_cells([cell for cell in notebook["cells"] if cell["cell_type"] == "code"], notebook["metadata"])
        return json.dumps(notebook)
    return path, change


def raised(text, place):
    """The text with its digit at that place raised by one."""
    return text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1:]


def change_a_result(source):
    """Raise the last digit of the first accuracy in README's tables."""
    found = re.search(r"^\|.*\b0\.\d\d(\d)\b.*\|$", source, re.M)
    if found is None:
        raise NotFoundError("README has no accuracy in a table")
    return raised(source, found.start(1))


def change_a_stored_number(cells, metadata):
    """Raise the last digit that a compared cell printed."""
    for cell in reversed(cells):
        if "nbval-ignore-output" in cell["metadata"].get("tags", []):
            continue
        for output in cell["outputs"]:
            text = "".join(output.get("text", ""))
            digits = [place for place, letter in enumerate(text) if letter.isdigit()]
            if output.get("name") == "stdout" and digits:
                output["text"] = raised(text, digits[-1])
                return
    raise NotFoundError("no number that a compared cell printed")


def strip_outputs(cells, metadata):
    for cell in cells:
        cell["outputs"] = []


def drop_text_alternatives(cells, metadata):
    for cell in cells:
        for output in cell["outputs"]:
            output.get("metadata", {}).pop("image/png", None)


def name_another_kernel(cells, metadata):
    metadata["kernelspec"].update(name="my-env")


def add_to_the_set_up(cells, metadata):
    cells[0]["source"] = "".join(cells[0]["source"]) + "\n# mine"


def lengthen(cells, metadata):
    cells[-1]["source"] = "# one more line\n" * 30 + "".join(cells[-1]["source"])


def run_out_of_order(cells, metadata):
    cells[3]["execution_count"], cells[4]["execution_count"] = cells[4]["execution_count"], cells[3]["execution_count"]


def store_an_error(cells, metadata):
    cells[-1]["outputs"].append({"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []})


# ======================================================================================================================
# The mutations
# ======================================================================================================================

class Mutation(NamedTuple):
    kind: str
    text: str
    path: str               # the file that is changed
    change: object          # a function: its source -> its changed source
    tests: str              # what should fail: "model" is tests/test_model.py; or a notebook, run by nbval


def group(kind, tests, *rows):
    """Mutations of one kind: each a text, a change and, where other tests should notice it, these."""
    return [Mutation(kind, text, *change, *(other or [tests])) for text, change, *other in rows]


A_STEP = "_train_step|_step|train"                          # the functions that hold a step of the training

MUTATIONS = [
    *group(
        "structure", "model",
        ("4c: path 2 gets 120 reduced channels, not 128", either(
            replace("(128, 256)", "(120, 256)", inside="GoogLeNet"), replace("(128, 256)", "(120, 256)"))),
        ("path 2 loses its inner ReLU", replace(
            "_.relu(self.p2_1(_x_))", "self.p2_1(_x_)", inside="Inception")),
        ("path 4 loses its outer ReLU", replace(
            "_.relu(self.p4_2(_x_))", "self.p4_2(_x_)", inside="Inception")),
        ("path 3 gets torchvision's 3x3", replace(
            "_f_(..., kernel_size=5, padding=2)", "_f_(..., kernel_size=3, padding=1)", inside="Inception")),
        ("path 4 does not pool", replace(
            "_.MaxPool2d(kernel_size=3, stride=1, padding=1)", "nn.Identity()", inside="Inception")),
        ("paths concatenated in another order", replace(
            "(_a_, _b_, _c_, _d_)", "(_a_, _c_, _b_, _d_)", inside="Inception")),
        ("one ReLU of the stem is dropped", replace(
            "_.Sequential(_a_, nn.ReLU(), _b_, nn.ReLU(), ...)",
            "nn.Sequential(_a_, nn.Identity(), _b_, nn.ReLU(), ...)", inside="GoogLeNet")),
        ("convolutions keep their bias beside batch norm", replace(
            "_.Conv2d(..., bias=not _b_)", "nn.Conv2d(..., bias=True)")),
        ("the first head stands after 4b", either(
            replace('_name_ == "0"', '_name_ == "1"', inside="GoogLeNet"),
            replace("_name_ == 0", "_name_ == 1", inside="GoogLeNet"))),
        ("the second head stands after 4e", either(
            replace('_name_ == "3"', '_name_ == "4"', inside="GoogLeNet"),
            replace("_name_ == 3", "_name_ == 4", inside="GoogLeNet"))),
        ("the heads' pooling has stride 2", replace(
            "_.avg_pool2d(_x_, 5, stride=3)", "F.avg_pool2d(_x_, 5, stride=2)[:, :, :4, :4]")),
        ("the heads give scores at inference too", replace(
            "self.aux and self.training", "self.aux", inside="GoogLeNet")),
        ("the heads drop 40 %", replace("0.7", "0.4", inside="AuxiliaryHead")),
        ("dropout goes on at inference", replace(
            "_.dropout(_x_, self.dropout, self.training)", "F.dropout(_x_, self.dropout)")),
        ("dropout is the paper's where none was asked for", default("GoogLeNet.__init__", "dropout", "0.4")),
        ("images of 16 pixels are taken by the usual stem", replace("8 if _s_ else 32", "8 if _s_ else 16")),
    ),
    *group(
        "initialization", "model",
        ("default weights are Xavier's", default("GoogLeNet.__init__", "initialization", '"xavier"')),
        ("linear layers keep PyTorch's weights", replace(
            "isinstance(_layer_, (nn.Conv2d, nn.Linear))", "isinstance(_layer_, nn.Conv2d)", inside="initialize")),
        ("biases are not set to zero", drop("_.zeros_(_)", inside="initialize")),
        ("Kaiming's weights are uniform", replace("_.kaiming_normal_", "nn.init.kaiming_uniform_")),
        ("the last layer gets the factor for a ReLU", replace('"relu" if _ else "linear"', '"relu"')),
        ("an unknown name is taken", silence("unknown initialization")),
    ),
    *group(
        "measuring", "measuring",
        ("FLOPs are counted as multiply-adds", replace("_counter_.get_total_flops() // 2",
                                                       "_counter_.get_total_flops()")),
        ("a layer's FLOPs are counted as its multiply-adds", either(
            replace("_f_ // 2", "_f_", inside="trace_shapes"), replace("sum(_f_) // 2", "sum(_f_)"))),
        ("Table 1: 5a has 320 filters in path 3", replace(
            '_row_("5a", _s_, _c_, (256, (160, 320), (32, 128), 128), ...)',
            '_row_("5a", _s_, _c_, (256, (160, 320), (32, 320), 128), ...)')),
        ("Table 1: 3a costs 129M", replace('"128M"', '"129M"', inside="TABLE_1")),
        ("the network itself is measured, not a copy", replace("_.deepcopy(_net_, ...)", "_net_")),
    ),
    *group(
        "looking inside", "activation_map",
        ("the activation map is another class's", replace(
            "_weight_.detach()[_classes_]", "_weight_.detach()[_classes_ - 1]", inside="class_activation_map")),
        ("the activation map is cut off at zero", replace(
            "_.einsum(...)", "torch.einsum(...).relu()", inside="class_activation_map")),
        ("the activation map holds the bias too", replace(
            "_.einsum(...)", "torch.einsum(...) + net.fc.bias.mean()", inside="class_activation_map")),
        ("the lowest score's class is shown", replace(
            "_scores_.argmax(dim=1)", "_scores_.argmin(dim=1)", inside="class_activation_map")),
        ("the hook stays in the network", either(
            drop("_.remove()", inside="class_activation_map"),
            replace("_layer_.register_forward_pre_hook(_f_)",
                    "contextlib.nullcontext(_layer_.register_forward_pre_hook(_f_))", inside="class_activation_map"))),
        ("a network in train mode is taken", silence("is in train mode, in which")),
        ("weights that are not the card's are used", replace(
            "_hash_.hexdigest() != _", "False", inside="load_trained"), "weights"),
        ("the trained network is in train mode", replace("_net_.eval()", "_net_", inside="load_trained"), "weights"),
    ),
    *group(
        "exercises", "exercises",
        ("an answer may be 10 % wrong", replace("_.isclose(..., rel_tol=_t_)", "math.isclose(..., rel_tol=10 * _t_)")),
        ("b is not B", replace("_text_.casefold()", "_text_", every=True)),
        ("the first of several numbers are enough", replace(
            "isinstance(_a_, _) and len(_a_) == len(_b_) and all(_)", "all(map(_same, _a_, _b_))")),
        ("True is 1", replace("isinstance(_a_, bool) or isinstance(_b_, bool)", "False")),
        ("a student's sys.exit ends the lesson", replace("(Exception, SystemExit)", "Exception")),
        ("what cannot be compared raises", replace(
            "_.suppress(Exception)", "contextlib.nullcontext()", inside="check", every=True)),
    ),
    *group(
        "training loop", "training",
        ("optimizer.step is skipped", drop("_.step(_)")),
        ("gradients pile up", drop("_.zero_grad(...)")),
        ("long gradients are not shortened", replace(
            "_.clip_grad_norm_(_weights_, _limit_, ...)", "nn.utils.clip_grad_norm_(_weights_, math.inf, ...)")),
        ("gradients are shortened to 1, whatever was asked for", replace(
            "_.clip_grad_norm_(_weights_, _limit_, ...)", "nn.utils.clip_grad_norm_(_weights_, 1.0, ...)")),
        ("the largest entry is taken for a gradient's length", replace(
            "_.clip_grad_norm_(_weights_, _limit_, ...)",
            "nn.utils.clip_grad_norm_(_weights_, _limit_, norm_type=math.inf)")),
        ("each entry of a gradient is cut off on its own", replace(
            "_.clip_grad_norm_(_weights_, _limit_, ...)", "nn.utils.clip_grad_value_(_weights_, _limit_)")),
        ("each weight's gradient is shortened on its own", replace(
            "_.clip_grad_norm_(_weights_, _limit_, ...)",
            "[nn.utils.clip_grad_norm_([p], _limit_) for p in _weights_][-1]")),
        ("gradients are shortened while float16 has them enlarged", drop("_.unscale_(_)")),
        ("the schedule stands still", drop("_.step()")),
        ("the schedule goes on where float16 skipped its step", replace("_.get_scale() >= _", "True")),
        ("float16 gradients are not enlarged", replace(
            "_.GradScaler(..., enabled=_)", "torch.amp.GradScaler(..., enabled=False)"), "checkpoints"),
        ("everything runs in float32", replace("_.autocast(...)", "contextlib.nullcontext()", every=True)),
        ("the loss is computed in half precision", replace(
            "_scores_.float()", "_scores_", inside=A_STEP, every=True)),
        ("a head's loss counts in full", replace("AUXILIARY_WEIGHT * _loss_", "_loss_")),
        ("the article's slip: the loss shrinks with the epoch", either(
            replace('_history_["loss"].append(_value_)', '_history_["loss"].append(_value_ / (epoch + 1))'),
            replace("_history_[_name_].append(_value_)",
                    '_history_[_name_].append(_value_ / (epoch + 1) if _name_ == "loss" else _value_)'),
            replace("(_loss_ / _n_, _right_ / _n_, _acc_, _end_ - _start_)",
                    "(_loss_ / _n_ / (epoch + 1), _right_ / _n_, _acc_, _end_ - _start_)"))),
        ("a short batch's loss counts as that of a whole one", replace(
            "_sum_ += _loss_ * len(_y_)", "_sum_ += _loss_ * max(len(_y_), 8)", statement=True)),
        ("train accuracy counts what is wrong", either(
            replace("(_guess_ == _y_).sum()", "(_guess_ != _y_).sum()", inside=A_STEP),
            replace("(_guess_ == (_y_ if _whole_ else _)).sum()", "(_guess_ != _y_).sum()"))),
        ("training goes on in eval mode", replace("_net_.train()", "_net_.eval()")),
        ("nothing is brought into the layout channels_last", replace(
            "_x_.to(_device_, memory_format=_)", "_x_.to(_device_)", every=True)),
        ("the accuracy of the epoch is that of the training images", either(
            replace("evaluate_accuracy(_, run.net, ...)", "evaluate_accuracy(run.train_iter, run.net, ...)"),
            replace("evaluate_accuracy(_, _net_, ...)", "evaluate_accuracy(train_iter, _net_, ...)"))),
        ("the progress bar cannot be switched on", replace("tqdm(..., disable=_)", "tqdm(..., disable=True)")),
        ("each step asks the system for its memory again", replace("_.mallopt(_, _)", "None", every=True)),
        ("the stop button loses the history", replace("KeyboardInterrupt", "ZeroDivisionError", every=True), "checkpoints"),
        ("too little memory is reported by the engine", silence("has too little memory"), "checkpoints"),
        ("a loss that is not a number goes on", silence("the loss is not finite"), "checkpoints"),
        ("the loss that is not a number is said to be the first step's", replace(
            "_bad_.clamp(max=_)", "_bad_.clamp(max=1)"), "checkpoints"),
        ("labels without a score are trained on", silence("the labels run from")),
        ("negative labels are trained on", either(
            replace("_y_.min() < 0 or _y_.max() >= _n_", "_y_.max() >= _n_"),
            replace("0 <= _y_.min() <= _y_.max() < _x_.shape[1]", "_y_.max() < _x_.shape[1]"))),
        ("one label too many is taken", either(
            replace("_y_.max() >= _n_", "_y_.max() > _n_"),
            replace("_a_ <= _b_ <= _c_ < _x_.shape[1]", "_a_ <= _b_ <= _c_ <= _x_.shape[1]"))),
        ("a training without images ends in silence", silence("there is no image to train on")),
    ),
    *group(
        "precision", "training",
        ("a CPU gets bfloat16 only with both instruction sets", replace(
            "_a_._is_avx512_bf16_supported() or _a_._is_amx_tile_supported()",
            "_a_._is_avx512_bf16_supported() and _a_._is_amx_tile_supported()")),
        ("a T4 gets bfloat16, which it emulates", replace(
            "_cuda_.is_bf16_supported(including_emulation=False)", "_cuda_.is_bf16_supported()")),
    ),
    *group(
        "recipe", "training",
        ("vectors are pulled to zero, too", replace(
            '{"params": _p_, "weight_decay": 0.0}', '{"params": _p_, "weight_decay": 5e-4}')),
        ("the learning rate does not follow the batch", replace("_rate_ * batch_size / 128", "_rate_")),
        ("momentum is not Nesterov's", replace("_.SGD(..., nesterov=_)", "torch.optim.SGD(..., nesterov=False)")),
        ("the schedule moves the momentum", replace(
            "_schedule_(..., cycle_momentum=False)", "_schedule_(..., cycle_momentum=True)")),
        ("gradients may be ten times as long", replace("5.0", "50.0", inside="RECIPE|Recipe"), "results"),
    ),
    *group(
        "evaluation", "training",
        ("modes are not restored", replace("_layer_.training = _", "_layer_.training = True", statement=True)),
        ("batches count instead of images", replace(
            "return _a_ / _b_", "return _a_ / (len(data_iter) * len(y))", inside="evaluate_accuracy")),
        ("batch norm stays in train mode", replace("_net_.eval()", "_net_.train()", inside="evaluate_accuracy")),
        ("gradients are kept", either(
            replace("_.no_grad()", "torch.enable_grad()", inside="evaluate_accuracy"),
            replace("_.inference_mode()", "torch.enable_grad()", inside="evaluate_accuracy"))),
        ("an evaluation without images gives a number", silence("there is no image to evaluate on")),
    ),
    *group(
        "processes", "processes",
        ("shares of unlike size count alike", replace("_scaler_.scale(_loss_ * _weight_)", "_scaler_.scale(_loss_)")),
        ("each process gets the whole batch", either(
            replace("slice(_a_ + _, _b_, _.world_size)", "slice(_a_, _b_)", every=True),
            replace("_x_[_a_:_b_:_.world_size]", "_x_[_a_:_b_]", every=True))),
        ("each process evaluates every image", either(
            replace("slice(_a_ + _, _a_ + _b_, _.world_size)", "slice(_a_, _a_ + _b_)"),
            replace("slice(_a_ + _r_, _b_, _w_.world_size)",
                    "slice(_a_ + _r_, _b_, _w_.world_size) if self.train else slice(_a_, _b_)"),
            replace("_x_[_a_ + _:_a_ + _b_:_.world_size]", "_x_[_a_:_a_ + _b_]"))),
        ("the layout changes after wrapping", either(
            replace("_net_ is _bare(_net_)", "True"), replace("not _.wrapped", "True", inside="train"))),
        ("each keeps its own statistics", drop("_.broadcast(...)")),
        ("nothing is summed over the processes", drop("_.all_reduce(...)", every=True)),
        ("each reports its own accuracy", either(
            replace("_sum_over_processes(_, _correct_, _count_)", "(_correct_.item(), _count_)",
                    inside="evaluate_accuracy"),
            replace("_processes()[1] > 1", "False", inside="evaluate_accuracy"))),
        ("a lost process is reported by the engine", replace('_known_ or "gloo" in _', "_known_")),
        ("a last batch may have one image a process", replace("2 * _.world_size", "2")),
        ("the second process prints and stores, too", either(
            replace('getattr(_, "rank", 0) == 0', "True"),
            replace("rank == 0", "True", inside="train", every=True))),
    ),
    *group(
        "checkpoints", "checkpoints",
        ("the network is not restored", not_restored("net")),
        ("the optimizer's momentum is not restored", not_restored("optimizer")),
        ("the schedule is not restored", not_restored("schedule")),
        ("the scaler is not restored", not_restored("scaler")),
        ("a loader's own state is not restored", not_restored("train_iter")),
        ("the batches are not told their epoch", drop("_.set_epoch(_)", inside="train")),
        ("random numbers are not restored", drop("_.set_state(_)")),
        ("the history is not restored", drop('_.update(_["history"])')),
        ("all epochs are trained again", replace("range(len(_), _epochs_)", "range(_epochs_)")),
        ("another run's is taken", silence("was trained with")),
        ("another data set's is taken", replace("run.train_iter.describe()", "{}")),
        ("other labels are not noticed", replace("_.crc32(_, zlib.crc32(_images_))", "zlib.crc32(_images_)")),
        ("other images are not noticed", replace("_.crc32(_labels_, zlib.crc32(_))", "zlib.crc32(_labels_)")),
        *((f"another value of {name!r} is not noticed", not_described(name))
          for name in ("precision", "max_norm", "scale", "image_size")),
        ("another length of the schedule is not noticed", either(
            not_described("number of steps"),
            replace('{**_, "loss": _loss_, "schedule": _}', '{**_, "loss": _loss_, "schedule": {}}'))),
        ("damage is not noticed", replace("_.digest() != _", "False")),
        ("a hostile file's code runs", replace("_load_(..., weights_only=True)", "_load_(..., weights_only=False)")),
        ("it is written in place", replace(
            '_path_.with_name(_)', "_path_", beside="os.fsync(_)")),
        ("the file is never renamed", drop("_.replace(_)", beside="os.fsync(_)")),
        ("it is not forced onto the disk", drop("_.fsync(_)")),
    ),
    *group(
        "batches", "batches",
        ("pixels are not divided by 255", replace("_images_ / 255", "_images_")),
        ("nothing is divided by the standard deviation", replace(
            "(_images_ / 255 - _mean_) / _", "_images_ / 255 - _mean_")),
        ("the mean of another data set", replace(
            "CIFAR10_MEAN = _", "CIFAR10_MEAN = (0.485, 0.456, 0.406)", statement=True)),
        ("labels lose their pictures", replace(
            "yield (_images_, self.labels[_chosen_])", "yield (_images_, self.labels[_chosen_].flip(0))",
            every=True, statement=True)),
        ("the global generator draws the order", replace("_.randperm(_n_, ...)", "torch.randperm(_n_)")),
        ("the seed plays no part", replace("_.manual_seed(_a_ * _b_ + _c_)", "torch.Generator().manual_seed(_c_)")),
        ("the epoch plays no part", replace(
            "_.manual_seed(_a_ * _b_ + _c_)", "torch.Generator().manual_seed(_a_ * _b_)")),
        ("a seed begins with its neighbour's second epoch", replace(
            "_.manual_seed(_a_ * _b_ + _c_)", "torch.Generator().manual_seed(_a_ + _c_)")),
        ("the epochs are not counted", either(
            drop("self.epoch += 1", inside="Batches"), drop("self.epoch = _ + 1", inside="Batches"))),
        ("a last image stays alone", replace("0 < _a_ % _b_ < _", "False", inside="Batches")),
        ("every picture is flipped", replace("_ < 0.5 * _flip_", "_flip_ > 0")),
        ("crops ignore `scale`", replace("_f_(*self.scale, _n_)", "_f_(0.5, 1.0, _n_)")),
        ("side ratios are not drawn on a logarithmic scale", replace(
            "_f_(math.log(_a_), math.log(_b_), _n_).exp()", "_f_(_a_, _b_, _n_)")),
        ("wide crops are high", replace(
            "[(_area_ / _ratio_).sqrt(), (_area_ * _ratio_).sqrt()]",
            "[(_area_ * _ratio_).sqrt(), (_area_ / _ratio_).sqrt()]")),
        ("crops never reach the last row and column", replace("_f_(0, 1, 2) * (_a_ + 1)", "_f_(0, 1, 2) * _a_")),
        ("padding shifts crops in one direction only", replace("(_a_ * _b_).floor() - _.padding", "(_a_ * _b_).floor()")),

        ("where no crop fits, one that does not is taken", drop("_[~_.any(dim=1)] = _")),
        ("the whole batch gets the first crop", replace(
            "self.crop(_images_, _crops_, ...)", "self.crop(_images_, _crops_[:1].expand(len(_crops_), -1), ...)")),
        ("crops are resized corner to corner", replace(
            "_.affine_grid(..., align_corners=False)", "F.affine_grid(..., align_corners=True)")),
        ("crops have black borders", replace('_.grid_sample(..., padding_mode="reflection")', "F.grid_sample(...)")),
        ("evaluation cuts the edges of the images off", replace(
            "_f_.resize(_x_, [_side_], antialias=True)",
            "_f_.resize(_x_, [round(_side_ * 256 / 224)], antialias=True)")),
        ("evaluation shrinks without a filter", replace(
            "_f_.resize(..., antialias=True)", "_f_.resize(..., antialias=False)")),
        ("sizes by epoch are ignored", either(
            replace("self.sizes[min(_, _last_)]", "self.sizes[_last_]"),
            replace("self.sizes[min(_, _last_) if _t_ else -1]", "self.sizes[_last_]")), "checkpoints"),
        ("evaluation has the first epoch's size", either(
            replace("self.sizes[-1]", "self.sizes[0]"),
            replace("self.sizes[_x_ if _t_ else -1]", "self.sizes[_x_ if _t_ else 0]")), "checkpoints"),
        ("labels in a column are taken", silence("as many labels as images")),
        ("a rank beyond the last is taken", silence("rank must be"), "processes"),
    ),
    *group(
        "data", "data",
        ("cat and dog change places", exchange("CIFAR10_CLASSES", "cat", "dog")),
        ("damaged files are read", replace("_.sha1(...).hexdigest() != _", "False")),
        ("red and blue change places", replace("_x_.view(-1, 3, 32, 32)", "_x_.view(-1, 3, 32, 32).flip(1)")),
        ("two shapes change names", exchange("SHAPE_CLASSES", "disc", "ring")),
        ("shapes are tested on pictures of the training", replace(
            "make_shapes(500, seed=1)", "make_shapes(500, seed=0)")),
        ("shapes take CIFAR-10's place without a word", drop("print(...)", beside="textwrap.wrap(...)")),
    ),
    *group(
        "fetching", "fetching",
        ("a downloaded archive's MD5 is not compared", replace("_ == _ARCHIVE_MD5[_]", "True")),
        ("the MD5 of an archive on the disk is not compared", either(
            replace("_md5(_) == md5", "True"), replace("is_official(path)", "True"))),
        ("a download starts again instead of going on", either(
            replace('{**_, "Range": _}', '{**_, "X-Range": "none"}'), drop('_["Range"] = _'))),
        ("a web page replaces what was there", either(
            replace(r'_[:2] not in (b"\x1f", b"\x1f\x8b")', "False"),
            replace(r'not _.startswith(b"\x1f\x8b")', "False"))),
        ("a slow source is followed to the end", silence("slow (")),
        ("links are unpacked", drop("_.extraction_filter = _")),
        ("two notebooks fetch at once", either(
            replace("_lock_.acquire(...)", "contextlib.nullcontext()", every=True),
            replace("FileLock(...)", "contextlib.nullcontext()"))),
    ),
    *group(
        "profiles", "profiles",
        ("GOOGLENET_PROFILE is ignored", replace('_.get("GOOGLENET_PROFILE", ...)', '""')),
    ),
    *group(
        "figures", "pictures",
        ("the train accuracy is drawn twice", either(
            replace('history["test_acc"]', 'history["train_acc"]', inside="plot_history"),
            replace('history["val_acc"]', 'history["train_acc"]', inside="plot_history"))),
        ("a caption is left out", drop('_f_({**_, "text/markdown": _}, ...)', inside="show")),
        ("a figure's text alternative is left out", replace('{"alt": _}', "{}", inside="show")),
    ),
    *group(
        "elsewhere", "address",
        ("a notebook of another version goes on", replace("version != __version__", "False", inside="get_ready")),
        ("files of another version are fetched", silence("is not version"), "colab"),
        ("the version moves on alone", replace("__version__ = _", "__version__ = '99.9.9'", statement=True),
         "notebooks"),
    ),
    *group(
        "stored outputs", "notebooks",
        ("one digit changes in notebook 1", edit(FIRST, change_a_stored_number), FIRST),
        ("one digit changes in notebook 2", edit(SECOND, change_a_stored_number), SECOND),
        ("one digit changes in notebook 4", edit(FOURTH, change_a_stored_number), FOURTH),
        ("notebook 3 is stripped", edit(THIRD, strip_outputs)),
        ("README's accuracy is edited", ("README.md", change_a_result), "documents"),
    ),
    *group(
        "guard", "notebooks",
        ("a figure has no text alternative", edit(FIRST, drop_text_alternatives)),
        ("a notebook names another kernel", edit(SECOND, name_another_kernel)),
        ("a set-up cell differs", edit(THIRD, add_to_the_set_up)),
        ("a cell grows beyond 25 lines", edit(SECOND, lengthen)),
        ("two cells were run out of order", edit(FIRST, run_out_of_order)),
        ("a traceback is stored", edit(FOURTH, store_an_error)),
    ),
]


# ======================================================================================================================
# Running
# ======================================================================================================================

def copy_project(folder, module):
    """The files that git knows, or would add; `module` in the place of the module."""
    names = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True,
                           capture_output=True, check=True).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    shutil.copy2(module, folder / MODULE)


def run_tests(tests, folder):
    """Run these tests in the folder: pytest's exit code, 0 (passed) or 1 (failed); None where they took too long."""
    arguments = ["--nbval", tests] if tests.endswith(".ipynb") else [f"tests/test_{tests}.py"]
    environment = {"GOOGLENET_DATA_DIR": str(ROOT / "data"), "OMP_NUM_THREADS": "1", **os.environ}
    process = subprocess.Popen([sys.executable, "-m", "pytest", "-q", "-x", *arguments], cwd=folder, env=environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)          # with the processes that the tests started
            process.wait()


def run(mutations, folder):
    """Plant them one at a time, run their tests and print a table; returns the texts of those that escaped."""
    escaped, whole = [], {}
    print("| kind | mutation | noticed by | seconds |\n|---|---|---|---|", flush=True)
    for kind, text, path, change, tests in mutations:
        if tests not in whole:                              # without a mutation they pass
            whole[tests] = run_tests(tests, folder)
        original, start = (folder / path).read_text(encoding="utf-8"), time.monotonic()
        (folder / path).write_text(change(original), encoding="utf-8")
        code = run_tests(tests, folder) if whole[tests] == 0 else whole[tests]
        (folder / path).write_text(original, encoding="utf-8")
        verdict = {0: "**escaped**", 1: f"`{tests}`", None: f"`{tests}` (never ended)"}.get(
            code, f"`{tests}` (exit {code})")               # such as 2: a KeyboardInterrupt went through
        if whole[tests] != 0:
            verdict = f"**`{tests}` fails without a mutation**"
        if verdict.startswith("*"):
            escaped.append(text)
        print(f"| {kind} | {text} | {verdict} | {time.monotonic() - start:.0f} |", flush=True)
    return escaped


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--module", type=Path, default=ROOT / MODULE, help="another file in the module's place")
    parser.add_argument("--list", action="store_true", help="plant, but run nothing")
    parser.add_argument("words", nargs="*", help="only mutations whose kind or text contains one of these")
    options = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS
              if not options.words or any(word in f"{mutation.kind} {mutation.text}" for word in options.words)]
    if not chosen:
        parser.error(f"no mutation has one of these words: {' '.join(options.words)}")
    missing = []
    for kind, text, path, change, tests in chosen:
        try:
            change((options.module if path == MODULE else ROOT / path).read_text(encoding="utf-8"))
            if options.list:
                print(f"{kind}: {text} ({tests})")
        except NotFoundError as error:
            missing.append(text)
            print(f"NOT FOUND: {kind}: {text}: {error}")
    if options.list or missing:
        print(f"\n{len(chosen) - len(missing)} of {len(chosen)} mutations have their place")
        return 1 if missing else 0
    with tempfile.TemporaryDirectory() as name:
        copy_project(Path(name), options.module)
        escaped = run(chosen, Path(name))
    print(f"\n{len(chosen) - len(escaped)} of {len(chosen)} mutations were noticed", *escaped, sep="\n- ")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
