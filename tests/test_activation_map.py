"""The class activation map: by its definition, and against another project's."""
import os

import pytest
import torch

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


def test_the_mean_plus_the_bias_is_the_score_of_every_class(net, images):
    with torch.no_grad():
        scores = net(images)
    for label in range(10):
        maps = gu.class_activation_map(net, images, label)
        assert maps.shape == (3, 3, 4)
        torch.testing.assert_close(maps.mean(dim=(1, 2)) + net.fc.bias[label], scores[:, label])


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
