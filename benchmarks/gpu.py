"""Measure what the tables lack of a GPU, what is worth most first, in the time that the GPU is rented for.

    speed       the article's loop, ours and the ceiling at 224, 96 and 32 pixels
    best        our best recipe (comparisons.BEST), and its weights
    gpu, cpu    the profiles of these names
    scaling     one process and several, where there are several GPUs

Each is a command of this folder, which writes a row as soon as it is measured (scaling: all at its end). When the time
is over, the one that is under way is ended; called again, what is missing is measured, and a training goes on from its
checkpoint in --work. The files in --out begin as copies of benchmarks/results/ and can take their place, if nothing was
measured there meanwhile. No network is needed, and of the lock only torch, torchvision, numpy, tqdm, filelock and
safetensors. --rehearsal: all of it with a few shapes, in seconds, on any machine.

usage: python benchmarks/gpu.py [--minutes 60] [--only speed best ...] [--data DIR] [--out DIR] [--work DIR]
"""
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from experiment import CHECKPOINTS, HERE, RESULTS, command_line, gu

COMMANDS = {
    "speed": ("training_speed.py", "--missing", "--turns=3"),
    "best": ("train_cifar10.py", "--profile=best"),
    "gpu": ("train_cifar10.py", "--profile=gpu"),
    "cpu": ("train_cifar10.py", "--profile=cpu on a GPU"),
    "scaling": ("scaling.py", "--missing", "--turns=3"),
}


def run(script, *arguments, seconds, environment):
    """What went wrong with a command, in words, or None. When its time is over, it is ended with all its processes."""
    command = [sys.executable, str(HERE / script), *arguments]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        return f"failed (exit code {process.returncode})" if process.wait(seconds) else None
    except subprocess.TimeoutExpired:
        return "the time was over"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def main():
    options = command_line(__doc__, {"--minutes": 60.0, "--only": list(COMMANDS), "--data": "", "--out": str(RESULTS),
                                     "--work": str(CHECKPOINTS), "--rehearsal": False})
    end, out, missing = time.monotonic() + 60 * options.minutes, Path(options.out).expanduser().resolve(), []
    if out.is_file() or options.minutes < 0 or not set(options.only) <= set(COMMANDS):
        raise SystemExit(f"--out has to be a folder, --minutes 0 or more, --only some of {', '.join(COMMANDS)}")
    if options.rehearsal and out == RESULTS:
        raise SystemExit("--rehearsal needs --out: its rows are no results")
    if not options.rehearsal and gu.choose_device().type != "cuda":
        raise SystemExit("no NVIDIA GPU was found: --rehearsal tries the script without one")
    environment = {**os.environ, "GOOGLENET_RESULTS": str(out), "GOOGLENET_CHECKPOINTS": options.work}
    if options.data:
        environment["GOOGLENET_DATA_DIR"] = options.data
    out.mkdir(parents=True, exist_ok=True)
    for path in () if options.rehearsal else RESULTS.glob("*.json"):
        if not (out / path.name).exists():
            shutil.copy(path, out)
    for name in options.only:
        left = end - time.monotonic()
        if name == "scaling" and torch.cuda.device_count() < 2:
            wrong = "needs two GPUs"
        elif left <= 0:
            wrong = "no time was left"
        else:
            print(f"{name}: {left / 60:.1f} minutes are left", flush=True)
            wrong = run(*COMMANDS[name], *["--rehearsal"] * options.rehearsal, seconds=left, environment=environment)
        missing += [f"{name}: {wrong}"] if wrong else []
    print("\nnot measured (python benchmarks/gpu.py goes on):" if missing else "\nall is measured", *missing, sep="\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))    # not without `run`'s finally
    main()
