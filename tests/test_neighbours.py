"""Notebook 7: its networks, what it counts by, and the runs at equal cost behind its table."""
import json
from pathlib import Path

import neighbours
import pytest
import torch
import torchvision
from torch import nn

import googlenet_utils as gu

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "07_the_neighbours.ipynb"


@pytest.fixture(scope="module")
def written():
    """The functions that the notebook writes out, by name."""
    cells = {cell["id"]: "".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]}
    names = {"torch": torch, "nn": nn, "gu": gu}
    for identity in ("nin", "depth-function", "memory-function"):
        exec(cells[identity], names)
    return names


@pytest.fixture
def stored():
    path = Path(neighbours.__file__).parent / "results" / "neighbours.json"
    if not path.exists():
        pytest.skip("nothing was measured yet")
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_notebooks_nin_is_the_one_that_was_trained(written):
    torch.manual_seed(0)
    ours, theirs = written["build_nin"](10), neighbours.build_nin(10)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 67, 67)
    assert torch.equal(ours(x), theirs(x))
    with pytest.raises(RuntimeError):
        ours(x[:, :, :66])


def test_nin_is_as_large_as_its_authors_say():
    """Their card speaks of a file of 29 MB: four bytes a weight, MB meaning 1024 x 1024 bytes."""
    assert 28.5 < 4 * gu.count_cost(neighbours.build_nin(), 224).parameters / 1024**2 < 29.5


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


def test_every_run_spends_the_same(stored):
    """The whole budget but for less than one image, on images that are neither chosen nor judged by."""
    assert stored["held_out"] <= 50_000 - neighbours.POOL - neighbours.CHOOSING
    assert [row["network"] for row in stored["rows"]] == [n for n in neighbours.NETWORKS if n in
                                                          {row["network"] for row in stored["rows"]}]
    for row in stored["rows"]:
        with torch.device("meta"):
            macs = gu.count_cost(neighbours.NETWORKS[row["network"]][1](), stored["size"]).macs
        for run in row["tries"] + row["runs"]:
            assert run["macs"] == macs * run["images"]
            assert 0 <= neighbours.find_spend() - run["macs"] < macs
            assert run["images"] <= neighbours.POOL


def test_learning_rates_were_chosen_as_the_script_says(stored):
    for row in stored["rows"]:
        tried = [run["learning_rate"] for run in row["tries"]]
        assert sorted(tried) == ([] if row["batch_norm"] else sorted(neighbours.PLAIN_RATES)), row["network"]
        expected = neighbours.best_rate(row["tries"]) if tried else gu.RECIPE["learning_rate"]
        assert {run["learning_rate"] for run in row["runs"]} == {expected}, row["network"]
        assert neighbours.CHOOSING_SEED not in {run["seed"] for run in row["runs"]}
