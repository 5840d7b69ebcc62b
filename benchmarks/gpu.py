"""Measure what the tables lack of a GPU, what is worth most first, in the time that the GPU is rented for.

    speed       the article's loop, ours and the ceiling at 224, 96 and 32 pixels (training_speed.py)
    best        our best recipe (comparisons.BEST), and its weights
    gpu, cpu    the profiles of these names (train_cifar10.py)
    scaling     one process and several, where there are several GPUs (scaling.py)

Each row is written as soon as it is measured. When the time is over, the run that is under way stops; called again, the
script measures what is missing, and the run goes on from its checkpoint in --work. The files in --out begin as copies
of benchmarks/results/ and can take their place. No network is needed, and of the lock only torch, torchvision, numpy,
tqdm, filelock and safetensors. --rehearsal: the same with a few shapes, in seconds, on any machine.

usage: python benchmarks/gpu.py [--minutes 60] [--only speed best gpu cpu scaling] [--data DIR] [--out DIR] [--work DIR]
"""
import _thread
import functools
import itertools
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from subprocess import CalledProcessError

import torch

import comparisons
import experiment
import scaling
import training_speed
from experiment import gu
from train_cifar10 import write_weights

PARTS = ("speed", "best", "gpu", "cpu", "scaling")
TURNS = 3                               # of each loop


def speed_rows(device, rehearsal):
    """The rows of training_speed.json that this machine lacks, as (name, work): the loops keep their processes from one
    to the next."""
    precision, hardware = gu.choose_precision(device), experiment.describe_machine(device)["hardware"]
    done = {training_speed.key(row) for row in experiment.stored_rows("training_speed")
            if "article_autocast" in row["images_per_second"] or row["precision"] == "float32"}
    with training_speed.own_processes() as take:
        for size, batch_size in ({32: 4} if rehearsal else training_speed.BATCH).items():
            if (hardware, precision, -size) not in done:
                how = (1, 1, device, training_speed.seconds_of) if rehearsal else (
                    TURNS, training_speed.STEPS["cuda"][size], device, take)
                yield f"speed at {size} px", functools.partial(training_speed.measure, size, batch_size, *how)


def train(rows, name, data, out):
    for net, row in experiment.run_table("train_cifar10", rows, names=[name], label="profile", data=data):
        if row["stopped"]:
            raise RuntimeError(row["stopped"])
        print(f"{name}: test accuracy {row['test_accuracy']:.4f} after {row['seconds']:.0f} s", flush=True)
        if name == "best":
            write_weights(net, row, data, out / "googlenet_best.safetensors")


def main():
    options = experiment.command_line(__doc__, {
        "--minutes": 60.0, "--only": list(PARTS), "--data": "",
        "--out": str(experiment.RESULTS), "--work": str(experiment.CHECKPOINTS), "--rehearsal": False})
    end, device, out = time.monotonic() + 60 * options.minutes, gu.choose_device(), Path(options.out).resolve()
    if out.is_file() or options.minutes < 0 or not set(options.only) <= set(PARTS):
        raise SystemExit(f"--out has to be a folder, --minutes 0 or more, --only some of {', '.join(PARTS)}")
    rows = {name: experiment.complete(row) for name, row in comparisons.TABLES["train_cifar10"].items()}
    if options.rehearsal:
        if out == experiment.RESULTS:
            raise SystemExit("--rehearsal needs --out: its rows are no results")
        shapes = gu.load_images("shapes")
        data = replace(shapes, train_images=shapes.train_images[:40], train_labels=shapes.train_labels[:40],
                       test_images=shapes.test_images[:10], test_labels=shapes.test_labels[:10], validation_images=10)
        rows = {name: {**settings, "network": {**settings["network"], "width": 0.25}, "images": 30, "batch_size": 10,
                       "validation": [30, 40], "image_sizes": [32]} for name, settings in rows.items()}
    else:
        if device.type != "cuda":
            raise SystemExit("no NVIDIA GPU was found: --rehearsal tries the script without one")
        data = gu.load_images("cifar10", options.data or None)
        for name in ("training_speed", "train_cifar10", "scaling"):
            out.mkdir(parents=True, exist_ok=True)
            if not (out / f"{name}.json").exists():
                shutil.copy(experiment.RESULTS / f"{name}.json", out)
    experiment.RESULTS, experiment.CHECKPOINTS = out, Path(options.work)
    stored = {(row["profile"], row.get("fingerprint")) for row in experiment.stored_rows("train_cifar10")}
    speed, work = speed_rows(device, options.rehearsal) if "speed" in options.only else (), []
    for part, name in (("best", "best"), ("gpu", "gpu"), ("cpu", "cpu on a GPU")):
        if part in options.only and (name, experiment.fingerprint(rows[name], 0)) not in stored:
            work.append((f"profile {name}", functools.partial(train, rows, name, data, out)))
    missing = []
    if "scaling" in options.only and torch.cuda.device_count() < 2:
        missing.append("scaling: needs two GPUs")
    elif "scaling" in options.only and all(row["device"] != "cuda" for row in experiment.stored_rows("scaling")):
        work.append(("scaling", functools.partial(scaling.measure, TURNS)))
    missing = measure_all(itertools.chain(speed, work), end) + missing
    print("\nnot measured (python benchmarks/gpu.py goes on):" if missing else "\nall is measured", *missing, sep="\n")


def measure_all(work, end):
    """Do each piece of the work, until the time `end`; a failure does not stop what comes after it. Returns what is
    missing."""
    missing, under_way = [], threading.Event()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)      # a process in the background ignores it
    alarm = threading.Timer(max(0, end - time.monotonic()), lambda: under_way.is_set() and _thread.interrupt_main())
    alarm.daemon = True                                     # it does not keep a program that fails
    alarm.start()
    for name, piece in work:
        if time.monotonic() >= end:
            missing.append(f"{name}: no time was left")
            continue
        print(f"{name}: {(end - time.monotonic()) / 60:.1f} minutes are left", flush=True)
        try:
            under_way.set()
            piece()
        except (RuntimeError, CalledProcessError) as error:
            missing.append(f"{name}: failed ({str(error).splitlines()[0]})")
        except (KeyboardInterrupt, SystemExit):             # in a training, `train` has met the interrupt
            missing.append(f"{name}: the time was over")
            end = time.monotonic()
        finally:
            under_way.clear()
    alarm.cancel()
    signal.signal(signal.SIGINT, before)
    return missing


if __name__ == "__main__":
    main()
