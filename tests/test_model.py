"""The network: the article's, number for number; its options; weights that can learn; images that it refuses."""
import copy
import inspect
import math
import pickle
import warnings

import pytest
import torch
import torchvision
from d2l import torch as d2l
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from torchvision.models.feature_extraction import create_feature_extractor

import googlenet_utils as gu
from dead_weights import count_dead_weights

# The article's network once more, in literal numbers. A block: in, 1x1, reduce, 3x3, reduce, 5x5, after the pooling.
STEM = {"stage1.0": (3, 64, 7), "stage2.0": (64, 64, 1), "stage2.2": (64, 192, 3)}
BLOCKS = {
    "stage3.0": (192, 64, 96, 128, 16, 32, 32),    "stage3.1": (256, 128, 128, 192, 32, 96, 64),
    "stage4.0": (480, 192, 96, 208, 16, 48, 64),   "stage4.1": (512, 160, 112, 224, 24, 64, 64),
    "stage4.2": (512, 128, 128, 256, 24, 64, 64),  "stage4.3": (512, 112, 144, 288, 32, 64, 64),
    "stage4.4": (528, 256, 160, 320, 32, 128, 128),
    "stage5.0": (832, 256, 160, 320, 32, 128, 128), "stage5.1": (832, 384, 192, 384, 48, 128, 128),
}
OPTIONS = [{"batch_norm": batch_norm, "small_images": small} for batch_norm in (False, True) for small in (False, True)]

EVERY_OPTION = {"batch_norm": True, "small_images": True, "aux": True, "dropout": 0.4}


def layers(small_images=False):
    """Every layer with weights, in order: its name, and its weights' shape."""
    for name, (inputs, outputs, side) in STEM.items():
        side = 3 if small_images and name == "stage1.0" else side
        yield name, (outputs, inputs, side, side)
    for name, (inputs, c1, reduce3, c3, reduce5, c5, c4) in BLOCKS.items():
        yield f"{name}.p1_1", (c1, inputs, 1, 1)
        yield f"{name}.p2_1", (reduce3, inputs, 1, 1)
        yield f"{name}.p2_2", (c3, reduce3, 3, 3)
        yield f"{name}.p3_1", (reduce5, inputs, 1, 1)
        yield f"{name}.p3_2", (c5, reduce5, 5, 5)
        yield f"{name}.p4_2", (c4, inputs, 1, 1)
    yield "fc", (10, 1024)


def random_weights():
    """Weights under which the signal keeps its size, and biases that matter."""
    weights = {}
    for name, shape in layers():
        weights[f"{name}.weight"] = torch.randn(shape) * math.sqrt(2 / math.prod(shape[1:]))
        weights[f"{name}.bias"] = torch.randn(shape[0]) / 10
    return weights


def plain_block(weights, name, x):
    """Four paths; a 1x1 convolution is written as the matrix product that it is."""
    def one_by_one(path, x):
        product = torch.einsum("oi,nihw->nohw", weights[f"{name}.{path}.weight"][:, :, 0, 0], x)
        return (product + weights[f"{name}.{path}.bias"].view(1, -1, 1, 1)).clamp(min=0)

    def square(path, x, margin):
        weight, bias = weights[f"{name}.{path}.weight"], weights[f"{name}.{path}.bias"]
        return F.conv2d(F.pad(x, [margin] * 4), weight, bias).clamp(min=0)

    pooled = F.max_pool2d(F.pad(x, [1] * 4, value=-math.inf), 3, 1)
    return [one_by_one("p1_1", x), square("p2_2", one_by_one("p2_1", x), 1), square("p3_2", one_by_one("p3_1", x), 2),
            one_by_one("p4_2", pooled)]


def plain_googlenet(weights, x):
    """The article's network without a module; with a 3x3 kernel in front, the one for small images."""
    def conv(name, x, stride, margin):
        return F.conv2d(F.pad(x, [margin] * 4), weights[f"{name}.weight"], weights[f"{name}.bias"], stride).clamp(min=0)

    def halve(x):
        return F.max_pool2d(F.pad(x, [1] * 4, value=-math.inf), 3, 2)

    small_images = weights["stage1.0.weight"].shape[-1] == 3
    x = conv("stage1.0", x, 1, 1) if small_images else halve(conv("stage1.0", x, 2, 3))
    x = halve(conv("stage2.2", conv("stage2.0", x, 1, 0), 1, 1))
    for name in BLOCKS:
        if name in ("stage4.0", "stage5.0"):
            x = halve(x)
        x = torch.cat(plain_block(weights, name, x), 1)
    return x.mean(dim=(2, 3)) @ weights["fc.weight"].T + weights["fc.bias"]


