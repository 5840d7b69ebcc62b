"""GoogLeNet with one part changed, at equal cost: writes results/ablations.json, run by run.

Every run spends the same number of multiply-adds on CIFAR-10 (those of the unchanged network for one pass over 15,000
images at 40 x 40 pixels: about a minute of one processor core), so a network that costs twice as much sees half as many
images. At 40 pixels the maps of stages 3, 4 and 5 have 5 x 5, 3 x 3 and 2 x 2 pixels: all 25 taps of a 5x5 kernel can
learn in stages 3 and 4, and only 9 in stage 5. The same seed draws the same images in the same order where two variants
see equally many. Every run is judged on the last 10,000 training images, which no variant trains on: with the usual
2,000, the luck of which images these are would hide a difference of two points. The test images are not read. Runs that
are in the file already are not made again, so the script can be stopped and started. Seconds are processor seconds,
summed over the threads.

usage: python benchmarks/ablations.py [--seeds 0 1 2] [--only "words of a variant"]
"""
import argparse
import copy
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from common import describe_machine, find_device, gu, stored_rows, write_result

TRAIN_IMAGES, HELD_OUT = 40_000, 10_000
IMAGES, IMAGE_SIZE, BATCH_SIZE = 15_000, 40, 64
# What is changed; the options of GoogLeNet for it; what `rebuild` does beyond them; other numbers of the recipe.
VARIANTS = [
    ("baseline", {}, {}, {}),
    ("without path 1", {}, {"without": 1}, {}),
    ("without path 2", {}, {"without": 2}, {}),
    ("without path 3", {}, {"without": 3}, {}),
    ("without path 4", {}, {"without": 4}, {}),
    ("one 3x3 for the 5x5", {}, {"path3": "3x3"}, {}),
    ("two 3x3 for the 5x5", {}, {"path3": "3x3 3x3"}, {}),
    ("without the reductions", {}, {"reductions": False}, {}),
    ("fully connected head", {}, {"head": "fully connected"}, {}),
    ("auxiliary heads", {"aux": True}, {}, {}),
    ("without batch norm", {"batch_norm": False}, {}, {}),
    ("without batch norm, a tenth of the learning rate", {"batch_norm": False}, {}, {"learning_rate": 0.01}),
    ("dropout 0.4", {"dropout": 0.4}, {}, {}),
    ("half width", {}, {"width": 0.5}, {}),
    ("one 3x3 convolution for each block", {}, {"plain": 0.465}, {}),        # so narrow that an image costs as much
    # Ten passes over a tenth of the images: only these runs see an image twice, and only they can overfit.
    ("few images", {}, {}, {"passes": 10}),
    ("few images, fully connected head", {}, {"head": "fully connected"}, {"passes": 10}),
    ("few images, dropout 0.4", {"dropout": 0.4}, {}, {"passes": 10}),
    ("few images, auxiliary heads", {"aux": True}, {}, {"passes": 10}),
]


class Paths(nn.Module):
    """An Inception block of any paths: each gets the same input, their outputs are concatenated on the channels."""

    def __init__(self, *paths):
        super().__init__()
        self.paths = nn.ModuleList(paths)

    def forward(self, x):
        return torch.cat([path(x) for path in self.paths], dim=1)


def layers(in_channels, *convolutions, batch_norm):
    """(kernel size, channels) after each other, each with its ReLU; without any shrinking."""
    built = []
    for kernel_size, channels in convolutions:
        built += [gu.convolution(in_channels, channels, kernel_size=kernel_size, padding=kernel_size // 2,
                                 batch_norm=batch_norm), nn.ReLU()]
        in_channels = channels
    return nn.Sequential(*built)


def build_block(in_channels, c1, c2, c3, c4, *, without=None, path3="5x5", reductions=True, plain=None,
                batch_norm=True):
    """The block with these channels and one part changed, and how many channels leave it.

    plain: one 3x3 convolution instead, with this share of the block's channels.
    """
    if plain:
        channels = int(plain * (c1 + c2[1] + c3[1] + c4))
        return layers(in_channels, (3, channels), batch_norm=batch_norm), channels
    kernels = {"5x5": [5], "3x3": [3], "3x3 3x3": [3, 3]}[path3]
    convolutions = {1: [(1, c1)], 2: [(1, c2[0]), (3, c2[1])], 3: [(1, c3[0]), *((k, c3[1]) for k in kernels)],
                    4: [(1, c4)]}
    if not reductions:
        convolutions[2], convolutions[3] = convolutions[2][1:], convolutions[3][1:]
    if without:
        del convolutions[without]
    paths = {number: layers(in_channels, *path, batch_norm=batch_norm) for number, path in convolutions.items()}
    if 4 in paths:
        paths[4].insert(0, nn.MaxPool2d(kernel_size=3, stride=1, padding=1))
    return Paths(*paths.values()), sum(path[-1][1] for path in convolutions.values())


