"""Switching off a path: what benchmarks/path_ablation.py computes, against a plain hook behind the block."""
import pytest
import torch
from torch import nn

import googlenet_utils as gu
import path_ablation

NAMES = [row.name for row in gu.TABLE_1 if row.filters]


@pytest.fixture(scope="module")
def measured():
    """A network, images in two batches, and what the script computes of them."""
    torch.manual_seed(0)
    net = gu.GoogLeNet(num_classes=10, batch_norm=True, small_images=True, width=0.25)
    images = torch.randn(6, 3, 32, 32)
    with torch.no_grad():
        net(images)                                         # batch norm sees something
        net.eval()
        means = path_ablation.path_means(net, [(images[:4], None), (images[4:], None)])
        return net, images, path_ablation.logits_without_each(net, images, means)


def test_the_whole_network_is_the_network(measured):
    net, images, logits = measured
    with torch.no_grad():
        torch.testing.assert_close(logits["whole"], net(images))
    assert list(logits) == ["whole", *((block, path) for block in range(9) for path in range(4))]


@pytest.mark.parametrize(("name", "path"), [("3a", 0), ("3b", 1), ("4b", 2), ("4e", 3), ("5b", 3)])
def test_a_path_that_is_off_gives_its_mean_and_behind_a_pooling_the_mean_there(measured, name, path):
    net, images, logits = measured
    stage, number = net.get_submodule(f"stage{name[0]}"), "abcde".index(name[1])
    block = stage[number]
    channels = [last[0].out_channels for last in (block.p1_1, block.p2_2, block.p3_2, block.p4_2)]
    own = slice(sum(channels[:path]), sum(channels[:path + 1]))

    def switch_off(layer, inputs, output):
        output = output.clone()
        output[:, own] = output[:, own].mean(dim=(0, 2, 3), keepdim=True)
        return output

    pooled = isinstance(stage[number + 1], nn.MaxPool2d)
    assert pooled == (name in ("3b", "4e"))
    hook = stage[number + pooled].register_forward_hook(switch_off)
    with torch.no_grad():
        expected = net(images)
    hook.remove()
    found = logits[NAMES.index(name), path]
    torch.testing.assert_close(found, expected)
    assert (found - logits["whole"]).abs().max() > 1e-3


def test_the_standard_error_is_that_of_a_mean():
    mean, error = path_ablation.rate(torch.tensor([1, 0, 0, -1, 1, 1, 0, 0]))
    assert mean == 0.25
    assert error == pytest.approx(0.25, abs=1e-9)           # sum of squares 3.5, by 7, by 8, square root