def without_batch_norm(net):
    """The weights of a network without batch norm that gives what `net` gives in eval mode."""
    state, plain = net.state_dict(), {}
    for name, _ in layers():
        if f"{name}.1.running_var" not in state:
            plain.update({f"{name}.{kind}": state[f"{name}.{kind}"] for kind in ("weight", "bias")})
            continue
        scale = state[f"{name}.1.weight"] / (state[f"{name}.1.running_var"] + 1e-5).sqrt()
        plain[f"{name}.weight"] = state[f"{name}.0.weight"] * scale.view(-1, 1, 1, 1)
        plain[f"{name}.bias"] = state[f"{name}.1.bias"] - state[f"{name}.1.running_mean"] * scale
    return plain


def randomise(net):
    """Biases and batch norm's numbers are zeros and ones in a fresh network, where a mistake would not show."""
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif tensor.dim() == 1:
            tensor.add_(torch.randn(tensor.shape) / 10)
    return net


def spread(net, side):
    """How much the logits differ between 32 random images: the standard deviation, mean over the classes."""
    with torch.no_grad():
        return net(torch.rand(32, 3, side, side)).std(dim=0).mean().item()


# What it is made of

@pytest.mark.parametrize(("classes", "parameters"), [(1000, 6_998_552), (10, 5_983_802)])
def test_it_has_as_many_parameters_as_the_articles(classes, parameters):
    assert sum(p.numel() for p in gu.GoogLeNet(num_classes=classes).parameters()) == parameters


def test_it_takes_1000_classes_and_three_channels_by_default():
    net = gu.GoogLeNet()
    assert net.fc.out_features == 1000
    assert net.stage1[0].in_channels == 3


def test_the_state_dict_has_exactly_the_articles_keys_and_shapes():
    expected = {}
    for name, shape in layers():
        expected[f"{name}.weight"], expected[f"{name}.bias"] = shape, shape[:1]
    state = gu.GoogLeNet(num_classes=10).state_dict()
    assert list(state) == list(expected)
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected


def test_the_signatures_are_the_articles_with_options_by_keyword_only():
    def positional(function):
        parameters = inspect.signature(function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is not p.KEYWORD_ONLY}
    assert list(positional(gu.Inception)) == ["in_channels", "c1", "c2", "c3", "c4"]
    assert positional(gu.GoogLeNet) == {"in_channels": 3, "num_classes": 1000}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_change_the_number_of_parameters_by_what_they_add(options):
    outputs = sum(shape[0] for name, shape in layers() if name != "fc")
    expected = 5_983_802
    if options["batch_norm"]:
        expected += outputs                                 # a scale and a shift instead of a bias
    if options["small_images"]:
        expected -= 64 * 3 * (7 * 7 - 3 * 3)
    net = gu.GoogLeNet(num_classes=10, **options)
    assert sum(p.numel() for p in net.parameters()) == expected
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == (57 if options["batch_norm"] else 0)


# What it computes

