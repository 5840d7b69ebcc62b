"""Table 1 as data, and what is counted: shapes, parameters, multiply-adds (MAC)."""
import copy
import json
import threading
import types

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import googlenet_utils as gu

# Name, output side and channels, what the paper prints (parameters, operations), and what its filters come to:
# weights without biases, and multiply-adds.
PAPER = [
    ("conv 7x7/2", 112, 64, "2.7K", "34M", 9_408, 118_013_952),
    ("conv 3x3/1", 56, 192, "112K", "360M", 114_688, 359_661_568),
    ("3a", 28, 256, "159K", "128M", 163_328, 128_049_152),
    ("3b", 28, 480, "380K", "304M", 388_096, 304_267_264),
    ("4a", 14, 512, "364K", "73M", 375_552, 73_608_192),
    ("4b", 14, 512, "437K", "88M", 448_512, 87_908_352),
    ("4c", 14, 512, "463K", "100M", 509_440, 99_850_240),
    ("4d", 14, 528, "580K", "119M", 604_672, 118_515_712),
    ("4e", 14, 832, "840K", "170M", 867_328, 169_996_288),
    ("5a", 7, 832, "1072K", "54M", 1_042_432, 51_079_168),
    ("5b", 7, 1024, "1388K", "71M", 1_442_816, 70_697_984),
    ("linear", 1, 1000, "1000K", "1M", 1_024_000, 1_024_000),
]
# The rows of `trace_shapes` that belong to a row of the table; the last of them gives its shape.
TABLE_LAYERS = {
    "conv 7x7/2": ["stage1.0"], "conv 3x3/1": ["stage2.0", "stage2.2"], "3a": ["stage3.0"], "3b": ["stage3.1"],
    "4a": ["stage4.0"], "4b": ["stage4.1"], "4c": ["stage4.2"], "4d": ["stage4.3"], "4e": ["stage4.4"],
    "5a": ["stage5.0"], "5b": ["stage5.1"], "linear": ["fc"],
}


