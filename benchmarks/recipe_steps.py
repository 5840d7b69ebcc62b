"""From the article's recipe to ours, one change a row, at equal cost: writes results/recipe_steps.json, run by run.

Every run trains on CIFAR-10 for the same number of multiply-adds (three epochs of 48,000 images at 32 x 32 with the
article's first stage: about three minutes on two cores) and is compared on 2,000 held-out training images. The test
images are not read. Runs that are in the file already are not made again, so the script can be stopped and started.
Seconds are processor seconds, summed over the threads: what else the machine does changes them little.

usage: python benchmarks/recipe_steps.py [--seeds 0 1] [--only "words of a change"] [--precision float32]
"""
import argparse
import time

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from common import HELD_OUT, describe_machine, find_device, gu, stored_runs, write_result

TRAIN_IMAGES = 48_000
ARTICLE = {"initialization": "pytorch", "batch_norm": False, "learning_rate": 0.001, "nesterov": False,
           "one_cycle": False, "weight_decay": 0.0, "label_smoothing": 0.0, "crop_scale": [0.08, 1.0],
           "batch_size": 32, "sizes": [32, 32, 32]}
# In words, what changes, and whether it stays changed in the rows after it.
STEPS = [
    ("the article's recipe", {}, True),
    ("weights drawn for ReLUs (Kaiming)", {"initialization": "kaiming"}, True),
    ("batch norm", {"batch_norm": True}, True),
    ("learning rate up to 0.1 and down, Nesterov, batches of 128",
     {"learning_rate": 0.1, "one_cycle": True, "nesterov": True, "batch_size": 128}, True),
    ("weight decay 0.0005", {"weight_decay": 5e-4}, True),
    ("crops of 80 to 100 % instead of 8 to 100 %", {"crop_scale": [0.8, 1.0]}, True),
    ("label smoothing 0.1", {"label_smoothing": 0.1}, False),
    ("batches of 64, learning rate 0.05", {"batch_size": 64, "learning_rate": 0.05}, False),
    ("pictures that grow: 32, 32, 48 pixels", {"sizes": [32, 32, 48]}, False),
    ("the mean of the image's and its mirror image's scores", {"mirrored": True}, False),
    ("the running mean of the weights instead of the last ones", {"averaged": True}, False),
    ("the first stage for small images, one epoch", {"small_images": True, "sizes": [32]}, False),
    ("gradients of at most 5, longer ones shortened", {"max_norm": 5.0}, True),
]


class Mirrored(nn.Module):
    """`net`, asked twice: the mean of its scores for the image and for its mirror image."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return (self.net(x) + self.net(x.flip(3))) / 2


def keep_running_mean(net, optimizer):
    """A copy of `net` whose weights are a running mean of its weights, over about the last hundred steps."""
    averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
    optimizer.register_step_post_hook(lambda *_: averaged.update_parameters(net))
    return averaged


def settings_by_change():
    """The full settings of every row."""
    kept, rows = dict(ARTICLE), {}
    for text, change, stays in STEPS:
        rows[text] = {**kept, **change}
        kept = rows[text] if stays else kept
    return rows


def macs_of_an_image(net, sizes):
    """Multiply-adds of one image through all epochs, one of each size."""
    return sum(gu.count_cost(net, size).macs for size in sizes)


def build_run(settings, seed, data, device):
    """Network, batches to train on and to watch, loss, optimizer and schedule of a run that spends the row's
    multiply-adds."""
    sizes = settings["sizes"]
    spend = 3 * TRAIN_IMAGES * gu.count_cost(gu.GoogLeNet(num_classes=10), 32).macs
    torch.manual_seed(seed)
    net = gu.GoogLeNet(num_classes=10, batch_norm=settings["batch_norm"], initialization=settings["initialization"],
                       small_images=settings.get("small_images", False))
    count = min(TRAIN_IMAGES, spend // macs_of_an_image(net, sizes))
    train_iter = gu.Batches(data.train_images[:count], data.train_labels[:count], settings["batch_size"], sizes, True,
                            device, scale=settings["crop_scale"], seed=seed)
    held_out = slice(TRAIN_IMAGES, TRAIN_IMAGES + HELD_OUT)
    held_out_iter = gu.Batches(data.train_images[held_out], data.train_labels[held_out], 250, sizes[-1], False, device)
    matrices = [p for p in net.parameters() if p.dim() > 1]
    vectors = [p for p in net.parameters() if p.dim() <= 1]
    optimizer = torch.optim.SGD(
        [{"params": matrices, "weight_decay": settings["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}],
        lr=settings["learning_rate"], momentum=0.9, nesterov=settings["nesterov"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings["learning_rate"], total_steps=len(sizes) * len(train_iter),
        cycle_momentum=False) if settings["one_cycle"] else None
    loss = nn.CrossEntropyLoss(label_smoothing=settings["label_smoothing"])
    return net, train_iter, held_out_iter, loss, optimizer, schedule


def train_run(settings, seed, data, device, precision):
    """One run of a row; returns what it reached and what it took."""
    net, train_iter, held_out_iter, loss, optimizer, schedule = build_run(settings, seed, data, device)
    averaged = keep_running_mean(net, optimizer) if settings.get("averaged") else None
    start = time.process_time()
    history = gu.train(net, train_iter, held_out_iter, loss, optimizer, device, len(settings["sizes"]),
                       schedule=schedule, max_norm=settings.get("max_norm"), precision=precision, progress=False)
    judged, accuracy = Mirrored(net) if settings.get("mirrored") else averaged, history["test_acc"][-1]
    if judged is not None:
        accuracy = gu.evaluate_accuracy(held_out_iter, judged, device, precision=precision)
    seconds, count = time.process_time() - start, len(train_iter.labels)
    return {"seed": seed, "held_out_accuracy": accuracy, "images": count,
            "macs": count * macs_of_an_image(net, settings["sizes"]), "processor_seconds": seconds, "history": history,
            "precision": precision, "machine": describe_machine(device)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", default="", help="only the changes with these words")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "float16"), help="the machine's, by default")
    options = parser.parse_args()
    data, table = gu.load_images("cifar10"), settings_by_change()
    device = find_device()
    precision = options.precision or gu.choose_precision(device)
    for seed in options.seeds:
        for text, settings in table.items():
            runs = stored_runs("recipe_steps", "change", table).get(text, [])
            done = any((run["precision"], run["seed"]) == (precision, seed) for run in runs)
            if done or options.only not in text:
                continue
            print(f"{text}, seed {seed}, {precision}", flush=True)
            run = train_run(settings, seed, data, device, precision)
            # Read again: another process may have written meanwhile.
            runs = stored_runs("recipe_steps", "change", table)
            runs[text] = sorted([*runs.get(text, []), run], key=lambda run: (run["precision"], run["seed"]))
            rows = [{"change": change, "kept": stays, "settings": table[change], "runs": runs[change]}
                    for change, _, stays in STEPS if change in runs]
            write_result("recipe_steps", {"data": data.name, "held_out": HELD_OUT, "rows": rows})


if __name__ == "__main__":
    main()
