"""GoogLeNet and its neighbours, trained at equal cost: writes results/neighbours.json, run by run.

Every run sees CIFAR-10's images at 96 x 96 once, as many of them as a fixed number of multiply-adds pays for (6,000
images for GoogLeNet): a network that costs less per image sees more images. Recipe: `gu.make_recipe`, batches of 32,
all weights drawn by `gu.initialize`, no dropout (no image comes twice). Learning rate: the recipe's own with batch
norm; without, the better of two lower ones, each tried once at full cost on 1,000 other training images. The
accuracies that count come from other seeds and from the last 2,000 training images. The test images are not read. Only
GoogLeNet and VGG-16 are trained with and without batch norm, which shows what it does to the comparison.

Runs that are in the file already are not made again, so the script can be stopped and started, and two processes can
share the work (--only). All runs compute in float32, whatever the machine could do, so that they can be compared.
Seconds are processor seconds, summed over the threads.

usage: python benchmarks/neighbours.py [--seeds 0 1 2] [--only "a network" ...]
"""
import argparse
import time

import torch
from torch import nn
from torchvision import models

from common import HELD_OUT, describe_machine, find_device, gu, stored_rows, write_result

SIZE, BATCH_SIZE, GOOGLENET_IMAGES = 96, 32, 6_000
POOL, CHOOSING = 46_000, 1_000          # images to train on; the next ones to choose a learning rate by
CHOOSING_SEED = 100
PRECISION = "float32"
PLAIN_RATES = (0.03, 0.01)              # learning rates without batch norm, for batches of 128 as in gu.RECIPE


def build_nin(num_classes=1000):
    """Network in Network for ImageNet, as its authors gave it to the Caffe Model Zoo (Lin, Chen and Yan, arXiv
    1312.4400), without dropout: N x 3 x 224 x 224 -> N x num_classes. The poolings round down, as is PyTorch's way;
    images of less than 67 pixels are too small for them."""
    def mlpconv(in_channels, channels, last, **window):
        return [nn.Conv2d(in_channels, channels, **window), nn.ReLU(),
                nn.Conv2d(channels, channels, kernel_size=1), nn.ReLU(),
                nn.Conv2d(channels, last, kernel_size=1), nn.ReLU()]

    def halve():
        return nn.MaxPool2d(kernel_size=3, stride=2)

    return nn.Sequential(
        *mlpconv(3, 96, 96, kernel_size=11, stride=4), halve(),
        *mlpconv(96, 256, 256, kernel_size=5, padding=2), halve(),
        *mlpconv(256, 384, 384, kernel_size=3, padding=1), halve(),
        *mlpconv(384, 1024, num_classes, kernel_size=3, padding=1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten())


# Whether it has batch norm, and how it is built.
NETWORKS = {
    "AlexNet": (False, lambda: models.alexnet(num_classes=10, dropout=0)),
    "NiN": (False, lambda: build_nin(10)),
    "VGG-16": (False, lambda: models.vgg16(num_classes=10, dropout=0, init_weights=False)),
    "GoogLeNet": (False, lambda: gu.GoogLeNet(num_classes=10)),
    "VGG-16, batch norm": (True, lambda: models.vgg16_bn(num_classes=10, dropout=0, init_weights=False)),
    "GoogLeNet, batch norm": (True, lambda: gu.GoogLeNet(num_classes=10, batch_norm=True)),
    "ResNet-18": (True, lambda: models.resnet18(num_classes=10)),
    "DenseNet-121": (True, lambda: models.densenet121(num_classes=10)),
}


def find_spend():
    """The multiply-adds of every run: forward, of all its training images together."""
    return GOOGLENET_IMAGES * gu.count_cost(gu.GoogLeNet(num_classes=10), SIZE).macs


def train_run(name, learning_rate, seed, judged, data, device):
    """One run that spends `find_spend()`, judged on the training images `judged` (a slice); its accuracy is None where
    the loss stopped being a number."""
    torch.manual_seed(seed)
    net = gu.initialize(NETWORKS[name][1]())
    macs = gu.count_cost(net, SIZE).macs
    count = find_spend() // macs
    assert count <= POOL, f"{name} would see an image twice"
    chosen = torch.randperm(POOL, generator=torch.Generator().manual_seed(seed))[:count]
    train_iter = gu.Batches(data.train_images[chosen], data.train_labels[chosen], BATCH_SIZE, SIZE, True, device,
                            scale=gu.RECIPE["crop_scale"], seed=seed)
    judged_iter = gu.Batches(data.train_images[judged], data.train_labels[judged], 100, SIZE, False, device)
    loss, optimizer, schedule = gu.make_recipe(net, BATCH_SIZE, len(train_iter), learning_rate=learning_rate)
    start, accuracy, history = time.process_time(), None, None
    try:
        history = gu.train(net, train_iter, judged_iter, loss, optimizer, device, 1, schedule=schedule,
                           precision=PRECISION, progress=False)
        accuracy = history["test_acc"][-1]
    except RuntimeError as error:
        if "not finite" not in str(error):
            raise
    return {"seed": seed, "learning_rate": learning_rate, "accuracy": accuracy, "images": count, "macs": count * macs,
            "processor_seconds": time.process_time() - start, "history": history, "precision": PRECISION,
            "machine": describe_machine(device)}


def best_rate(tries):
    """The learning rate that was best on the images to choose by."""
    return max(tries, key=lambda one: one["accuracy"] or 0.0)["learning_rate"]


def store(name, kind, run):
    """Add a run to the file, which is read again: another process may have written meanwhile."""
    rows = {row["network"]: row for row in stored_rows("neighbours")}
    batch_norm = NETWORKS[name][0]
    row = rows.setdefault(name, {"network": name, "batch_norm": batch_norm, "tries": [], "runs": []})
    row[kind].append(run)
    write_result("neighbours", {"data": "CIFAR-10", "held_out": HELD_OUT, "size": SIZE, "batch_size": BATCH_SIZE,
                                "spend_macs": find_spend(), "rows": [rows[name] for name in NETWORKS if name in rows]})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="only these networks")
    options = parser.parse_args()
    data, device = gu.load_images("cifar10"), find_device()

    def stored(name, kind):
        return next((row[kind] for row in stored_rows("neighbours") if row["network"] == name), [])

    for name in options.only:
        tried = {run["learning_rate"] for run in stored(name, "tries")}
        for rate in () if NETWORKS[name][0] else PLAIN_RATES:
            if rate in tried:
                continue
            print(f"{name}, learning rate {rate}", flush=True)
            judged = slice(POOL, POOL + CHOOSING)
            store(name, "tries", train_run(name, rate, CHOOSING_SEED, judged, data, device))
    for seed in options.seeds:
        for name in options.only:
            if any(run["seed"] == seed for run in stored(name, "runs")):
                continue
            rate = gu.RECIPE["learning_rate"] if NETWORKS[name][0] else best_rate(stored(name, "tries"))
            print(f"{name}, seed {seed}, learning rate {rate}", flush=True)
            judged = slice(len(data.train_images) - HELD_OUT, len(data.train_images))
            store(name, "runs", train_run(name, rate, seed, judged, data, device))


if __name__ == "__main__":
    main()
