"""One runner for every training that a table shows: `run(settings, seed)` gives a result, a table is a dict of rows.

A row's settings are complete: what it does not name comes from DEFAULTS. Their fingerprint, with seed and precision,
marks the result, so that runs of a changed recipe never pool with old ones. Results that are in the file already are
not made again, and several processes may share a table: each run has a lock, and so has the file. A run keeps a
checkpoint until its result is written: killed and started again, it goes on. The test images are read once, at the end
of a run that asks for it. CPU seconds are summed over the threads: what else the machine does changes them little.

usage: python benchmarks/experiment.py TABLE [--only words ...] [--seeds 0 1] [--precision float32]
"""
import argparse
import contextlib
import datetime
import hashlib
import json
import os
import platform
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))        # googlenet_utils.py stands one folder up

import torch  # noqa: E402
import torchvision  # noqa: E402
from filelock import FileLock, Timeout  # noqa: E402
from torch import nn  # noqa: E402
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn  # noqa: E402

import googlenet_utils as gu  # noqa: E402
import networks  # noqa: E402

RESULTS = HERE / "results"
CHECKPOINTS = HERE / "checkpoints"          # ignored by git: what unfinished runs keep, and the locks

DEFAULTS = {
    "network": {"batch_norm": True},        # what networks.build takes
    "images": 48_000,                       # the first training images of CIFAR-10, or
    "random_images": False,                 # ... drawn from them, by the seed
    "spend": None,                          # multiply-adds in training, which decide how many of the images are used
    "validation": [48_000, 50_000],         # training images that the run is judged by
    "watched": None,                        # how many of them after every epoch; all of them at the end
    "image_sizes": [32],                    # a size for each epoch
    "batch_size": 128,
    "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4,      # SGD
    "one_cycle": True,                      # the learning rate rises for 30 % of the steps, and falls to nothing
    "closing": None,                        # a second cycle: {"image_sizes": [...], "learning_rate": ...}
    "crop_scale": [0.8, 1.0], "crop_ratio": [3 / 4, 4 / 3], "padding": 0,      # random crops, as gu.Batches takes them
    "label_smoothing": 0.0,
    "max_norm": None,                       # gradient clipping
    "clip_only": None,                      # ... in this one step, from 1 on
    "ema": None,                            # the decay of an exponential moving average of the weights, which is judged
    "watch": False,                         # keep the loss and the gradient norm of every step
    "test": False,                          # read the test images at the end
    "precision": "auto",
}


