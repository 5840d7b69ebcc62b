"""The trained weights that come with the project, and their card: what `gu.load_trained` gives."""
import hashlib
import json
import shutil

import pytest
import torch
from test_notebooks import NOTEBOOKS

import googlenet_utils as gu

WEIGHTS = NOTEBOOKS / "weights" / "googlenet_cifar10.safetensors"
LARGEST = 3_200_000                         # bytes: what a clone and a stick for the class can carry


@pytest.fixture(scope="module")
def trained():
    return gu.load_trained()


@pytest.fixture
def copied(folder, monkeypatch):
    """A folder of its own for module and weights: the path of its weights."""
    shutil.copytree(WEIGHTS.parent, folder / "notebooks" / "weights")
    monkeypatch.setattr(gu, "__file__", str(folder / "googlenet_utils.py"))
    return folder / "notebooks" / "weights" / WEIGHTS.name


def test_the_card_is_that_of_the_file():
    card, content = json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8")), WEIGHTS.read_bytes()
    assert hashlib.sha256(content).hexdigest() == card["sha256"]
    assert len(content) == card["bytes"] <= LARGEST


def test_the_card_says_where_the_weights_come_from(trained):
    _, card = trained
    assert {"network", "data", "image_size", "image_sizes", "settings", "command", "machine", "date",
            "licence"} <= set(card)
    assert "Krizhevsky" in card["data"]
    assert tuple(card["classes"]) == gu.CIFAR10_CLASSES
    assert (tuple(card["mean"]), tuple(card["std"])) == (gu.CIFAR10_MEAN, gu.CIFAR10_STD)
    rows = gu.load_result("train_cifar10")["rows"]
    (row,) = [row for row in rows if card["command"].endswith(f"--profile {row['profile']} --seed {row['seed']}")]
    for name in ("val_accuracy", "test_accuracy"):
        assert card[name] == pytest.approx(row[name], abs=0.002)        # before half precision
    assert card["image_sizes"] == row["image_sizes"]
    assert card["image_size"] == row["image_sizes"][-1]


def test_the_network_is_ready_to_look_into(trained):
    net, card = trained
    assert not any(layer.training for layer in net.modules())
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in net.parameters())
    shape = {row.name: row.shape for row in gu.trace_shapes(net, card["image_size"])}
    assert shape["stage5.1"][0] == net.fc.in_features and min(shape["stage5.1"][1:]) >= 7, "maps to look at"
    assert shape["fc"] == (10,)


def test_the_paths_were_switched_off_in_these_weights(trained):
    _, card = trained
    result = gu.load_result("path_ablation")
    assert result["weights_sha256"] == card["sha256"], "run: python benchmarks/path_ablation.py"
    assert result["image_size"] == card["image_size"]
    error = (card["test_accuracy"] * (1 - card["test_accuracy"]) / result["images"]) ** 0.5
    assert abs(result["accuracy"] - card["test_accuracy"]) < 4 * error


def test_damaged_or_exchanged_weights_are_refused(copied, refuses):
    content = bytearray(copied.read_bytes())
    content[-100] ^= 1
    copied.write_bytes(content)
    with refuses(RuntimeError, "damaged", "SHA-256", copied.name, "delete it"):
        gu.load_trained()
    copied.write_bytes(content[:1_000])
    with refuses(RuntimeError, "damaged", copied.name):
        gu.load_trained()


def test_missing_weights_are_fetched_or_asked_for(copied, refuses, monkeypatch):
    copied.unlink()
    monkeypatch.setenv("GOOGLENET_BASE_URL", (copied.parent / "nowhere").as_uri())
    with refuses(RuntimeError, copied.name, "missing", "fetch the whole project"):
        gu.load_trained()


def test_accuracy_on_the_first_1000_test_images_is_the_cards(trained, cifar10):
    net, card = trained
    images = gu.Batches(cifar10.test_images[:1_000], cifar10.test_labels[:1_000], 100, card["image_size"], False)
    net = net.to(memory_format=torch.channels_last)
    # In the card's precision where the processor has it; elsewhere it would be emulated, which takes half an hour.
    precision = card["settings"]["precision"]
    precision = precision if gu.choose_precision("cpu") == precision else "float32"
    again = gu.evaluate_accuracy(images, net, "cpu", precision=precision)
    assert again == pytest.approx(card["test_accuracy_of_the_first_1000"], abs=0.002)
