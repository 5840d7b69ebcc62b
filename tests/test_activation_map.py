"""The class activation map: by its definition, and against another project's."""
import copy
import os

import numpy as np
import pytest
import torch
from torch import nn

import googlenet_utils as gu


@pytest.fixture
def net():
    """A small-input network with weights of every sign, and batch norm that has seen images."""
    net = gu.GoogLeNet(num_classes=10, batch_norm=True)
    torch.nn.init.normal_(net.fc.bias)
    with torch.no_grad():
        net(torch.randn(8, 3, 64, 64))
    return net.eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 70, 100)


def test_the_mean_plus_the_bias_is_the_logit_of_every_class(net, images):
    with torch.no_grad():
        logits = net(images)
    for label in range(10):
        maps = gu.class_activation_map(net, images, label)
        assert maps.shape == (3, 3, 4)
        torch.testing.assert_close(maps.mean(dim=(1, 2)) + net.fc.bias[label], logits[:, label])


def test_each_image_gets_the_class_that_was_asked_for_or_its_highest(net, images):
    every = torch.stack([gu.class_activation_map(net, images, label) for label in range(10)], dim=1)
    asked = gu.class_activation_map(net, images, torch.tensor([2, 7, 0]))
    torch.testing.assert_close(asked, every[[0, 1, 2], [2, 7, 0]])
    torch.testing.assert_close(gu.class_activation_map(net, images, [2, 7, 0]), asked)
    with torch.no_grad():
        highest = net(images).argmax(dim=1)
    torch.testing.assert_close(gu.class_activation_map(net, images), every[[0, 1, 2], highest])


def test_it_leaves_the_network_as_it_was(net, images):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    maps = gu.class_activation_map(net, images)
    assert not maps.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(layer._forward_pre_hooks for layer in net.modules())
    assert not net.training


def test_it_refuses_a_network_in_train_mode_and_images_that_do_not_fit(net, images, refuses):
    with refuses(ValueError, "too small", "31 x 40"):
        gu.class_activation_map(net, images[:, :, :31, :40])
    assert not any(layer._forward_pre_hooks for layer in net.modules())
    with refuses(ValueError, "train mode", "net.eval()"):
        gu.class_activation_map(net.train(), images)


@pytest.mark.parametrize("classes", [
    (2, 7, 0), np.array([2, 7, 0]), np.array([2, 7, 0], dtype=np.uint8), torch.tensor([2, 7, 0], dtype=torch.uint8),
    torch.tensor([2, 7, 0], dtype=torch.int32), [torch.tensor(2), torch.tensor(7), torch.tensor(0)],
    [np.int64(2), np.int64(7), np.int64(0)]], ids=lambda classes: f"{type(classes).__name__}")
def test_whole_numbers_of_any_type_name_the_classes(net, images, classes):
    assert torch.equal(gu.class_activation_map(net, images, classes), gu.class_activation_map(net, images, [2, 7, 0]))


@pytest.mark.parametrize(("one", "meant"), [
    (np.int64(7), 7), (torch.tensor(7), 7), (True, 1), (np.False_, 0), ([7], 7)],
    ids=["NumPy's", "tensor", "bool", "NumPy's bool", "list of one"])
def test_one_class_of_any_type_is_for_all_images(net, images, one, meant):
    assert torch.equal(gu.class_activation_map(net, images, one), gu.class_activation_map(net, images, [meant] * 3))


@pytest.mark.parametrize("classes", [
    10, -1, [2, 7, 10], [2, 7, -1], "cat", ["cat"] * 3, 2.0, torch.tensor([2.0, 7.0, 0.0]), [2, 7], [2, 7, 0, 1],
    torch.tensor([[2], [7], [0]]), [], [None] * 3, 10**30, 1j, {2: 7}, [2, [7], 0], np.array(["cat"] * 3)], ids=repr)
def test_classes_that_the_network_does_not_have_are_refused(net, images, classes, refuses):
    with refuses(ValueError, "from 0 to 9", "or 3 of them", f"not {' '.join(repr(classes).split())[:60]}"):
        gu.class_activation_map(net, images, classes)


def test_without_an_image_there_is_no_map(net, images, refuses):
    for classes in (None, 3, []):
        with refuses(ValueError, "no image", "empty"):
            gu.class_activation_map(net, images[:0], classes)


def test_the_linear_layer_may_stand_behind_a_dropout(net, images):
    expected = gu.class_activation_map(net, images, 3)
    for layers in ([nn.Dropout(), net.fc], [nn.Sequential(nn.Dropout(), net.fc)], [net.fc, nn.Identity()]):
        changed = copy.copy(net)
        changed._modules = {**net._modules, "fc": nn.Sequential(*layers).eval()}
        assert torch.equal(gu.class_activation_map(changed, images, 3), expected)


def test_a_compiled_network_that_was_used_gives_the_same_map(net, images):
    """It does not call the hooks that it gets later."""
    expected = gu.class_activation_map(net, images, 3)
    compiled = torch.compile(net, backend="eager")
    with torch.no_grad():
        compiled(images)
    assert torch.equal(gu.class_activation_map(compiled, images, 3), expected)


@pytest.mark.parametrize(("part", "layers"), [
    # Of two linear layers, the last one alone would give a map that adds up to no logit.
    ("fc", [nn.Identity()]), ("fc", [nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)]),
    ("stage5", [nn.AdaptiveMaxPool2d((1, 1)), nn.Flatten()]), ("stage5", [nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten()]),
    ("stage5", [nn.Flatten()])], ids=["no linear", "two linear", "maximum", "four means", "no pooling"])
def test_a_network_that_ends_otherwise_is_refused(net, images, part, layers, refuses):
    kept = list(net.stage5)[:2] if part == "stage5" else []
    setattr(net, part, nn.Sequential(*kept, *layers).eval())
    with refuses(ValueError, "AdaptiveAvgPool2d((1, 1))", "net.stage5", "net.fc", "one nn.Linear"):
        gu.class_activation_map(net, images)


def test_a_network_without_these_parts_and_a_layer_left_in_train_mode_are_refused(net, images, refuses):
    with refuses(ValueError, "net.stage5"):
        gu.class_activation_map(nn.Conv2d(3, 8, kernel_size=3).eval(), images)
    net.stage2.train()                                      # its batch norm would make a map depend on the other images
    with refuses(ValueError, "train mode", "net.eval()"):
        gu.class_activation_map(net, images)


def test_it_is_the_same_as_torchcams(net, images):
    try:
        from torchcam.methods import CAM
    except ImportError:
        if os.environ.get("CI"):
            pytest.fail("torchcam is missing (tests/requirements.txt)")
        pytest.skip("torchcam is missing: pip install --no-deps -r tests/requirements.txt brings it")
    labels = [2, 7, 0]
    with CAM(net, target_layer="stage5.1", fc_layer="fc") as extract:       # stage5.1 is block 5b
        net(images)
        (theirs,) = extract(labels, normalized=False)
    torch.testing.assert_close(gu.class_activation_map(net, images, labels), theirs)