def rebuild(net, *, width=1, head=None, **changes):
    """Put other blocks and another head into `net`, whose layers in front and behind are kept where they fit."""
    def wide(channels):
        return tuple(wide(c) for c in channels) if isinstance(channels, tuple) else int(width * channels)

    batch_norm = any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())
    if width != 1:
        net.stage1[0] = gu.convolution(3, wide(64), kernel_size=7, stride=2, padding=3, batch_norm=batch_norm)
        net.stage2[0] = gu.convolution(wide(64), wide(64), kernel_size=1, batch_norm=batch_norm)
        net.stage2[2] = gu.convolution(wide(64), wide(192), kernel_size=3, padding=1, batch_norm=batch_norm)
    filters, channels = iter([row.filters for row in gu.TABLE_1 if row.filters]), wide(192)
    for stage in (net.stage3, net.stage4, net.stage5):
        for index, layer in enumerate(stage):
            if isinstance(layer, gu.Inception):
                stage[index], channels = build_block(channels, *wide(next(filters)), **changes, batch_norm=batch_norm)
    if head == "fully connected":
        side = gu.trace_shapes(net, IMAGE_SIZE)[-4].shape[-1]               # of the last block's map
        net.stage5 = nn.Sequential(*net.stage5[:2], nn.Flatten(), nn.Linear(channels * side**2, 1024), nn.ReLU())
        channels = 1024
    net.fc = nn.Linear(channels, net.fc.out_features)
    return gu.initialize(net)


def build(options, changes, num_classes=10):
    """A fresh network of a row of VARIANTS."""
    net = gu.GoogLeNet(num_classes=num_classes, **{"batch_norm": True, **options})
    return rebuild(net, **changes) if changes else net


def training_macs(net):
    """Multiply-adds of one image's forward pass in train mode, where the auxiliary heads compute too."""
    traced = copy.deepcopy(net).to("meta").train()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        traced(torch.empty(2, 3, IMAGE_SIZE, IMAGE_SIZE, device="meta"))
    return counter.get_total_flops() // 4                                   # two images, two FLOPs a MAC


def train_run(options, changes, numbers, seed, data, device):
    """One run that spends the multiply-adds of every run; returns what it reached and what it took.

    numbers: other ones than RECIPE's, and "passes", over as many fewer images.
    """
    spend = IMAGES * training_macs(build({}, {}))
    torch.manual_seed(seed)
    net = build(options, changes)
    macs = training_macs(net)
    numbers = dict(numbers)
    epochs = max(numbers.pop("passes", 1), -(-spend // (macs * TRAIN_IMAGES)))      # more where the images run out
    count = spend // (macs * epochs)
    train_iter = gu.Batches(data.train_images[:count], data.train_labels[:count], BATCH_SIZE, IMAGE_SIZE, True, device,
                            scale=gu.RECIPE["crop_scale"], seed=seed)

    def whole(start, stop):
        return gu.Batches(data.train_images[start:stop], data.train_labels[start:stop], 250, IMAGE_SIZE, False, device)

    loss, optimizer, schedule = gu.make_recipe(net, BATCH_SIZE, epochs * len(train_iter), **numbers)
    start, run = time.process_time(), {"seed": seed, "held_out_accuracy": None, "train_accuracy": None, "stopped": None}
    try:
        watched = whole(TRAIN_IMAGES, TRAIN_IMAGES + 500)                   # after every epoch; all of them at the end
        run["history"] = gu.train(net, train_iter, watched, loss, optimizer, device, epochs, schedule=schedule,
                                  progress=False)
        run["held_out_accuracy"] = gu.evaluate_accuracy(whole(TRAIN_IMAGES, TRAIN_IMAGES + HELD_OUT), net, device)
        run["train_accuracy"] = gu.evaluate_accuracy(whole(0, 1_000), net, device)      # with the weights at rest
    except RuntimeError as error:                                           # a loss that is not finite is a result too
        run["stopped"] = str(error)
    return {**run, "images": count, "epochs": epochs, "macs_per_image": macs, "parameters": gu.count_cost(net, 64)[0],
            "processor_seconds": time.process_time() - start, "machine": describe_machine(device)}


def settings_by_variant():
    """The full settings of every row."""
    return {text: {"options": options, "changes": changes, "recipe": numbers, "images": IMAGES,
                   "image_size": IMAGE_SIZE, "batch_size": BATCH_SIZE} for text, options, changes, numbers in VARIANTS}


def stored_runs(table):
    """The runs that are in the file, by variant; those of other settings are forgotten."""
    return {row["variant"]: row["runs"] for row in stored_rows("ablations")
            if row["settings"] == table.get(row["variant"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", default="", help="only the variants with these words")
    arguments = parser.parse_args()
    data, table = gu.load_images("cifar10"), settings_by_variant()
    device = find_device()
    for seed in arguments.seeds:
        for text, options, changes, numbers in VARIANTS:
            done = any(run["seed"] == seed for run in stored_runs(table).get(text, []))
            if done or arguments.only not in text:
                continue
            print(f"{text}, seed {seed}", flush=True)
            run = train_run(options, changes, numbers, seed, data, device)
            runs = stored_runs(table)                   # read again: another process may have written meanwhile
            runs[text] = sorted([*runs.get(text, []), run], key=lambda run: run["seed"])
            rows = [{"variant": variant, "settings": table[variant], "runs": runs[variant]}
                    for variant in table if variant in runs]
            write_result("ablations", {"data": data.name, "held_out": HELD_OUT, "rows": rows})


if __name__ == "__main__":
    main()
