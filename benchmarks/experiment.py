"""One runner for every training that a table shows: `run` gives a result, a table is a dict of rows.

A row's settings are complete: what it does not name comes from DEFAULTS. Their fingerprint, with seed and precision,
marks the result, so that runs of a changed recipe never pool with old ones. Results that are in the file are not made
again, and several processes may share a table: each run has a lock, and so has the file. A run that was killed goes on
from its checkpoint. CPU seconds are summed over the threads: what else the machine does changes them little.

usage: python benchmarks/experiment.py TABLE [--only words of names ...] [--seeds 0 1] [--precision float32]
"""
import argparse
import contextlib
import datetime
import hashlib
import itertools
import json
import os
import platform
import re
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

# Rows, and what unfinished runs keep, with the locks: gpu.py has both elsewhere.
RESULTS, CHECKPOINTS = (Path(os.environ.get(f"GOOGLENET_{name.upper()}", HERE / name)).expanduser().resolve()
                        for name in ("results", "checkpoints"))

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
    "crop_scale": [0.8, 1.0], "crop_ratio": [3 / 4, 4 / 3], "padding": 0,      # random crops, as gu.Batches takes them
    "label_smoothing": 0.0,
    "max_norm": None,                       # gradient clipping
    "ema": None,                            # the decay of an exponential moving average of the weights, which is judged
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
    assert settings.keys() <= DEFAULTS.keys(), f"no such setting: {settings.keys() - DEFAULTS.keys()}"
    settings = {**DEFAULTS, **settings}
    return {**settings, "precision": gu.choose_precision(gu.choose_device(), precision or settings["precision"])}


def fingerprint(settings, seed):
    """A word for exactly these settings: any other number gives another word."""
    return hashlib.sha256(json.dumps({**settings, "seed": seed}, sort_keys=True).encode()).hexdigest()[:16]


def run(settings, seed, data, checkpoint):
    """Train one network by complete `settings`; returns the network, and its row of a result file. checkpoint: the file
    that keeps the run until its row is written."""
    device, sizes = join_processes(), settings["image_sizes"]
    torch.manual_seed(seed)
    net = networks.build(settings["network"], sizes[-1])
    macs = sum(networks.training_macs(net, size) for size in sizes)
    count = min(settings["images"], settings["spend"] // macs if settings["spend"] else settings["images"])
    row = {"seed": seed, "data": data.name, "image_sizes": sizes, "epochs": len(sizes), "images": count,
           "macs": count * macs, "parameters": gu.count_cost(net, sizes[-1]).parameters, "stopped": None}
    start, alone = time.process_time(), not checkpoint.exists() and gu._processes()[1] == 1
    net, history = share(net, device), {}
    try:
        history, judged = train(net, settings, seed, data, count, checkpoint)
        row |= judge(judged, settings, data, sizes[-1])
    except RuntimeError as error:
        if "not finite" not in str(error):                  # that is a result too
            raise
        row |= {"stopped": str(error), "val_accuracy": None}
    # Those of a first part, and of other processes, are not known here.
    cpu_seconds = time.process_time() - start if alone else None
    return net, {**row, "seconds": sum(history.get("seconds", [])), "cpu_seconds": cpu_seconds,
                 "precision": settings["precision"], "history": history, "processes": gu._processes()[1],
                 "settings": settings, "fingerprint": fingerprint(settings, seed), "machine": describe_machine(device)}


def train(net, settings, seed, data, count, checkpoint):
    """Train on `count` images; returns `gu.train`'s history and the network to judge."""
    device, sizes, judged, chosen = next(net.parameters()).device, settings["image_sizes"], net, slice(count)
    if settings["random_images"]:
        chosen = torch.randperm(settings["images"], generator=torch.Generator().manual_seed(seed))[:count]
    train_iter = gu.Batches(data.train_images[chosen], data.train_labels[chosen], settings["batch_size"], sizes, True,
                            device, scale=settings["crop_scale"], ratio=settings["crop_ratio"],
                            padding=settings["padding"], seed=seed)
    low, high = settings["validation"]
    few = slice(low, low + (settings["watched"] or high - low))
    # Weights decay and biases do not, as in the recipe, whose learning rate is that of batches of 128.
    loss, optimizer, schedule = gu.make_recipe(net, 128, len(sizes) * len(train_iter), **{
        name: settings[name] for name in ("learning_rate", "momentum", "weight_decay", "label_smoothing")})
    for group in optimizer.param_groups:
        group["nesterov"] = settings["nesterov"]
        if not settings["one_cycle"]:
            group["lr"] = settings["learning_rate"]         # which the schedule had lowered, to begin with
    if settings["ema"]:
        judged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(settings["ema"]), use_buffers=True)
        optimizer.register_step_post_hook(lambda *_: judged.update_parameters(net))
    history = gu.train(net, train_iter, view(data.train_images, data.train_labels, few, sizes[-1], device), loss,
                       optimizer, device, len(sizes), schedule=schedule if settings["one_cycle"] else None,
                       max_norm=settings["max_norm"], precision=settings["precision"], progress=False,
                       checkpoint=None if settings["ema"] else checkpoint)
    if len(history["loss"]) < len(sizes):
        raise SystemExit("stopped by hand: started again, it goes on")
    return history, judged


def view(images, labels, chosen, size, device):
    """Batches to evaluate on."""
    return gu.Batches(images[chosen], labels[chosen], 250, size, False, device)


