"""Switching off a path: what benchmarks/path_ablation.py computes, against a plain hook on the block."""
import pytest
import torch

import googlenet_utils as gu
import path_ablation


@pytest.fixture(scope="module")
def measured():
    """A network, images in two batches, and what the script computes of them."""
    torch.manual_seed(0)
    net = gu.GoogLeNet(num_classes=10, batch_norm=True)
    images = torch.randn(6, 3, 65, 65)
    with torch.no_grad():
        net(images)                                         # batch norm sees something
        net.eval()
        layers = [*net.stage1, *net.stage2, *net.stage3, *net.stage4, *net.stage5, net.fc]
        means = path_ablation.mean_outputs(layers, [(images[:4], None), (images[4:], None)])
        whole, scores = path_ablation.scores_without_each(layers, images, means)
    return net, images, whole, scores


def test_the_whole_network_is_the_network(measured):
    net, images, whole, scores = measured
    with torch.no_grad():
        torch.testing.assert_close(whole, net(images))
    assert list(scores) == [(block, path) for block in range(9) for path in range(4)]


@pytest.mark.parametrize(("block", "path"), [(0, 0), (3, 2), (8, 3)])
def test_a_path_that_is_off_gives_its_mean_a_channel(measured, block, path):
    net, images, whole, scores = measured
    row = gu.TABLE_1[block + 2]
    c1, c2, c3, c4 = row.filters
    start = [0, c1, c1 + c2[1], c1 + c2[1] + c3[1]][path]
    own = slice(start, start + [c1, c2[1], c3[1], c4][path])

    def switch_off(layer, inputs, output):
        output = output.clone()
        output[:, own] = output[:, own].mean(dim=(0, 2, 3), keepdim=True)
        return output

    layer = [layer for layer in net.modules() if isinstance(layer, gu.Inception)][block]
    hook = layer.register_forward_hook(switch_off)
    with torch.no_grad():
        expected = net(images)
    hook.remove()
    torch.testing.assert_close(scores[block, path], expected)
    assert (scores[block, path] - whole).abs().max() > 1e-3


def test_the_standard_error_is_that_of_a_mean():
    mean, error = path_ablation.rate(torch.tensor([1, 0, 0, -1, 1, 1, 0, 0]))
    assert mean == 0.25
    assert error == pytest.approx(0.25, abs=1e-9)           # sum of squares 3.5, by 7, by 8, square root
