"""GoogLeNet with one part changed, at equal cost, on the same images: writes results/ablations.json, run by run.

Every network passes once over the same 15,000 CIFAR-10 images, at 40 x 40 pixels: three minutes of one processor core.
Its blocks are made wider or narrower, all by the same factor, until an image costs as many multiply-adds in training as
it costs the unchanged network; so no variant wins because it is cheap and sees more images. (Two kinds of rows differ
on purpose: "half width" sees as many more images as it is cheaper, and "few images" passes ten times over a tenth.)
At 40 pixels the maps of stages 3, 4 and 5 have 5 x 5, 3 x 3 and 2 x 2 pixels: all 25 taps of a 5x5 kernel can learn in
stages 3 and 4, and only 9 in stage 5. The same seed means the same crops in the same order. Every run is judged on the
last 10,000 training images, which no variant trains on: with the usual 2,000, the luck of which images these are would
hide a difference of two points. The test images are not read. Runs that are in the file already are not made again, so
the script can be stopped and started, and two processes can share the work (--seeds, --only). All runs compute in
float32, whatever the machine could do, so that they can be compared. Seconds are processor seconds, summed over the
threads.

usage: python benchmarks/ablations.py [--seeds 0 1 2] [--only "a variant" ...]
"""
import argparse
import copy
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from common import describe_machine, find_device, gu, stored_runs, write_result

RESULT, TRAIN_IMAGES, HELD_OUT = "ablations", 40_000, 10_000
IMAGES, IMAGE_SIZE, BATCH_SIZE = 15_000, 40, 64
PRECISION = "float32"
LAST_SIDE = 2               # pixels a side of the last map, for images of this size
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
    ("half width", {}, {"width": 0.5, "stem_width": 0.5}, {}),
    ("one 3x3 convolution for each block", {}, {"plain": True}, {}),
    # Ten passes over a tenth of the images: only these runs can learn images by heart.
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


def build_block(in_channels, c1, c2, c3, c4, *, without=None, path3="5x5", reductions=True, plain=False,
                batch_norm=True):
    """The block with these channels and one part changed (plain: one 3x3 convolution), and its number of outputs."""
    if plain:
        channels = c1 + c2[1] + c3[1] + c4
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


def rebuild(net, *, width=1.0, stem_width=1.0, head=None, **changes):
    """Put blocks of `width` times the channels, changed as `build_block` says, into `net`; all weights are fresh."""
    def wide(channels, width=width):
        return tuple(wide(c) for c in channels) if isinstance(channels, tuple) else max(1, int(width * channels))

    batch_norm = any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())
    first, channels = wide(64, stem_width), wide(192, stem_width)
    net.stage1[0] = gu.convolution(3, first, kernel_size=7, stride=2, padding=3, batch_norm=batch_norm)
    net.stage2[0] = gu.convolution(first, first, kernel_size=1, batch_norm=batch_norm)
    net.stage2[2] = gu.convolution(first, channels, kernel_size=3, padding=1, batch_norm=batch_norm)
    filters, outputs = iter([row for row in gu.TABLE_1 if row.filters]), {}
    for stage in (net.stage3, net.stage4, net.stage5):
        for index, layer in enumerate(stage):
            if isinstance(layer, gu.Inception):
                row = next(filters)
                stage[index], channels = build_block(channels, *wide(row.filters), **changes, batch_norm=batch_norm)
                outputs[row.name] = channels
    if net.aux:
        net.aux1 = gu.AuxiliaryHead(outputs["4a"], net.fc.out_features, batch_norm=batch_norm)
        net.aux2 = gu.AuxiliaryHead(outputs["4d"], net.fc.out_features, batch_norm=batch_norm)
    if head == "fully connected":
        net.stage5 = nn.Sequential(*net.stage5[:2], nn.Flatten(), nn.Linear(channels * LAST_SIDE**2, 1024), nn.ReLU())
        channels = 1024
    net.fc = nn.Linear(channels, net.fc.out_features)
    return gu.initialize(net)


def build(options, changes, num_classes=10):
    """A fresh network of a row of VARIANTS, and how wide its blocks are."""
    def attempt(width):
        net = gu.GoogLeNet(num_classes=num_classes, **{"batch_norm": True, **options})
        return rebuild(net, **{"width": width, **changes}) if changes or net.aux else net

    if "width" in changes or not (changes or options.get("aux")):
        return attempt(1.0), changes.get("width", 1.0)
    low, high = 0.2, 3.0
    with torch.device("meta"):                              # shapes only: no data, no random numbers
        target = training_macs(gu.GoogLeNet(num_classes=num_classes, batch_norm=True))
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (middle, high) if training_macs(attempt(middle)) <= target else (low, middle)
    return attempt(low), low