class Flipped(nn.Module):
    """Test-time augmentation: the mean of a network's logits for the image and for its horizontal flip."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return (self.net(x) + self.net(x.flip(3))) / 2


def complete(settings, precision=None):
    """All settings of a run on this machine."""
    unknown = settings.keys() - DEFAULTS.keys()
    assert not unknown, f"no such setting: {unknown}"
    settings = {**DEFAULTS, **settings}
    return {**settings, "precision": gu.choose_precision(gu.choose_device(), precision or settings["precision"])}


def fingerprint(settings, seed):
    """A word for exactly these settings: any other number gives another word."""
    return hashlib.sha256(json.dumps({**settings, "seed": seed}, sort_keys=True).encode()).hexdigest()[:16]


def run(settings, seed, data, checkpoint):
    """Train one network by complete `settings`; returns the row of a result file, and the network that was judged.

    checkpoint: the path, to which the number of the cycle is added, of what keeps the run until its row is written.
    """
    accelerator = join_processes()
    device, precision = accelerator.device if accelerator else gu.choose_device(), settings["precision"]
    cycles = [(settings["image_sizes"], settings["learning_rate"])]
    if settings["closing"]:
        cycles.append((settings["closing"]["image_sizes"], settings["closing"]["learning_rate"]))
    sizes = [size for cycle, _ in cycles for size in cycle]
    torch.manual_seed(seed)
    net = networks.build(settings["network"], sizes[-1])
    macs = sum(networks.training_macs(net, size) for size in sizes)
    parameters = gu.count_cost(net, sizes[-1]).parameters
    count = min(settings["images"], settings["spend"] // macs if settings["spend"] else settings["images"])
    chosen = slice(count)
    if settings["random_images"]:
        chosen = torch.randperm(settings["images"], generator=torch.Generator().manual_seed(seed))[:count]
    if accelerator:             # channels_last has to come before the wrapper
        net = accelerator.prepare(net.to(memory_format=torch.channels_last))

    def whole(images, labels, start=0, stop=None):
        return gu.Batches(images[start:stop], labels[start:stop], 250, sizes[-1], False, device)

    low, high = settings["validation"]
    watched = low + (settings["watched"] or high - low)
    history, losses, norms, averaged = {}, [], [], None
    start, result = time.process_time(), {"stopped": None}
    try:
        for number, (cycle, learning_rate) in enumerate(cycles, start=1):
            train_iter = gu.Batches(data.train_images[chosen], data.train_labels[chosen], settings["batch_size"], cycle,
                                    True, device, scale=settings["crop_scale"], ratio=settings["crop_ratio"],
                                    padding=settings["padding"], seed=seed)
            optimizer, schedule = build_optimizer(net, settings, learning_rate, len(cycle) * len(train_iter))
            if settings["ema"]:
                averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(settings["ema"]), use_buffers=True)
                optimizer.register_step_post_hook(lambda *_, net=net, ema=averaged: ema.update_parameters(net))

            def watch(step, loss, norm):
                losses.append(round(loss.item(), 4))
                norms.append(round(norm.item(), 3))

            def clip_one(*_):
                if len(norms) + 1 == settings["clip_only"]:
                    nn.utils.clip_grad_norm_(net.parameters(), gu.RECIPE.max_norm)

            optimizer.register_step_pre_hook(clip_one)
            part = gu.train(net, train_iter, whole(data.train_images, data.train_labels, low, watched),
                            nn.CrossEntropyLoss(label_smoothing=settings["label_smoothing"]), optimizer, device,
                            len(cycle), schedule=schedule, max_norm=settings["max_norm"], precision=precision,
                            checkpoint=None if settings["ema"] or settings["watch"] else f"{checkpoint}_{number}",
                            progress=False, on_step=watch if settings["watch"] else None)
            if len(part["loss"]) < len(cycle):
                raise SystemExit("stopped by hand: started again, it goes on")
            history = {name: [*history.get(name, []), *values] for name, values in part.items()}
        judged = averaged or net
        validation = whole(data.train_images, data.train_labels, low, high)
        splits = {"val": validation, "train": whole(data.train_images, data.train_labels, 0, 1_000)}
        if settings["test"]:
            splits["test"] = whole(data.test_images, data.test_labels)
        for split, batches in splits.items():
            result[f"{split}_accuracy"] = gu.evaluate_accuracy(batches, judged, device, precision=precision)
            if split != "train":
                result[f"{split}_accuracy_flip"] = gu.evaluate_accuracy(batches, Flipped(judged), device,
                                                                        precision=precision)
    except RuntimeError as error:
        if "not finite" not in str(error):                  # that is a result too
            raise
        result |= {"stopped": str(error), "val_accuracy": None}
    result |= {"losses": losses, "norms": norms} if settings["watch"] else {}
    return net, {**result, "seed": seed, "data": data.name, "image_sizes": sizes, "images": count, "macs": count * macs,
                 "parameters": parameters, "seconds": sum(history.get("seconds", [])),
                 "cpu_seconds": time.process_time() - start, "precision": precision, "history": history,
                 "processes": accelerator.num_processes if accelerator else 1, "settings": settings,
                 "fingerprint": fingerprint(settings, seed), "machine": describe_machine(device)}


def build_optimizer(net, settings, learning_rate, steps):
    """SGD that decays weights but no biases, and its schedule or None."""
    matrices = [p for p in net.parameters() if p.dim() > 1]
    vectors = [p for p in net.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": settings["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=learning_rate, momentum=settings["momentum"], nesterov=settings["nesterov"])
    if not settings["one_cycle"]:
        return optimizer, None
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps,
                                                          cycle_momentum=False)


def run_table(table, rows, *, seeds=(0,), only=("",), precision=None, label="change"):
    """Make the runs that results/TABLE.json lacks of `rows`, {name: settings}, one after the other; a row stores its
    name under `label`. Yields each new row with its network.

    Runs that another process is making are left to it. Rows whose settings are not the table's any more are dropped
    with the first new result.
    """
    data, first = gu.load_images("cifar10"), os.environ.get("RANK", "0") == "0"
    for seed in seeds:
        for name, settings in rows.items():
            settings = complete(settings, precision)
            word = fingerprint(settings, seed)
            if not any(words in name for words in only):
                continue
            lock = FileLock(CHECKPOINTS / f"{word}.lock", timeout=0) if first else contextlib.nullcontext()
            with contextlib.suppress(Timeout), lock:
                if any((row.get(label), row.get("fingerprint")) == (name, word) for row in stored_rows(table)):
                    continue
                print(f"{table}: {name}, seed {seed}, {settings['precision']}", flush=True)
                net, row = run(settings, seed, data, CHECKPOINTS / word)
                row = {label: name, **row}
                if first:
                    store(table, rows, row, label)
                    for path in CHECKPOINTS.glob(f"{word}_*"):
                        path.unlink()
                yield net, row


def store(table, rows, row, label):
    """Add a run to results/TABLE.json, which is read again under a lock: another process may have written meanwhile."""
    with FileLock(CHECKPOINTS / f"{table}.lock"):
        old = [one for one in stored_rows(table) if one.get(label) in rows and "fingerprint" in one
               and one["settings"] == complete(rows[one[label]], one["precision"])
               and (one[label], one["fingerprint"]) != (row[label], row["fingerprint"])]
        order = list(rows)
        write_result(table, {"rows": sorted([*old, row], key=lambda one: (
            order.index(one[label]), one["precision"], one["seed"]))})


def stored_rows(table):
    """The rows that results/TABLE.json holds so far: none where nothing was measured yet."""
    path = RESULTS / f"{table}.json"
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []


def write_result(name, result):
    """Write results/NAME.json whole; the documents' and the notebooks' tables are printed from it."""
    gu._write_whole(RESULTS / f"{name}.json", (json.dumps(result, indent=1) + "\n").encode())
    print(f"written: {name}.json", flush=True)


def describe_machine(device="cpu"):
    """Hardware and versions that a figure depends on, without anything that names one computer."""
    device = torch.device(device)
    hardware = (torch.cuda.get_device_name(device) if device.type == "cuda"
                else f"{processor()}, threads: {torch.get_num_threads()}")
    return {"hardware": hardware, "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__,
            "googlenet_utils": gu.__version__, "date": datetime.date.today().isoformat()}


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):        # not Linux, or a processor that does not tell
        return platform.processor() or platform.machine()


def join_processes():
    """Accelerate's Accelerator where torchrun has started several processes, otherwise None."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    from accelerate import Accelerator

    return Accelerator(cpu=gu.choose_device().type == "cpu")    # untold, each process on a CPU would be alone


def main():
    import comparisons

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=comparisons.TABLES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", default=[""], help="only rows whose name holds one of these words")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "float16"), help="the row's, by default")
    options = parser.parse_args()
    rows = comparisons.TABLES[options.table]
    for _, row in run_table(options.table, rows, seeds=options.seeds, only=options.only, precision=options.precision):
        print(f"validation accuracy {row['val_accuracy']}, {row['cpu_seconds'] / 60:.1f} CPU minutes", flush=True)


if __name__ == "__main__":
    main()
