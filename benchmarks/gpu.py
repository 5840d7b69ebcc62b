"""Measure what the tables lack of a GPU, what is worth most first, in the time that the GPU is rented for.

    speed       the article's loop, ours and the ceiling at 224, 96 and 32 pixels (training_speed.py)
    best        our best recipe (comparisons.BEST) for as many epochs as ten minutes allow, and its weights
    gpu, cpu    the profiles of these names (train_cifar10.py)
    scaling     one process and several, where there are several GPUs (scaling.py)

Each row is written as soon as it is measured. Nothing is begun that cannot end in the time left; a second call measures
what is missing, and goes on with a run that was killed, whose checkpoint is in --work. The files in --out begin as
copies of benchmarks/results/ and can take their place. No network is needed, and of the lock only torch, torchvision,
numpy, tqdm, filelock and safetensors. --rehearsal: the same with a few shapes, in seconds, on any machine.

usage: python benchmarks/gpu.py [--minutes 60] [--only speed best gpu cpu scaling] [--data DIR] [--out DIR] [--work DIR]
"""
import shutil
import time
from collections import Counter
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
LIMIT = 600                             # seconds for the best recipe
SPEED, LAUNCH = 150, 40                 # seconds that a row of training_speed.json and a process of scaling.py may take
TURNS, TRIAL = 3, 50                    # turns of each loop; steps by which a training's time is estimated
SCRIPT = "python benchmarks/"


class Rental:
    """The time that is left, and what was not measured in it."""

    def __init__(self, minutes):
        self.end, self.missing = time.monotonic() + 60 * minutes, []

    def left(self):
        return self.end - time.monotonic()

    def measure(self, name, command, seconds, work, *arguments):
        """Do the work if it can end in the time left; a failure does not stop what comes after it."""
        if seconds > self.left():
            self.missing.append(f"{name}: takes about {seconds / 60:.0f} minutes: {SCRIPT}{command}")
            return
        print(f"{name}: about {seconds / 60:.1f} of the {self.left() / 60:.1f} minutes left", flush=True)
        try:
            work(*arguments)
        except (RuntimeError, CalledProcessError) as error:
            self.missing.append(f"{name}: failed ({str(error).splitlines()[0]}): {SCRIPT}{command}")


def measure_speed(rental, device, rehearsal):
    precision, hardware = gu.choose_precision(device), experiment.describe_machine(device)["hardware"]
    done = {training_speed.key(row) for row in experiment.stored_rows("training_speed")
            if "article_autocast" in row["images_per_second"] or row["precision"] == "float32"}
    sizes = {32: 4} if rehearsal else training_speed.BATCH
    with training_speed.own_processes() as take:
        for size, batch_size in sizes.items():
            if (hardware, precision, -size) not in done:
                how = (1, 1, device, training_speed.seconds_of) if rehearsal else (
                    TURNS, training_speed.STEPS["cuda"][size], device, take)
                rental.measure(f"speed at {size} px", f"training_speed.py --sizes {size}", SPEED,
                               training_speed.measure, size, batch_size, *how)


def expected_seconds(settings, data, device, steps):
    """How long a training takes, by a few steps at each of its sizes; a quarter more for its evaluations."""
    batch_size = settings["batch_size"]
    images, labels = (part[:batch_size * (training_speed.WARM_UP + steps)] for part in data.training)
    seconds = 0
    for size, epochs in Counter(settings["image_sizes"]).items():
        took = training_speed.seconds_of("ours", images, labels, batch_size, size, steps, device, **settings["network"])
        seconds += epochs * settings["images"] / batch_size * took / steps
    return 1.25 * seconds


def choose_best(rows, rental, data, device, steps):
    """The row with the most epochs that fit, or the one that was begun; and its seconds."""
    names = [name for name in rows if name.startswith("best")]
    for name in names:
        if begun(rows[name]):
            return name, 0
    one = expected_seconds({**rows[names[0]], "image_sizes": [32]}, data, device, steps)
    seconds = {name: one * len(rows[name]["image_sizes"]) for name in names}
    fitting = [name for name in names if seconds[name] < min(LIMIT, rental.left())]
    name = max(fitting, key=seconds.get, default=names[0])
    return name, seconds[name]


def begun(settings):
    """Whether a checkpoint of the run is there: it goes on, whatever time is left, and loses an epoch at most."""
    return any(experiment.CHECKPOINTS.glob(f"{experiment.fingerprint(settings, 0)}_*"))


def train(rows, name, data, out):
    for net, row in experiment.run_table("train_cifar10", rows, names=[name], label="profile", data=data):
        if row["stopped"]:
            raise RuntimeError(row["stopped"])
        print(f"{name}: test accuracy {row['test_accuracy']:.4f} after {row['seconds']:.0f} s", flush=True)
        if name.startswith("best"):
            write_weights(net, row, data, out / f"googlenet_{name}.safetensors")


def main():
    options = experiment.command_line(__doc__, {
        "--minutes": 60.0, "--only": list(PARTS), "--data": "",
        "--out": str(experiment.RESULTS), "--work": str(experiment.CHECKPOINTS), "--rehearsal": False})
    rental, device, out = Rental(options.minutes), gu.choose_device(), Path(options.out).resolve()
    if out.is_file() or options.minutes < 0 or not set(options.only) <= set(PARTS):
        raise SystemExit(f"--out has to be a folder, --minutes 0 or more, --only some of {', '.join(PARTS)}")
    rows = {name: experiment.complete(row) for name, row in comparisons.TABLES["train_cifar10"].items()}
    steps = TRIAL
    if options.rehearsal:
        if out == experiment.RESULTS:
            raise SystemExit("--rehearsal needs --out: its rows are no results")
        shapes, steps = gu.load_images("shapes"), 1
        data = replace(shapes, train_images=shapes.train_images[:40], train_labels=shapes.train_labels[:40],
                       test_images=shapes.test_images[:10], test_labels=shapes.test_labels[:10], validation_images=10)
        rows = {name: {**settings, "network": {**settings["network"], "width": 0.25}, "images": 30, "batch_size": 10,
                       "validation": [30, 40], "image_sizes": [32], "closing": None} for name, settings in rows.items()}
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
    done = {name for name, settings in rows.items() if (name, experiment.fingerprint(settings, 0)) in stored}
    if "speed" in options.only:
        measure_speed(rental, device, options.rehearsal)
    if "best" in options.only and not any(name.startswith("best") for name in done):
        name, seconds = choose_best(rows, rental, data, device, steps)
        rental.measure(name, "gpu.py --only best", seconds, train, rows, name, data, out)
    for short, name in (("gpu", "gpu"), ("cpu", "cpu on a GPU")):
        if short in options.only and name not in done:
            seconds = 0 if begun(rows[name]) else expected_seconds(rows[name], data, device, steps)
            rental.measure(f"profile {name}", f"gpu.py --only {short}", seconds, train, rows, name, data, out)
    if "scaling" in options.only and torch.cuda.device_count() < 2:
        rental.missing.append(f"scaling: needs two GPUs: {SCRIPT}gpu.py --only scaling")
    elif "scaling" in options.only and all(row["device"] != "cuda" for row in experiment.stored_rows("scaling")):
        rental.measure("scaling", "scaling.py", LAUNCH * TURNS * len(scaling.configurations()), scaling.measure, TURNS)
    print("\nnot measured:" if rental.missing else "\nall is measured", *rental.missing, sep="\n")


if __name__ == "__main__":
    main()