def training_macs(net):
    """Multiply-adds of one image's forward pass in train mode, where the auxiliary heads compute too."""
    traced = copy.deepcopy(net).to("meta").train()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        traced(torch.empty(2, 3, IMAGE_SIZE, IMAGE_SIZE, device="meta"))
    return counter.get_total_flops() // 4                                   # two images, two FLOPs a MAC


def train_run(options, changes, numbers, seed, data, device):
    """One run of a row of VARIANTS; returns what it reached and what it took.

    numbers: other ones than RECIPE's, and "passes", over as many fewer images.
    """
    torch.manual_seed(seed)
    net, width = build(options, changes)
    macs, numbers, images = training_macs(net), dict(numbers), IMAGES
    if "stem_width" in changes:                                             # cheaper, and so it sees more images
        images = IMAGES * training_macs(build({}, {})[0]) // macs
    epochs = max(numbers.pop("passes", 1), -(-images // TRAIN_IMAGES))      # more passes where the images run out
    count = images // epochs
    train_iter = gu.Batches(data.train_images[:count], data.train_labels[:count], BATCH_SIZE, IMAGE_SIZE, True, device,
                            scale=gu.RECIPE["crop_scale"], seed=seed)

    def whole(start, stop):
        return gu.Batches(data.train_images[start:stop], data.train_labels[start:stop], 250, IMAGE_SIZE, False, device)

    loss, optimizer, schedule = gu.make_recipe(net, BATCH_SIZE, epochs * len(train_iter), **numbers)
    start, run = time.process_time(), {"seed": seed, "held_out_accuracy": None, "train_accuracy": None, "stopped": None}
    try:
        watched = whole(TRAIN_IMAGES, TRAIN_IMAGES + 500)                   # after every epoch; all of them at the end
        run["history"] = gu.train(net, train_iter, watched, loss, optimizer, device, epochs, schedule=schedule,
                                  precision=PRECISION, progress=False)
        run["held_out_accuracy"] = gu.evaluate_accuracy(whole(TRAIN_IMAGES, TRAIN_IMAGES + HELD_OUT), net, device,
                                                        precision=PRECISION)
        run["train_accuracy"] = gu.evaluate_accuracy(whole(0, 1_000), net, device,          # with the weights at rest
                                                     precision=PRECISION)
    except RuntimeError as error:                                           # a loss that is not finite is a result too
        run["stopped"] = str(error)
    return {**run, "images": count, "epochs": epochs, "macs_per_image": macs, "width": width,
            "parameters": gu.count_cost(net, IMAGE_SIZE).parameters,
            "processor_seconds": time.process_time() - start, "precision": PRECISION,
            "machine": describe_machine(device)}


def settings_by_variant():
    """The full settings of every row."""
    same = {"images": IMAGES, "image_size": IMAGE_SIZE, "batch_size": BATCH_SIZE, "equal": "multiply-adds an image"}
    return {text: {"options": options, "changes": changes, "recipe": numbers, **same}
            for text, options, changes, numbers in VARIANTS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    table = settings_by_variant()
    parser.add_argument("--only", nargs="+", choices=table, default=list(table), help="only these variants")
    arguments = parser.parse_args()
    data = gu.load_images("cifar10")
    device = find_device()
    for seed in arguments.seeds:
        for text, options, changes, numbers in VARIANTS:
            done = any(run["seed"] == seed for run in stored_runs(RESULT, "variant", table).get(text, []))
            if done or text not in arguments.only:
                continue
            print(f"{text}, seed {seed}", flush=True)
            run = train_run(options, changes, numbers, seed, data, device)
            # Read again: another process may have written meanwhile.
            runs = stored_runs(RESULT, "variant", table)
            runs[text] = sorted([*runs.get(text, []), run], key=lambda run: run["seed"])
            rows = [{"variant": variant, "settings": table[variant], "runs": runs[variant]}
                    for variant in table if variant in runs]
            write_result(RESULT, {"data": data.name, "held_out": HELD_OUT, "rows": rows})


if __name__ == "__main__":
    main()