@pytest.mark.parametrize("side", [224, 96, 64])
def test_the_same_weights_give_the_same_numbers_as_a_plain_version(side):
    weights, images = random_weights(), torch.randn(2, 3, side, side)
    net = gu.GoogLeNet(num_classes=10)
    net.load_state_dict(weights)
    with torch.no_grad():
        expected = plain_googlenet(weights, images)
        assert (expected[0] - expected[1]).std() > 0.05     # logits that say something about the image
        torch.testing.assert_close(net(images), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_gives_the_same_numbers_as_a_plain_version(options):
    net = randomise(gu.GoogLeNet(num_classes=10, **options)).eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = plain_googlenet(without_batch_norm(net), images)
        assert expected.std(dim=0).mean() > 0.05
        torch.testing.assert_close(net(images), expected, rtol=1e-4, atol=1e-4)


def test_a_block_concatenates_its_four_paths_in_order():
    block = gu.Inception(5, 2, (3, 4), (6, 7), 8)
    images = torch.randn(2, 5, 9, 11)
    weights = {f"block.{name}": tensor for name, tensor in block.state_dict().items()}
    with torch.no_grad():
        paths, joined = block.paths(images), block(images)
        assert [tuple(path.shape) for path in paths] == [(2, c, 9, 11) for c in (2, 4, 7, 8)]
        for path, piece, plain in zip(paths, joined.split([2, 4, 7, 8], dim=1), plain_block(weights, "block", images),
                                      strict=True):
            assert torch.equal(path, piece)
            torch.testing.assert_close(path, plain, rtol=1e-5, atol=1e-6)


def test_a_block_can_be_built_with_batch_norm_on_its_own():
    block = gu.Inception(5, 2, (3, 4), (6, 7), 8, batch_norm=True)
    joined = block(torch.randn(64, 5, 6, 6) * 100)          # in train mode the batch's own size is taken out
    assert joined.shape == (64, 21, 6, 6)
    before_relu = block.p1_1(torch.randn(64, 5, 6, 6) * 100)
    torch.testing.assert_close(before_relu.std(dim=(0, 2, 3)), torch.ones(2), rtol=0.01, atol=0)


def test_the_network_does_not_change_its_input():
    images = torch.randn(2, 3, 32, 32)
    kept = images.clone()
    gu.GoogLeNet(num_classes=10)(images)
    assert torch.equal(images, kept)


# The paper's other parts

def parameters_of_a_head(inputs, classes):
    return (inputs * 128 + 128) + (128 * 16 * 1024 + 1024) + (1024 * classes + classes)


def plain_head(state, name, x, windows):
    """An auxiliary head without its dropout; `windows` are the rows (and columns) of the four averages."""
    pooled = torch.stack([torch.stack([x[:, :, top:bottom, left:right].mean(dim=(2, 3)) for left, right in windows], -1)
                          for top, bottom in windows], -2)
    x = torch.einsum("oi,nihw->nohw", state[f"{name}.conv.weight"][:, :, 0, 0], pooled)
    x = (x + state[f"{name}.conv.bias"].view(1, -1, 1, 1)).clamp(min=0).flatten(1)
    x = (x @ state[f"{name}.fc1.weight"].T + state[f"{name}.fc1.bias"]).clamp(min=0)
    return x @ state[f"{name}.fc2.weight"].T + state[f"{name}.fc2.bias"]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_two_heads_give_logits_in_training_and_are_gone_at_inference(batch_norm):
    net = gu.GoogLeNet(num_classes=7, aux=True, batch_norm=batch_norm)
    images = torch.randn(2, 3, 64, 64)
    outputs = net(images)
    assert isinstance(outputs, tuple)
    assert [tuple(logits.shape) for logits in outputs] == [(2, 7)] * 3
    assert net.eval()(images).shape == (2, 7)


def test_heads_add_weights_and_change_no_other():
    plain, net = gu.GoogLeNet(num_classes=10), gu.GoogLeNet(num_classes=10, aux=True)
    added = list(net.state_dict())[len(plain.state_dict()):]
    assert [name.split(".")[0] for name in added] == ["aux1"] * 6 + ["aux2"] * 6
    assert net.load_state_dict(plain.state_dict(), strict=False) == ([*added], [])      # missing, unexpected
    more = sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in plain.parameters())
    assert more == parameters_of_a_head(512, 10) + parameters_of_a_head(528, 10)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(net.eval()(images), plain.eval()(images))
    assert gu.count_cost(net, 64).macs == gu.count_cost(plain, 64).macs
    assert gu.trace_shapes(net, 64) == gu.trace_shapes(plain, 64)


@pytest.mark.parametrize(("side", "windows"), [(14, [(0, 5), (3, 8), (6, 11), (9, 14)]),       # the paper's 5x5/3
                                               (8, [(0, 2), (2, 4), (4, 6), (6, 8)])])