def judge(net, settings, data, size):
    """The accuracies, also with the horizontal flip, on validation images and, where asked for, on test images."""
    splits = {"val": (data.train_images, data.train_labels, slice(*settings["validation"])),
              "train": (data.train_images, data.train_labels, slice(1_000))}
    if settings["test"]:
        splits["test"] = data.test_images, data.test_labels, slice(None)
    device = next(net.parameters()).device
    return {f"{split}_accuracy{flip}": gu.evaluate_accuracy(view(*images, size, device), judged, device,
                                                            precision=settings["precision"])
            for split, images in splits.items() for flip, judged in (("", net), ("_flip", Flipped(net)))}


def run_table(table, rows, *, seeds=(0,), names=None, precision=None, label="change", data=None):
    """Make the runs that results/TABLE.json lacks of `rows`, {name: settings}, or of those with `names`, but for those
    that another process is making; a row stores its name under `label`. Yields each network with its row."""
    join_processes()
    data, first = data or gu.load_images("cifar10"), gu._processes()[0] == 0
    for seed, name in itertools.product(seeds, rows if names is None else names):
        settings = complete(rows[name], precision)
        word = fingerprint(settings, seed)
        lock = FileLock(CHECKPOINTS / f"{word}.lock", timeout=0)
        try:
            if not is_ours_to_make(lock, table, label, name, word):
                continue
            print(f"{table}: {name}, seed {seed}, {settings['precision']}", flush=True)
            net, row = run(settings, seed, data, CHECKPOINTS / word)
            row = {label: name, **row}
            yield net, row              # stored only when its reader is done: a row says that its weights are written
            if first:
                store(table, rows, row, label)
                (CHECKPOINTS / word).unlink(missing_ok=True)        # a moving average has none
        finally:
            lock.release()


def is_ours_to_make(lock, table, label, name, word):
    """Whether a run is not in its file yet, and no other command is making it, which the lock tells. Of torchrun's
    processes the first one looks, lest they train different rows."""
    answer = [False]
    if gu._processes()[0] == 0:
        with contextlib.suppress(Timeout):
            lock.acquire()
            answer = [all((row.get(label), row.get("fingerprint")) != (name, word) for row in stored_rows(table))]
    if gu._processes()[1] > 1:
        torch.distributed.broadcast_object_list(answer)
    return answer[0]


def store(table, rows, row, label):
    """Add a run to results/TABLE.json, which is read again under a lock: another process may have written meanwhile.
    Rows whose settings are not the table's any more go."""
    def stays(old):
        return (old["settings"] == complete(rows[old[label]], old["precision"])
                and (old[label], old["fingerprint"]) != (row[label], row["fingerprint"]))

    def place(one):
        return list(rows).index(one[label]), one["precision"], one["seed"]

    with FileLock(CHECKPOINTS / f"{table}.lock"):
        stored = [old for old in stored_rows(table) if old.get(label) in rows and stays(old)]
        write_result(table, {"rows": sorted([*stored, row], key=place)})


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
    device, known = torch.device(device), Path("/proc/cpuinfo")         # which only Linux has
    model = re.search(r"model name\s*: (.+)", known.read_text() if known.exists() else "")
    processor = model[1] if model else platform.processor() or platform.machine()
    return {"hardware": (torch.cuda.get_device_name(device) if device.type == "cuda"
                         else f"{processor}, threads: {torch.get_num_threads()}"),
            "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
            "torch": torch.__version__, "torchvision": torchvision.__version__, "googlenet_utils": gu.__version__,
            "date": datetime.date.today().isoformat()}


def join_processes():
    """The device to train on; where torchrun has started several processes, they meet here, and each has its own."""
    device = gu.choose_device()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    on_gpus = device.type == "cuda"
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpus else torch.device("cpu")
    if gu._processes()[1] == 1:
        if on_gpus:
            torch.cuda.set_device(device)
        torch.distributed.init_process_group("nccl" if on_gpus else "gloo")
    return device


def share(net, device):
    """The network on the device, and in a process group one whose gradients all processes average."""
    net = net.to(device, memory_format=torch.channels_last)             # which has to come before the wrapper
    return net if gu._processes()[1] == 1 else nn.parallel.DistributedDataParallel(net)


def command_line(description, arguments):
    """What the command line says. An argument stands beside its default; a list takes one value or more; of a tuple's
    texts one can be chosen, by default the first."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in arguments.items():
        if default is False:
            parser.add_argument(name, action="store_true")
        elif isinstance(default, list):
            parser.add_argument(name, type=type(default[0]), nargs="+", default=default)
        elif isinstance(default, tuple):
            parser.add_argument(name, choices=default, default=default[0])
        else:
            parser.add_argument(name, type=type(default), default=default)
    given = parser.parse_args()
    if getattr(given, "rehearsal", False) and "--out" not in arguments and RESULTS == HERE / "results":
        raise SystemExit("--rehearsal: GOOGLENET_RESULTS has to name another folder, since its rows are no results")
    return given


def main():
    import comparisons

    tables = tuple(name for name in comparisons.TABLES if name != "train_cifar10")       # which has its own script
    options = command_line(__doc__, {"table": tables, "--seeds": [0], "--only": [""],
                                     "--precision": ("", "float32", "bfloat16", "float16")})
    rows = comparisons.TABLES[options.table]
    names = [name for name in rows if any(word in name for word in options.only)]
    if not names:
        raise SystemExit(f"no row is named so: {options.table} has {', '.join(rows)}")
    for _, row in run_table(options.table, rows, seeds=options.seeds, names=names, precision=options.precision):
        print(f"validation accuracy {row['val_accuracy']}", flush=True)


if __name__ == "__main__":
    main()
