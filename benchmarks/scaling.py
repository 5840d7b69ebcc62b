"""Images a second with one process and with several: writes results/scaling.json.

GoogLeNet with batch norm, 32 x 32, our loop as training_speed.py times it, in turns, several times; the medians count.
On a CPU as many processes as cores, one thread each, against one process with one thread and with all of them; on GPUs
one process for each. The batch of 128 is divided; on GPUs there is also a row in which each process gets 128. The
efficiency is images/s over those of the first row, divided by the cores or GPUs that were used.

usage: python benchmarks/scaling.py [--turns 5] [--missing] [--rehearsal]
"""
import json
import os
import statistics
import subprocess
import sys

import torch

from experiment import command_line, describe_machine, gu, join_processes, stored_rows, write_result
from training_speed import WARM_UP, seconds_of

BATCH, SIZE = 128, 32
STEPS = {"cpu": 12, "cuda": 300}


def configurations():
    """Processes, threads of each, images in a batch (of all processes): what this machine can compare."""
    if torch.cuda.is_available():
        counts = range(1, torch.cuda.device_count() + 1)
        return [(count, 1, BATCH * each) for count in counts for each in sorted({1, count})]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [(1, 1, BATCH), (1, cores, BATCH), (cores, 1, BATCH)]


def work(batch_size):
    """What each process does under torchrun; the last line of the first has the images a second of all of them."""
    device = join_processes()
    steps = STEPS[device.type]
    shapes = gu.make_shapes(batch_size * (WARM_UP + steps), seed=0)
    rate = batch_size * steps / seconds_of("ours", *shapes, batch_size, SIZE, steps, device, batch_norm=True)
    if gu._processes()[0] == 0:
        print(json.dumps({"rate": rate, "precision": gu.choose_precision(device), "machine": describe_machine(device)}))


def launch(processes, threads, batch_size):
    """One measurement in fresh processes; returns what the first of them printed."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", __file__,
               f"--work={batch_size}"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def hardware_of(row):
    return row["machine"]["hardware"].split(", threads")[0]


def is_measured():
    """Whether the result file has rows of this machine."""
    here = {"machine": describe_machine(gu.choose_device())}
    return hardware_of(here) in map(hardware_of, stored_rows("scaling"))


def measure(turns):
    rows, device = [], gu.choose_device().type
    measured = [[launch(*each) for each in configurations()] for _ in range(turns)]
    for (processes, threads, batch_size), answers in zip(configurations(), zip(*measured, strict=True), strict=True):
        rates = [answer["rate"] for answer in answers]
        rate = statistics.median(rates)
        alone = rows[0]["images_per_second"] if rows else rate
        rows.append({"device": device, "processes": processes, "threads": threads, "batch_size": batch_size,
                     "images_per_second": rate, "all_turns": rates,
                     "efficiency": rate / alone / (processes * threads if device == "cpu" else processes),
                     "precision": answers[0]["precision"], "machine": answers[0]["machine"]})
        print(f"{processes} x {threads}, batch {batch_size}: {rate:.1f} images/s")
    others = [row for row in stored_rows("scaling") if hardware_of(row) != hardware_of(rows[0])]
    write_result("scaling", {"image_size": SIZE, "rows": [*others, *rows]})


if __name__ == "__main__":
    given = command_line(__doc__, {"--turns": 5, "--work": 0, "--missing": False, "--rehearsal": False})
    if given.work:
        work(given.work)
    elif not (given.missing and is_measured()):
        measure(1 if given.rehearsal else given.turns)