def test_a_head_averages_to_four_by_four_and_computes_what_a_plain_version_does(side, windows):
    head = randomise(gu.AuxiliaryHead(6, 5)).eval()
    state = {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    x = torch.randn(3, 6, side, side)
    with torch.no_grad():
        torch.testing.assert_close(head(x), plain_head(state, "head", x, windows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(14, 14), (15, 15), (14, 15), (13, 14), (8, 8), (7, 5), (4, 4), (2, 2), (1, 1)])
def test_only_a_14x14_map_is_averaged_with_the_papers_windows(shape):
    x = torch.randn(2, 3, *shape)
    averaged, adaptive = gu.average_to_4x4(x), F.adaptive_avg_pool2d(x, (4, 4))
    assert averaged.shape == (2, 3, 4, 4)
    if shape == (14, 14):
        windows = x.unfold(2, 5, 3).unfold(3, 5, 3)
        torch.testing.assert_close(averaged, windows.mean(dim=(-2, -1)))
        assert (averaged - adaptive).abs().max() > 0.1
    else:
        assert torch.equal(averaged, adaptive)


def test_a_head_drops_seventy_percent_of_its_features_in_training_only():
    head = gu.AuxiliaryHead(6, 1024)
    with torch.no_grad():                                   # 1,024 features of 1, each shown as a logit of its own
        for p in head.parameters():
            p.zero_()
        head.fc1.bias.fill_(1)
        head.fc2.weight.copy_(torch.eye(1024))
        x = torch.zeros(4, 6, 4, 4)
        kept = head(x)
        assert (head.eval()(x) == 1).all()
    assert (kept == 0).float().mean().item() == pytest.approx(0.7, abs=0.03)
    torch.testing.assert_close(kept.max(), torch.tensor(1 / 0.3))


def test_the_heads_look_at_the_outputs_of_4a_and_4d():
    net, seen = gu.GoogLeNet(num_classes=10, aux=True), {}
    for name in ("stage4.0", "stage4.3", "aux1", "aux2"):
        net.get_submodule(name).register_forward_hook(
            lambda layer, inputs, output, name=name: seen.update({name: (inputs[0], output)}))
    _, first, second = net(torch.randn(2, 3, 64, 64))
    assert seen["aux1"][0] is seen["stage4.0"][1]
    assert seen["aux2"][0] is seen["stage4.3"][1]
    assert first is seen["aux1"][1]
    assert second is seen["aux2"][1]


def test_dropout_works_before_the_last_layer_and_in_training_only():
    net, seen = gu.GoogLeNet(num_classes=10, dropout=0.4), []
    net.fc.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
    net.stage5.register_forward_hook(lambda layer, inputs, output: seen.append(output))
    with torch.no_grad():
        net(torch.rand(8, 3, 64, 64))
        features, dropped = seen
        kept = dropped != 0
        torch.testing.assert_close(dropped[kept], features[kept] / 0.6)
        alive = features != 0
        assert kept[alive].float().mean().item() == pytest.approx(0.6, abs=0.03)
        seen.clear()
        net.eval()(torch.rand(8, 3, 64, 64))
        assert torch.equal(*seen)
    assert list(net.state_dict()) == list(gu.GoogLeNet(num_classes=10).state_dict())


# Against two independent sources

class BookBlock(nn.Module):
    """The block of d2l's book (v1.0.3, chapter 8.4), in which PyTorch finds the number of inputs by itself."""

    def __init__(self, c1, c2, c3, c4):
        super().__init__()
        self.b1_1 = nn.LazyConv2d(c1, kernel_size=1)
        self.b2_1 = nn.LazyConv2d(c2[0], kernel_size=1)
        self.b2_2 = nn.LazyConv2d(c2[1], kernel_size=3, padding=1)
        self.b3_1 = nn.LazyConv2d(c3[0], kernel_size=1)
        self.b3_2 = nn.LazyConv2d(c3[1], kernel_size=5, padding=2)
        self.b4_1 = nn.MaxPool2d(kernel_size=3, stride=1, padding=1)
        self.b4_2 = nn.LazyConv2d(c4, kernel_size=1)

    def forward(self, x):
        return torch.cat([F.relu(self.b1_1(x)), F.relu(self.b2_2(F.relu(self.b2_1(x)))),
                          F.relu(self.b3_2(F.relu(self.b3_1(x)))), F.relu(self.b4_2(self.b4_1(x)))], dim=1)


class BookGoogLeNet(d2l.Classifier):
    """The book's layer list, as the book's own kind of classifier."""

    def __init__(self, num_classes=10, lr=0.1):
        super().__init__()
        self.save_hyperparameters()

        def halve():
            return nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

        self.net = nn.Sequential(
            nn.Sequential(nn.LazyConv2d(64, kernel_size=7, stride=2, padding=3), nn.ReLU(), halve()),
            nn.Sequential(nn.LazyConv2d(64, kernel_size=1), nn.ReLU(),
                          nn.LazyConv2d(192, kernel_size=3, padding=1), nn.ReLU(), halve()),
            nn.Sequential(BookBlock(64, (96, 128), (16, 32), 32), BookBlock(128, (128, 192), (32, 96), 64), halve()),
            nn.Sequential(BookBlock(192, (96, 208), (16, 48), 64), BookBlock(160, (112, 224), (24, 64), 64),
                          BookBlock(128, (128, 256), (24, 64), 64), BookBlock(112, (144, 288), (32, 64), 64),
                          BookBlock(256, (160, 320), (32, 128), 128), halve()),
            nn.Sequential(BookBlock(256, (160, 320), (32, 128), 128), BookBlock(384, (192, 384), (48, 128), 128),
                          nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()),
            nn.LazyLinear(num_classes))


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("side", [224, 96])
def test_it_is_the_network_of_d2ls_book(side):
    ours, book = randomise(gu.GoogLeNet(num_classes=10)).eval(), BookGoogLeNet().eval()
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        book(images)                                        # now its layers know their inputs
        weights = dict(zip(book.state_dict(), ours.state_dict().values(), strict=True))
        book.load_state_dict(weights)                       # strict: every name and every shape
        expected = book(images)
        assert (expected[0] - expected[1]).std() > 0.05
        torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5)


