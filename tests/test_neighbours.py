"""Notebook 7: its networks, and what it counts by."""
import json
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

import googlenet_utils as gu
import networks

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "07_the_neighbours.ipynb"


@pytest.fixture(scope="module")
def written():
    """The functions that the notebook writes out, by name."""
    cells = {cell["id"]: "".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]}
    names = {"torch": torch, "nn": nn, "gu": gu}
    for identity in ("nin", "depth-function", "memory-function"):
        exec(cells[identity], names)
    return names


def test_the_notebooks_nin_is_the_one_that_was_trained(written):
    torch.manual_seed(0)
    ours, theirs = written["build_nin"](10), networks.build_nin(10)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 67, 67)
    assert torch.equal(ours(x), theirs(x))
    with pytest.raises(RuntimeError):
        ours(x[:, :, :66])


def test_nin_is_as_large_as_its_authors_say():
    """Their card speaks of a file of 29 MB: four bytes a weight, MB meaning 1024 x 1024 bytes."""
    assert 28.5 < 4 * gu.count_cost(networks.build_nin(), 224).parameters / 1024**2 < 29.5


@pytest.mark.parametrize("name", ["AlexNet", "VGG16", "ResNet18", "DenseNet121"])
def test_costs_are_those_on_torchvisions_cards(name):
    card = torchvision.models.get_weight(f"{name}_Weights.IMAGENET1K_V1").meta
    with torch.device("meta"):
        cost = gu.count_cost(torchvision.models.get_model(name.lower()), 224)
    assert cost.parameters == card["num_params"]
    assert cost.macs / 1e9 == pytest.approx(card["_ops"], abs=0.001)


class Shortcut(nn.Module):
    """Four layers on the longest route, two on the shortest."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.two = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1))
        self.fc = nn.Linear(3, 10)

    def forward(self, x):
        x = self.first(x)
        return self.fc((x + self.two(x)).mean(dim=(2, 3)))


def test_the_notebook_finds_the_longest_and_the_shortest_route(written):
    assert written["find_routes"](Shortcut().to("meta")) == (4, 2)


def test_the_notebook_counts_the_bytes_that_a_forward_pass_keeps(written):
    """A convolution keeps its input, a ReLU its output, which the linear layer shares: counted once."""
    net = nn.Sequential(nn.Conv2d(3, 5, kernel_size=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 224 * 224, 2))
    assert written["find_kept"](net.to("meta")) == 4 * (3 + 5) * 224 * 224
