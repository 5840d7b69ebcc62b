"""Images a second with one process and with several: writes results/scaling.json.

GoogLeNet with batch norm, 32 x 32, our loop (`gu.train` with `gu.Batches`), each number of processes in turns, several
times; the medians count. On a CPU as many processes as cores, one thread each, against one process with one thread and
with all of them; on GPUs one process for each. Two ways to grow: the batch of 128 stays and is divided, or each process
gets 128. The efficiency is images/s over those of the first row, divided by the cores or GPUs that were used.

usage: python benchmarks/scaling.py [--turns 5]
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

import torch

from experiment import describe_machine, gu, stored_rows, write_result

BATCH, SIZE = 128, 32
STEPS = {"cpu": 4, "cuda": 300}             # batches in an epoch; the second of two epochs is timed


def configurations():
    """Device, processes, threads of each, images in a batch (of all processes): what this machine can compare."""
    if torch.cuda.is_available():
        counts = range(1, torch.cuda.device_count() + 1)
        return [("cuda", count, 1, BATCH * each) for count in counts for each in sorted({1, count})]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [("cpu", 1, 1, BATCH), ("cpu", 1, cores, BATCH), ("cpu", cores, 1, BATCH), ("cpu", cores, 1, cores * BATCH)]


def work(batch_size):
    """What each process does under torchrun; rank 0's last line has the images a second of all of them."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=gu.choose_device().type == "cpu")     # untold, each on a CPU would be alone
    device, steps = accelerator.device, STEPS[accelerator.device.type]
    torch.manual_seed(0)
    net = accelerator.prepare(gu.GoogLeNet(num_classes=10, batch_norm=True).to(memory_format=torch.channels_last))
    images, labels = gu.make_shapes(batch_size * steps, seed=0)
    train_iter = gu.Batches(images, labels, batch_size, SIZE, True, device, scale=gu.RECIPE.crop_scale)
    few = gu.Batches(images[:2], labels[:2], 2, SIZE, False, device)
    loss, optimizer, schedule = gu.make_recipe(net, batch_size, 2 * steps)
    history = gu.train(net, train_iter, few, loss, optimizer, device, 2, schedule=schedule, progress=False)
    if accelerator.is_main_process:
        print(json.dumps({"images_per_second": len(images) / history["seconds"][-1],
                          "precision": gu.choose_precision(device), "machine": describe_machine(device)}))
    accelerator.end_training()


def launch(processes, threads, batch_size):
    """One measurement in fresh processes; returns what rank 0 printed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), __file__, "--work",
               str(batch_size)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    measured = {key: [] for key in configurations()}
    for _ in range(options.turns):
        for (_device, *numbers), answers in measured.items():
            answers.append(launch(*numbers))
    rows, alone = [], None
    for (device, processes, threads, batch_size), answers in measured.items():
        speeds = [answer["images_per_second"] for answer in answers]
        speed = statistics.median(speeds)
        alone = alone or speed
        rows.append({"device": device, "processes": processes, "threads": threads, "batch_size": batch_size,
                     "images_per_second": speed, "all_turns": speeds,
                     "efficiency": speed / alone / (processes * threads if device == "cpu" else processes),
                     "precision": answers[0]["precision"], "machine": answers[0]["machine"]})
        print(f"{device}, {processes} x {threads}, batch {batch_size}: {speed:.1f} images/s")
    others = [row for row in stored_rows("scaling") if row["device"] != rows[0]["device"]]
    write_result("scaling", {"image_size": SIZE, "rows": [*others, *rows]})


if __name__ == "__main__":
    main()