def torchvisions_with_the_papers_parts():
    """torchvision's GoogLeNet after the exchange of what differs: the 5x5 kernels, batch norm's epsilon, the poolings
    (a margin of one on both sides instead of a last window that may stick out), the fourth one's 2x2."""
    theirs = torchvision.models.googlenet(weights=None, num_classes=10, init_weights=False, aux_logits=True)
    for name in ("maxpool1", "maxpool2", "maxpool3", "maxpool4"):
        setattr(theirs, name, nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
    for layer in theirs.modules():
        if isinstance(layer, type(theirs.inception3a)):
            old = layer.branch3[1].conv
            layer.branch3[1].conv = nn.Conv2d(old.in_channels, old.out_channels, kernel_size=5, padding=2, bias=False)
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 1e-5
    return theirs


@pytest.mark.parametrize("side", [224, 96])
def test_it_is_torchvisions_network_once_what_differs_there_is_exchanged(side):
    ours = randomise(gu.GoogLeNet(num_classes=10, batch_norm=True, aux=True, dropout=0.4))
    theirs = torchvisions_with_the_papers_parts()
    mine, names = ours.state_dict(), list(theirs.state_dict())
    names.sort(key=lambda name: (name.startswith("aux"), name.startswith("aux2")))      # ours come last
    theirs.load_state_dict(dict(zip(names, mine.values(), strict=True)))
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected = theirs.eval()(images)
        assert (expected[0] - expected[1]).std() > 0.01     # a thousand tolerances
        torch.testing.assert_close(ours.eval()(images), expected, rtol=1e-5, atol=1e-5)
        for head in ("aux1", "aux2"):                       # both average to 4 x 4 windows of an 8 x 8 map
            inputs = torch.randn(2, 512 if head == "aux1" else 528, 8, 8)
            torch.testing.assert_close(ours.get_submodule(head)(inputs), theirs.get_submodule(head)(inputs),
                                       rtol=1e-5, atol=1e-5)


# Whether it can learn

def test_a_fresh_network_tells_images_apart():
    assert spread(gu.GoogLeNet(), 96) > 1e-2


@pytest.mark.parametrize("kind", ["xavier", "pytorch"])
def test_weaker_initialisations_do_not_tell_images_apart(kind):
    assert spread(gu.GoogLeNet(initialization=kind), 96) < 1e-2


@pytest.mark.parametrize("kind", ["kaiming", "xavier", "pytorch"])
def test_each_initialisation_draws_weights_of_its_own_size(kind):
    state = gu.GoogLeNet(num_classes=10, initialization=kind).state_dict()
    for name, shape in layers():
        inputs, outputs = math.prod(shape[1:]), shape[0] * math.prod(shape[2:])
        expected = {"kaiming": math.sqrt((1 if name == "fc" else 2) / inputs),
                    "xavier": math.sqrt(2 / (inputs + outputs)), "pytorch": math.sqrt(1 / (3 * inputs))}[kind]
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        assert weight.std().item() == pytest.approx(expected, rel=0.06), name
        assert bias.any() == (kind == "pytorch"), name
        # Kaiming's are normal: some lie beyond the 1.73 standard deviations at which uniform ones end.
        assert (weight.abs().max() > 2 * expected) == (kind == "kaiming"), name


def test_an_unknown_initialisation_is_refused(refuses):
    with refuses(ValueError, "'he'", "kaiming", "xavier", "pytorch"):
        gu.GoogLeNet(initialization="he")


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_reach_every_parameter(options):
    net, side = gu.GoogLeNet(num_classes=10, **options), 32 if options["small_images"] else 96
    F.cross_entropy(net(torch.randn(4, 3, side, side)), torch.arange(4)).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(("side", "dead"), [(32, 1_404_928), (64, 163_840), (65, 0)])
def test_the_smallest_image_from_which_every_weight_can_learn_has_65_pixels(side, dead):
    assert count_dead_weights(gu.GoogLeNet(num_classes=10), side) == dead


def test_every_weight_of_the_network_for_small_images_can_learn_from_17_pixels_on():
    net = gu.GoogLeNet(num_classes=10, small_images=True, width=0.25)
    dead = [count_dead_weights(net, side) for side in (16, 17, 32)]
    assert dead[0] > 0
    assert dead[1:] == [0, 0]


# Its width

FITTING = {"num_classes": 10, "batch_norm": True, "small_images": True}


@pytest.mark.parametrize(("width", "parameters", "macs"), [(0.5, 1_510_954, 120_910_848), (0.375, 871_058, 69_589_760),
                                                           (0.25, 388_250, 30_904_832)])
def test_a_narrow_network_has_its_parameters_and_its_price(width, parameters, macs):
    assert gu.count_cost(gu.GoogLeNet(**FITTING, width=width), 32) == (parameters, macs)


def test_full_width_changes_nothing():
    torch.manual_seed(0)
    net = gu.GoogLeNet(**EVERY_OPTION)
    torch.manual_seed(0)
    for value, other in zip(net.state_dict().values(), gu.GoogLeNet(**EVERY_OPTION, width=1).state_dict().values(),
                            strict=True):
        assert torch.equal(value, other)


def test_every_number_of_channels_is_the_nearest_multiple_of_8_and_8_at_least():
    narrow, full = (dict(gu.GoogLeNet(width=width, aux=True).named_modules()) for width in (0.25, 1))
    for name, layer in full.items():
        if isinstance(layer, nn.Conv2d):
            assert narrow[name].out_channels % 8 == 0
            assert abs(narrow[name].out_channels - layer.out_channels / 4) <= (4 if layer.out_channels > 24 else 8)
    assert [narrow[name].out_features for name in ("aux1.fc1", "aux1.fc2", "aux2.fc1", "fc")] == [256, 1000, 256, 1000]


def test_a_narrow_network_with_auxiliary_heads_trains_every_weight():
    net = gu.GoogLeNet(**FITTING, width=0.25, aux=True)
    logits, first, second = net(torch.randn(4, 3, 32, 32))
    sum(F.cross_entropy(part, torch.arange(4)) for part in (logits, first, second)).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert net.eval()(torch.randn(4, 3, 32, 32)).shape == (4, 10)


@pytest.mark.parametrize("width", [0, -1, float("nan"), float("inf"), "0.25", None, [0.25]])
def test_a_width_that_is_none_is_refused(width, refuses):
    with refuses(ValueError, "width has to be a number over 0"):
        gu.GoogLeNet(width=width)


# What it refuses

@pytest.mark.parametrize(("small_images", "smallest"), [(False, 32), (True, 8)])
def test_the_smallest_image_is_accepted_and_one_pixel_less_is_refused(small_images, smallest, refuses):
    net = gu.GoogLeNet(num_classes=10, small_images=small_images).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 3, smallest, smallest)).isfinite().all()
        for height, width in ((smallest - 1, smallest), (smallest, smallest - 1)):
            with refuses(ValueError, f"{height} x {width} pixels", "too small", f"to {smallest} or more"):
                net(torch.rand(1, 3, height, width))