class Jumbled(nn.Module):
    """Layers that stand in another order than that of their computation, some of them in a container."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 8, kernel_size=3, stride=2, padding=1, bias=False)
        self.classifier = nn.Linear(4 * 3 * 3, 5)
        self.body = nn.Sequential(nn.ReLU(), nn.Conv2d(8, 4, kernel_size=3, groups=2), nn.Flatten())

    def forward(self, x):
        return self.classifier(self.body(self.first(x)))


@pytest.fixture(scope="module")
def rows_at_224():
    return {row.name: row for row in gu.trace_shapes(gu.GoogLeNet(), 224)}


def test_table_1_is_the_papers_as_printed():
    assert [(row.name, row.side, row.channels, row.parameters, row.operations) for row in gu.TABLE_1] \
        == [row[:5] for row in PAPER]


def test_the_filters_of_table_1_are_the_networks():
    blocks = [layer for layer in gu.GoogLeNet(num_classes=10).modules() if isinstance(layer, gu.Inception)]
    assert [row.filters for row in gu.TABLE_1 if row.filters] \
        == [(b.p1_1.out_channels, (b.p2_1.out_channels, b.p2_2.out_channels),
             (b.p3_1.out_channels, b.p3_2.out_channels), b.p4_2.out_channels) for b in blocks]
    assert len(blocks) == 9


def test_a_block_can_be_built_from_a_row_of_table_1():
    row = gu.TABLE_1[2]
    assert gu.Inception(192, *row.filters)(torch.rand(1, 192, 4, 4)).shape == (1, row.channels, 4, 4)


@pytest.mark.parametrize("row", gu.TABLE_1, ids=lambda row: row.name)
def test_sides_and_channels_of_table_1_are_what_trace_shapes_finds_at_224(row, rows_at_224):
    last = TABLE_LAYERS[row.name][-1]
    if row.name == "conv 3x3/1":                            # its row in the paper gives the size before the pooling
        assert rows_at_224["stage2.4"].shape == (192, 28, 28)
    if row.name == "linear":
        assert rows_at_224[last].shape == (row.channels,)
        assert row.side == 1
    else:
        assert rows_at_224[last].shape == (row.channels, row.side, row.side)


@pytest.mark.parametrize(("row", "weights", "macs"), [(row[0], *row[5:]) for row in PAPER], ids=str)
def test_each_row_of_table_1_costs_what_its_filters_come_to(row, weights, macs, rows_at_224):
    # Each convolution has a bias for each channel that it gives: in a block, two more sets than leave it.
    biases = {"linear": 1000, "conv 7x7/2": 64, "conv 3x3/1": 64 + 192}.get(row)
    if biases is None:
        table_row = next(r for r in gu.TABLE_1 if r.name == row)
        biases = table_row.channels + table_row.filters[1][0] + table_row.filters[2][0]
    parts = [rows_at_224[name] for name in TABLE_LAYERS[row]]
    assert sum(part.parameters for part in parts) == weights + biases
    assert sum(part.macs for part in parts) == macs


@pytest.mark.parametrize(("options", "side", "cost"), [
    ({}, 224, (6_998_552, 1_582_671_872)),
    ({"num_classes": 10}, 224, (5_983_802, 1_581_658_112)),
    ({"num_classes": 10}, 32, (5_983_802, 32_288_768)),
    ({"num_classes": 10, "in_channels": 1}, 224, (5_983_802 - 2 * 49 * 64, 1_581_658_112 - 2 * 49 * 64 * 112 * 112)),
], ids=str)
def test_count_cost_counts_parameters_and_multiply_adds(options, side, cost):
    assert gu.count_cost(gu.GoogLeNet(**options), side) == cost


def test_costs_are_those_that_a_hand_counts():
    first, second, last = 8 * 2 * 9, 4 * 4 * 9, 36 * 5      # weights; the second convolution has two groups
    net = Jumbled()
    assert gu.count_cost(net, 10) == gu.Cost(parameters=first + second + 4 + last + 5,
                                             macs=first * 5 * 5 + second * 3 * 3 + last)


def test_trace_shapes_gives_a_row_a_layer_in_the_order_of_the_computation():
    assert gu.trace_shapes(Jumbled(), 10) == [
        ("first", "Conv2d", (8, 5, 5), 144, 3_600),
        ("body.0", "ReLU", (8, 5, 5), 0, 0),
        ("body.1", "Conv2d", (4, 3, 3), 148, 1_296),
        ("body.2", "Flatten", (36,), 0, 0),
        ("classifier", "Linear", (5,), 185, 180),
    ]


def test_a_block_is_one_row(rows_at_224):
    kinds = [row.kind for row in rows_at_224.values()]
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d",
                     *["Inception"] * 2, "MaxPool2d", *["Inception"] * 5, "MaxPool2d", *["Inception"] * 2,
                     "AdaptiveAvgPool2d", "Flatten", "Linear"]


@pytest.mark.parametrize("options", [{}, {"batch_norm": True}, {"small_images": True}], ids=str)
def test_the_rows_of_trace_shapes_sum_to_the_whole_cost(options):
    # At 32 pixels the last map is one pixel, of which batch norm in train mode would refuse to take the deviation.
    net = gu.GoogLeNet(num_classes=10, **options).train()
    rows = gu.trace_shapes(net, 32)
    assert gu.count_cost(net, 32) == (sum(row.parameters for row in rows), sum(row.macs for row in rows))


@pytest.mark.parametrize(("side", "sides"), [(96, (24, 12, 6, 3)), (33, (9, 5, 3, 2)), (32, (8, 4, 2, 1))])
def test_every_halving_rounds_up(side, sides):
    rows = {row.name: row for row in gu.trace_shapes(gu.GoogLeNet(num_classes=10), side)}
    assert tuple(rows[name].shape[1] for name in ("stage1.2", "stage2.4", "stage3.2", "stage5.1")) == sides


def test_too_small_an_image_is_refused_as_by_the_network(refuses):
    for measure in (gu.trace_shapes, gu.count_cost):
        with refuses(ValueError, "31 x 31", "32 or more"):
            measure(gu.GoogLeNet(num_classes=10), 31)


@pytest.mark.parametrize("measure", [gu.trace_shapes, gu.count_cost])
def test_measuring_changes_nothing_in_the_network(measure):
    net = gu.GoogLeNet(num_classes=10, batch_norm=True)
    net.stage2.eval()                                       # a mixture of modes
    net.fc.requires_grad_(False)
    modes, state = [layer.training for layer in net.modules()], copy.deepcopy(net.state_dict())
    measure(net, 64)
    assert [layer.training for layer in net.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert {p.device.type for p in net.parameters()} == {"cpu"}
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["fc.weight", "fc.bias"]
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in net.modules())


def measure(net, size=64):
    return gu.trace_shapes(net, size), gu.count_cost(net, size)


def test_frozen_parameters_are_counted_too():
    net = gu.GoogLeNet(num_classes=10)
    before = measure(net)
    net.requires_grad_(False)
    assert measure(net) == before


@pytest.mark.parametrize("change", [
    lambda net: net.half(), lambda net: net.double(), lambda net: net.bfloat16(), lambda net: net.to("meta"),
    lambda net: net.to(memory_format=torch.channels_last), nn.DataParallel,
    lambda net: torch.compile(net, backend="eager")],
    ids=["half", "double", "bfloat16", "meta", "channels_last", "DataParallel", "compiled"])
def test_the_same_whatever_the_weights_are_made_of_and_the_network_is_wrapped_in(change):
    net = gu.GoogLeNet(num_classes=10, batch_norm=True)
    expected = measure(net)
    assert measure(change(net)) == expected


class Recorder:
    """What a student writes to look inside: it keeps what passes, and holds something that cannot be copied."""

    def __init__(self):
        self.kept, self.lock = [], threading.Lock()

    def __call__(self, layer, *passing):
        self.kept.append(passing[-1])

    method = __call__


@pytest.mark.parametrize("hook", [
    lambda layer, record: layer.register_forward_hook(record),
    lambda layer, record: layer.register_forward_hook(record.method, always_call=True),
    lambda layer, record: layer.register_forward_hook(record, with_kwargs=True),
    lambda layer, record: layer.register_forward_pre_hook(record),
    lambda layer, record: layer.register_full_backward_hook(record)],
    ids=["forward", "bound method", "with kwargs", "before", "backward"])
def test_a_students_hooks_do_not_run_in_it_and_stay(hook):
    net, record = gu.GoogLeNet(num_classes=10), Recorder()
    expected = measure(net)
    net.handle = hook(net.stage3[0], record)
    assert measure(net) == expected
    assert record.kept == []
    net(torch.rand(1, 3, 64, 64)).sum().backward()
    assert len(record.kept) == 1, "the network itself has its hook yet"


@pytest.mark.parametrize("keep", [
    lambda net, x: setattr(net, "kept", x), lambda net, x: setattr(net.stage3[0], "kept", [x, x * 2]),
    lambda net, x: setattr(net, "kept", {"stage1": (x,)}),
    lambda net, x: setattr(net, "kept", types.SimpleNamespace(outputs=[x])),
    lambda net, x: net.register_buffer("kept", x, persistent=False)],
    ids=["tensor", "list", "dict", "object", "buffer"])
def test_an_activation_that_the_network_keeps_is_no_hindrance(keep):
    net = gu.GoogLeNet(num_classes=10)
    expected, activation = measure(net), net.stage1(torch.rand(1, 3, 64, 64))
    assert not activation.is_leaf                           # of which torch makes no deep copy
    keep(net, activation)
    assert measure(net) == expected


class Unusual(nn.Module):
    """One layer gives two results, and two layers have the same weights."""

    def __init__(self):
        super().__init__()
        self.split = gu.convolution(3, 8, kernel_size=1)
        self.split.forward = lambda x: (x[:, :1], x)
        self.first, self.second = nn.Linear(10, 10), nn.Linear(10, 10)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(self.split(x)[1]))


def test_layers_that_share_their_weights_or_give_two_results_are_counted():
    rows, cost = measure(Unusual(), 10)
    assert cost == gu.Cost(parameters=8 * 3 + 8 + 100 + 10 + 10, macs=2 * 3 * 10 * 100)
    assert [(row.name, row.shape) for row in rows] == [("split", ()), ("first", (3, 10, 10)), ("second", (3, 10, 10))]


def test_a_layer_whose_weight_is_computed_costs_what_it_computes():
    pruned = prune.l1_unstructured(nn.Conv2d(3, 8, kernel_size=3), "weight", 0.5)
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, kernel_size=3))
    assert {gu.count_cost(layer, 10).macs for layer in (pruned, normed)} == {3 * 8 * 9 * 8 * 8}


@pytest.mark.parametrize("lazy", [
    lambda: nn.LazyConv2d(8, kernel_size=3), lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(5)),
    lambda: nn.Sequential(nn.Conv2d(3, 8, kernel_size=3), nn.LazyBatchNorm2d(affine=False))],
    ids=["convolution", "linear", "batch norm"])
def test_lazy_layers_are_to_see_a_batch_first(lazy, refuses):
    net = nn.Sequential(lazy())
    for refusing in (gu.trace_shapes, gu.count_cost):
        with refuses(ValueError, "lazy layers", "send one batch through it first"):
            refusing(net, 10)
    net(torch.rand(2, 3, 10, 10))
    rows, cost = measure(net, 10)
    assert cost == (sum(row.parameters for row in rows), sum(row.macs for row in rows))


def test_a_stored_result_is_read_and_a_missing_one_is_refused(tmp_path, monkeypatch, refuses):
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    result = {"machine": "ein Rechner für alle", "seconds": 1.5}
    (folder / "speed.json").write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")
    monkeypatch.setattr(gu, "__file__", str(tmp_path / "googlenet_utils.py"))
    assert gu.load_result("speed") == result
    monkeypatch.setenv("GOOGLENET_BASE_URL", "http://127.0.0.1:9")      # nobody listens there
    with refuses(RuntimeError, "accuracy.json", "missing", "benchmarks/"):
        gu.load_result("accuracy")


@pytest.mark.parametrize("size", ["32", 32.0, (32, 32), None, -5, 0])
def test_a_size_that_is_none_is_refused(size, refuses):
    with refuses(ValueError, "size has to be a whole number of pixels a side"):
        gu.count_cost(gu.GoogLeNet(), size)
