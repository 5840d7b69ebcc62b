"""Do two versions of the module compute the same? Short trainings and batches of both, compared to the last bit.

For changes that should change no number, such as a new order of the code. Both versions run on this machine, in float32
on one thread, each in a process of its own: another machine's numbers may differ in their last bits. One line a
comparison; the exit code is 1 where one differs.

usage: python tools/golden_runs.py OLD_MODULE [NEW_MODULE]          (by default googlenet_utils.py is the new one)
"""
import contextlib
import hashlib
import importlib.util
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent


def load_module(path):
    spec = importlib.util.spec_from_file_location("googlenet_utils", path)
    module = sys.modules["googlenet_utils"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def checksum(tensors):
    return hashlib.sha256(b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors)).hexdigest()


def small_network(gu):
    """What GoogLeNet is made of, in small; dropout shows whether anything else draws from PyTorch's random numbers."""
    return gu.initialize(nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), gu.Inception(16, 8, (8, 12), (4, 8), 4, batch_norm=True),
        nn.MaxPool2d(2), gu.Inception(32, 16, (12, 24), (4, 12), 12, batch_norm=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 10)))


def run(gu, *, network=small_network, count=91, image_size=32, learning_rate=0.05, one_cycle=False, max_norm=None,
        **shared):
    """Two epochs: the history, and a checksum of the weights in the end. The last batch does not split evenly."""
    torch.manual_seed(0)
    net = nn.parallel.DistributedDataParallel(network(gu)) if shared else network(gu)
    train_iter = gu.Batches(*gu.make_shapes(count, seed=5), 16, image_size, True, seed=3, **shared)
    val_iter = gu.Batches(*gu.make_shapes(45, seed=6), 16, image_size, False, **shared)
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=2 * len(train_iter)) if one_cycle else None
    with contextlib.redirect_stdout(io.StringIO()):
        history = gu.train(net, train_iter, val_iter, nn.CrossEntropyLoss(), optimizer, "cpu", 2, schedule=schedule,
                           max_norm=max_norm, precision="float32", progress=False)
    return {"loss": history["loss"], "train_acc": history["train_acc"],
            "val_acc": history["val_acc" if "val_acc" in history else "test_acc"],      # its name in version 0.1.0
            "weights": checksum(net.state_dict().values())}


def epochs_of_batches(gu, train, **shared):
    """Checksums of all images and all labels of three epochs; each finished pass moves on to the next epoch."""
    batches = gu.Batches(*gu.make_shapes(75, seed=7), 16, [24, 32], train, seed=4, **shared)
    passes = [list(batches) for _ in range(3)]
    return {f"{name} of epoch {epoch}": checksum(batch[index] for batch in passes[epoch])
            for epoch in range(3) for index, name in enumerate(("images", "labels"))}


def in_process(path, rank, meeting):
    """One of two processes that train together over the loopback interface."""
    torch.set_num_threads(1)
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    return run(load_module(path), rank=rank, world_size=2)


def everything(path):
    """All results of one version of the module: a dict of dicts."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, multiprocessing.get_context("spawn").Pool(2) as pool:
        meeting = (Path(name) / "meeting").as_uri()
        shared = pool.starmap(in_process, [(path, rank, meeting) for rank in range(2)], chunksize=1)
        pool.close()
        pool.join()
    gu = load_module(path)
    return {
        "plain": run(gu),
        "OneCycleLR and gradients of at most 0.5": run(gu, one_cycle=True, max_norm=0.5),
        "GoogLeNet with auxiliary heads": run(gu, network=lambda gu: gu.GoogLeNet(num_classes=10, aux=True), count=32,
                                              learning_rate=0.001),
        "sizes by epoch": run(gu, image_size=[32, 48]),
        **{f"two processes, rank {rank}": result for rank, result in enumerate(shared)},
        "batches for training": epochs_of_batches(gu, True),
        **{f"batches for training, rank {rank} of two": epochs_of_batches(gu, True, rank=rank, world_size=2)
           for rank in range(2)},
        "batches for evaluation": epochs_of_batches(gu, False),
    }


def results_of(path):
    command = [sys.executable, __file__, "--results-of", str(Path(path).resolve())]
    child = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return json.loads(child.stdout)


def main(paths):
    old, new = map(results_of, (*paths, ROOT / "googlenet_utils.py")[:2])
    different = 0
    for name, one in old.items():
        gaps = [f"{part}: {value} became {new[name][part]}" for part, value in one.items() if new[name][part] != value]
        different += bool(gaps)
        print(f"{name}: {'; '.join(gaps) or 'equal'}")
    return 1 if different else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--results-of"]:
        print(json.dumps(everything(sys.argv[2])))
    else:
        sys.exit(main(sys.argv[1:]) if sys.argv[1:] else __doc__)