def test_a_network_for_large_images_names_the_one_for_small_images(refuses):
    with refuses(ValueError, "small_images=True", "8"):
        gu.GoogLeNet(num_classes=10)(torch.rand(1, 3, 31, 31))


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (3, 32, 32), (2, 32, 32, 3), (3072,), (2, 1, 3, 32, 32)])
def test_images_of_another_shape_are_refused(shape, refuses):
    with refuses(ValueError, "this GoogLeNet takes a tensor, a batch of N x 3 x height x width, but the input is a "
                             f"Tensor with the shape {' x '.join(map(str, shape))}"):
        gu.GoogLeNet(num_classes=10)(torch.rand(shape))


@pytest.mark.parametrize(("given", "words"), [
    (torch.rand(2, 3, 32, 32).numpy(), "a ndarray with the shape 2 x 3 x 32 x 32"),
    ([torch.rand(3, 32, 32)] * 2, "a list"), ((torch.rand(2, 3, 32, 32), torch.arange(2)), "a tuple"),
    (None, "a NoneType")])
def test_what_is_no_tensor_is_refused(given, words, refuses):
    with refuses(ValueError, f"takes a tensor, a batch of N x 3 x height x width, but the input is {words}"):
        gu.GoogLeNet(num_classes=10)(given)


def test_grey_images_enter_a_network_that_was_built_for_them(refuses):
    net = gu.GoogLeNet(in_channels=1, num_classes=10)
    assert net(torch.rand(2, 1, 32, 32)).shape == (2, 10)
    with refuses(ValueError, "N x 1 x height x width", "2 x 3 x 32 x 32"):
        net(torch.rand(2, 3, 32, 32))


