"""What every benchmark shares: the module's path, the machine's description, the result file."""
import datetime
import json
import platform
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HELD_OUT = 2_000            # training images, the last ones, which are watched and chosen by
sys.path.insert(0, str(HERE.parent))        # googlenet_utils.py stands one folder up

import torch  # noqa: E402
import torchvision  # noqa: E402

import googlenet_utils as gu  # noqa: E402


def describe_machine(device="cpu"):
    """Hardware and versions that a figure depends on, without anything that names one computer."""
    device = torch.device(device)
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{_processor()}, threads: {torch.get_num_threads()}"
    return {"hardware": hardware, "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__,
            "googlenet_utils": gu.__version__, "date": datetime.date.today().isoformat()}


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):        # not Linux, or a processor that does not tell
        return platform.processor() or platform.machine()


def find_device():
    """The accelerator of this machine, or its CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def join_processes():
    """The Accelerator of this process: of a single one, or of one among those that torchrun started."""
    from accelerate import Accelerator  # takes seconds, and few benchmarks need it

    return Accelerator(cpu=find_device().type == "cpu")         # untold, each process on a CPU would be alone


def stored_rows(name):
    """The rows that benchmarks/results/NAME.json holds so far: none where nothing was measured yet."""
    path = HERE / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []


def stored_runs(name, label, table):
    """The runs in benchmarks/results/NAME.json by their row's `label`; rows whose settings are not `table`'s are
    forgotten."""
    return {row[label]: row["runs"] for row in stored_rows(name) if row["settings"] == table.get(row[label])}


def write_result(name, result):
    """Write benchmarks/results/NAME.json, which README's and the notebooks' tables are printed from."""
    path = HERE / "results" / f"{name}.json"
    gu._write_whole(path, (json.dumps(result, indent=1) + "\n").encode())
    print(f"written: benchmarks/results/{path.name}")