@pytest.mark.parametrize("weights", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_images_have_the_weights_dtype_and_others_are_refused_by_name(weights, refuses):
    net = gu.GoogLeNet(num_classes=10).to(weights).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        logits = net(images.to(weights))
    assert logits.dtype == weights
    assert logits.isfinite().all()
    floats = {torch.float32, torch.float64, torch.float16, torch.bfloat16} - {weights}
    for other in (*floats, torch.uint8, torch.int64, torch.bool, torch.complex64):
        with refuses(ValueError, "this GoogLeNet takes", f" as {weights}, not {other}", "Batches", f"to({weights})"):
            net((images * 255).to(other))


def test_under_autocast_images_may_have_its_dtype_but_are_still_floats(refuses):
    net = gu.GoogLeNet(num_classes=10).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        halves, whole = net(images.bfloat16()), net(images)
        with refuses(ValueError, " as torch.float32, not torch.uint8"):
            net((images * 255).to(torch.uint8))
    assert halves.dtype == whole.dtype == torch.bfloat16
    assert torch.equal(halves, whole)                       # autocast rounds the images in the same way
    torch.testing.assert_close(whole.float(), net(images).detach(), rtol=0.1, atol=0.1)


def test_under_autocast_doubles_which_it_does_not_convert_are_refused(refuses):
    with torch.autocast("cpu", torch.bfloat16), refuses(ValueError, " as torch.float32, not torch.float64"):
        gu.GoogLeNet(num_classes=10)(torch.rand(2, 3, 32, 32, dtype=torch.float64))


# In other people's tools

def together(net, other, images):
    """What both give for the same images, as lists of tensors, dropping the same features."""
    outputs = []
    for function in (copy.deepcopy(net), other):            # in train mode, batch norm's statistics move
        torch.manual_seed(1)
        output = function(images)
        outputs.append(list(output) if isinstance(output, tuple) else [output])
    return outputs


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("aux", [True, False], ids=["aux", "no aux"])
def test_torch_fx_follows_it_and_gives_its_numbers_at_every_size(aux, train):
    """With heads, both poolings: 224 pixels give their 14 x 14 maps, other sizes other ones."""
    net = randomise(gu.GoogLeNet(num_classes=10, batch_norm=True, aux=aux, dropout=0.4)).train(train)
    traced = torch.fx.symbolic_trace(copy.deepcopy(net))
    for side in (224, 96, 65, 32):
        with torch.no_grad():
            expected, given = together(net, traced, torch.randn(2, 3, side, side + (side == 65)))
        assert len(expected) == (3 if aux and train else 1)
        for one, other in zip(expected, given, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("aux", [True, False], ids=["aux", "no aux"])
def test_torchvision_extracts_its_features(aux, train):
    net = randomise(gu.GoogLeNet(num_classes=10, aux=aux, dropout=0.4)).train(train)
    seen = []
    with warnings.catch_warnings():
        if aux:                                             # torchvision's: its graphs for train and eval differ then
            warnings.filterwarnings("ignore", message="NOTE: The nodes obtained by tracing the model in eval mode")
        extractor = create_feature_extractor(net, {"stage4": "f"})
    net.stage4.register_forward_hook(lambda layer, inputs, output: seen.append(output))
    if aux and train:                                       # there the network asks stage 4 layer by layer
        net.stage4[-1].register_forward_hook(lambda layer, inputs, output: seen.append(output))
    for side in (224, 64):
        images = torch.randn(2, 3, side, side)
        seen.clear()
        with torch.no_grad():
            features = extractor(images)
            seen.clear()
            net(images)
        assert list(features) == ["f"]
        assert features["f"].shape == (2, 832, side // 32, side // 32)
        assert torch.equal(features["f"], seen[0])


def test_torch_export_takes_it_with_a_free_number_of_images():
    net = randomise(gu.GoogLeNet(num_classes=10)).eval()
    program = torch.export.export(net, (torch.randn(2, 3, 64, 64),), dynamic_shapes=({0: torch.export.Dim("images")},))
    exported = program.module()
    with torch.no_grad():
        for count in (1, 2, 5):
            images = torch.randn(count, 3, 64, 64)
            torch.testing.assert_close(exported(images), net(images), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:FutureWarning", "ignore:Converting a tensor to a Python boolean")
def test_torch_jit_traces_it():
    net = randomise(gu.GoogLeNet(num_classes=10)).eval()
    with torch.no_grad():
        traced = torch.jit.trace(net, torch.randn(2, 3, 64, 64))
        images = torch.randn(5, 3, 96, 96)
        torch.testing.assert_close(traced(images), net(images), rtol=1e-5, atol=1e-5)


def test_torch_compile_runs_it():
    net = gu.GoogLeNet(num_classes=10, aux=True)
    faster = torch.compile(net, backend="eager", fullgraph=True)
    with torch.no_grad():
        for one, other in zip(*together(net, faster, torch.randn(2, 3, 64, 64)), strict=True):
            assert torch.equal(one, other)


def averaged(net):
    average = AveragedModel(net)
    average.update_parameters(net)
    return average


@pytest.mark.parametrize("through", [lambda net: pickle.loads(pickle.dumps(net)), copy.deepcopy, averaged,
                                     nn.DataParallel], ids=["pickle", "deepcopy", "AveragedModel", "DataParallel"])
def test_a_copy_or_a_wrapper_gives_its_numbers(through):
    for options in ({}, EVERY_OPTION):
        net = randomise(gu.GoogLeNet(num_classes=10, **options))
        images = torch.randn(2, 3, 32, 32)
        for train in (True, False):
            net.train(train)
            other = through(net).train(train)
            with torch.no_grad():
                for one, given in zip(*together(net, other, images), strict=True):
                    assert torch.equal(one, given)


def test_its_last_layer_can_be_exchanged_for_other_classes():
    """As in torchvision's tutorial on transfer: what was learned stays, and a new layer learns."""
    net = gu.GoogLeNet(num_classes=1000, aux=True)
    net.requires_grad_(False)
    net.fc = nn.Sequential(nn.Dropout(0.2), nn.Linear(1024, 4))
    images = torch.randn(2, 3, 64, 64)
    logits, *auxiliary = net(images)
    assert logits.shape == (2, 4)
    assert [tuple(head.shape) for head in auxiliary] == [(2, 1000)] * 2
    logits.sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["fc.1.weight", "fc.1.bias"]
    assert net.eval()(images).shape == (2, 4)


# On a GPU that is not there: tensors without data, which know their device

@pytest.fixture
def imagined_gpu():
    with FakeTensorMode():
        yield torch.device("cuda")


@pytest.mark.parametrize("options", [{}, EVERY_OPTION], ids=str)
def test_a_forward_pass_on_a_gpu_meets_no_tensor_elsewhere(imagined_gpu, options):
    with imagined_gpu:
        net = gu.GoogLeNet(num_classes=10, **options)
    for train in (True, False):
        for side in (224, 64):
            output = net.train(train)(torch.empty(2, 3, side, side, device=imagined_gpu))
            for logits in output if isinstance(output, tuple) else (output,):
                assert logits.device.type == "cuda"
    with pytest.raises(RuntimeError, match="same device"):
        net(torch.empty(2, 3, 64, 64))


@pytest.mark.parametrize("train", [True, False])
def test_batches_on_a_gpu_meet_no_tensor_elsewhere(imagined_gpu, train):
    """Crops are drawn on the processor, so that they are the same everywhere, and then moved."""
    with torch._subclasses.fake_tensor.unset_fake_temporarily():        # whose labels can be looked at
        batches = gu.Batches(*gu.make_shapes(10, seed=0), 4, [32, 48], train)
    batches.device = imagined_gpu
    for name, value in vars(batches).items():
        if isinstance(value, torch.Tensor):
            setattr(batches, name, torch.empty(value.shape, dtype=value.dtype, device=imagined_gpu))
    for side in (32, 48) if train else (48, 48):
        shapes = [(tuple(X.shape), X.device.type, X.dtype, y.device.type) for X, y in batches]
        assert shapes == [((count, 3, side, side), "cuda", torch.float32, "cuda") for count in (4, 4, 2)]
