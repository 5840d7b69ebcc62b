"""Two and three real processes over the loopback interface: together they compute what one process computes."""
import datetime
import functools
import multiprocessing
import os
import platform
import sys
import time
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import googlenet_utils as gu

# A fork of pytest would inherit locks of threads that are not there any more. A fork server has not computed anything.
CLEAN = multiprocessing.get_context("spawn" if platform.system() == "Windows" else "forkserver")
if platform.system() != "Windows":
    CLEAN.set_forkserver_preload(["torch", "torchvision"])
LOOPBACK = {"Linux": "lo", "Darwin": "lo0"}


def in_process(work, rank, world_size, folder):
    """What each process does: meet the others, work, and leave what it returns, or its error, in the folder."""
    if platform.system() in LOOPBACK:
        os.environ["GLOO_SOCKET_IFNAME"] = LOOPBACK[platform.system()]
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=(folder / "meeting").as_uri(), rank=rank,
                                         world_size=world_size, timeout=datetime.timedelta(seconds=60))
    try:
        result = work(rank, world_size, folder)
    except Exception as error:
        result = f"{type(error).__name__}: {error}"
    torch.save(result, folder / f"result {rank}")


def start(work, world_size, folder):
    folder.mkdir()
    processes = [CLEAN.Process(target=in_process, args=(work, rank, world_size, folder)) for rank in range(world_size)]
    for process in processes:
        process.start()
    return processes


def finish(processes, folder, *, timeout=120):
    """Wait for the processes, and return what they left; one that was killed left nothing: None."""
    end = time.monotonic() + timeout
    for process in processes:
        process.join(max(0, end - time.monotonic()))
    late = [process for process in processes if process.is_alive()]
    for process in late:
        process.kill()
    assert not late, f"{len(late)} processes were still running after {timeout} s"
    files = [folder / f"result {rank}" for rank in range(len(processes))]
    return [torch.load(file, weights_only=False) if file.exists() else None for file in files]


def parts(count, batch_size, *, rank=0, world_size=1, batch_norm=False, layout=torch.channels_last):
    """A network and its batches, of one process or of one among several."""
    torch.manual_seed(rank)                                     # only the first one's weights may count
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8) if batch_norm else nn.Identity(), nn.ReLU(),
                        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)).to(memory_format=layout)
    images, labels = gu.make_shapes(count, seed=5)
    train_iter = gu.Batches(images, labels, batch_size, 32, True, seed=3, rank=rank, world_size=world_size)
    return DistributedDataParallel(net) if world_size > 1 else net, train_iter


def go(net, train_iter, epochs=1, *, learning_rate=1.0, **options):
    images, labels = gu.make_shapes(23, seed=6)                 # 10, 10 and 3: uneven for two and for three
    test_iter = gu.Batches(images, labels, 10, 32, False, rank=train_iter.rank, world_size=train_iter.world_size)
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate)
    return gu.train(net, train_iter, test_iter, nn.CrossEntropyLoss(), optimizer, "cpu", epochs, precision="float32",
                    progress=False, **options)


def bare_state(net):
    return {name.removeprefix("module."): value for name, value in net.state_dict().items()}


def share_the_work(rank, world_size, folder):
    shared = {"rank": rank, "world_size": world_size}
    result = {}
    # One step, learning rate 1, 7 images: what the weights lose is the gradient.
    net, train_iter = parts(7, 7, **shared)
    go(net, train_iter)
    result["after one step"] = bare_state(net)
    net, train_iter = parts(7, 7, layout=torch.contiguous_format, **shared)
    go(net, train_iter)
    result["after one step, in PyTorch's usual layout"] = bare_state(net)
    # Labels that number the images tell who saw which.
    images, _ = gu.make_shapes(47, seed=5)
    numbered = gu.Batches(images, torch.arange(47), 20, 32, True, seed=3, **shared)
    result["seen"] = [[y.tolist() for _, y in numbered] for _ in range(2)]
    whole = gu.Batches(images, torch.arange(47), 20, 32, False, **shared)
    result["evaluated"] = [y.tolist() for _, y in whole]
    # Three epochs, with a last batch of 7.
    net, train_iter = parts(47, 20, **shared)
    result["history"] = go(net, train_iter, 3, learning_rate=0.1)
    # Batch norm: only the first process's statistics count, in all of them.
    net, train_iter = parts(48, 16, batch_norm=True, **shared)
    go(net, train_iter, 2, learning_rate=0.1, checkpoint=folder / "kept")
    result["with batch norm"] = bare_state(net)
    for name, wrong in {"batches not shared": (net, parts(48, 16)[1]),
                        "network not shared": (parts(48, 16)[0], train_iter)}.items():
        try:
            go(*wrong)
        except ValueError as error:
            result[name] = str(error)
    return result


@functools.cache
def single():
    """What one process computes."""
    net, train_iter = parts(7, 7)
    go(net, train_iter)
    longer, longer_iter = parts(47, 20)
    return {"after one step": net.state_dict(), "before": parts(7, 7)[0].state_dict(),
            "history": go(longer, longer_iter, 3, learning_rate=0.1)}


@pytest.fixture(scope="module", params=[2, 3], ids=["two processes", "three processes"])
def shared(request, tmp_path_factory):
    """What each of the processes returned."""
    folder = tmp_path_factory.mktemp("processes") / "work"
    results = finish(start(share_the_work, request.param, folder), folder)
    assert all(isinstance(result, dict) for result in results), results
    return results, folder


@pytest.mark.parametrize("step", ["after one step", "after one step, in PyTorch's usual layout"])
def test_the_gradient_is_the_whole_batchs_even_where_it_does_not_split_evenly(shared, step):
    """Also of a network that was wrapped before `train` could have changed its layout, which misplaces the averages."""
    expected, before = single()["after one step"], single()["before"]
    for result in shared[0]:
        for name, value in result[step].items():
            gradient, whole = before[name] - value, before[name] - expected[name]
            assert whole.abs().max() > 1e-4, name                       # there is something to compare
            assert (gradient - whole).abs().max() < 1e-6, name


def test_each_image_is_seen_once_an_epoch_and_in_the_same_batches_as_by_one_process(shared):
    results, _ = shared
    numbered = gu.Batches(gu.make_shapes(47, seed=5)[0], torch.arange(47), 20, 32, True, seed=3)
    for epoch in range(2):
        alone = [y.tolist() for _, y in numbered]
        shares = zip(*(result["seen"][epoch] for result in results), strict=True)
        together = [sorted(chain(*share)) for share in shares]
        assert sorted(chain(*together)) == list(range(47))
        assert together == [sorted(batch) for batch in alone]


def test_evaluation_counts_every_image_once(shared):
    results, _ = shared
    assert sorted(number for result in results for batch in result["evaluated"] for number in batch) == list(range(47))


def test_the_history_is_that_of_one_process_in_all_of_them(shared):
    for result in shared[0]:
        for name in ("loss", "train_acc", "test_acc"):
            assert result["history"][name] == pytest.approx(single()["history"][name], abs=1e-5), name
            assert result["history"][name] == shared[0][0]["history"][name]


def test_all_end_with_the_same_weights_and_statistics(shared):
    first, *others = (result["with batch norm"] for result in shared[0])
    for other in others:
        for name, value in first.items():
            assert torch.equal(value, other[name]), name


def test_the_checkpoint_is_one_networks_without_the_wrapper(shared):
    """One process can go on with it, and finds the same weights."""
    results, folder = shared
    net, train_iter = parts(48, 16, batch_norm=True)
    history = go(net, train_iter, 2, learning_rate=0.1, checkpoint=folder / "kept")
    assert len(history["loss"]) == 2
    for name, value in net.state_dict().items():
        assert torch.equal(value, results[0]["with batch norm"][name]), name


def test_who_shares_only_one_of_network_and_batches_is_told(shared):
    results, _ = shared
    world_size = len(results)
    for result in results:
        assert f"the network is shared by {world_size} processes, but the batches by 1" in result["batches not shared"]
        assert f"the network is shared by 1 processes, but the batches by {world_size}" in result["network not shared"]


# One of them is lost

def train_for_long(rank, world_size, folder):
    net, train_iter = parts(48, 12, rank=rank, world_size=world_size)
    go(net, train_iter, 100_000, learning_rate=0.1, checkpoint=folder / "kept")


@pytest.mark.parametrize("lost", [0, 2])
def test_when_one_is_killed_the_others_stop_with_a_sentence_and_one_process_goes_on(lost, tmp_path):
    folder = tmp_path / "work"
    processes = start(train_for_long, 3, folder)
    end = time.monotonic() + 120
    while not (folder / "kept").exists():
        assert time.monotonic() < end and all(process.is_alive() for process in processes), "no epoch came to its end"
        time.sleep(0.05)
    time.sleep(0.5)
    processes[lost].kill()
    results = finish(processes, folder, timeout=30)
    assert results.pop(lost) is None
    for result in results:
        assert "another process of this run stopped" in result, result
        assert f"call train again with the checkpoint {folder / 'kept'} to go on" in result

    net, train_iter = parts(48, 12)
    done = len(go(net, train_iter, 0, learning_rate=0.1, checkpoint=folder / "kept")["loss"])
    assert done >= 1
    history = go(net, train_iter, done + 3, learning_rate=0.1, checkpoint=folder / "kept")
    undisturbed = go(*parts(48, 12), done + 3, learning_rate=0.1)
    assert history["loss"] == pytest.approx(undisturbed["loss"], rel=1e-3)


# Notebook 8

def test_where_notebook_8_cannot_fork_a_python_of_its_own_runs_each_process(tmp_path, monkeypatch):
    path = Path(__file__).parent.parent / "notebooks" / "08_many_gpus.ipynb"
    cells = {cell.id: cell.source for cell in nbformat.read(path, as_version=4).cells}
    imports = "from pathlib import Path\n\nimport torch\n\nimport googlenet_utils as gu\n"
    (tmp_path / "lesson.py").write_text("\n\n".join([imports, cells["each-process"], cells["start"]]), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import lesson

    monkeypatch.setattr(lesson, "sys", SimpleNamespace(platform="win32", executable=sys.executable))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    images, labels = gu.make_shapes(8, seed=0)
    torch.save((images / 255, labels), tmp_path / "batch")
    lesson.start(lesson.half_a_batch, str(tmp_path))
    found = torch.load(tmp_path / "found", weights_only=True)
    torch.manual_seed(0)
    net = gu.GoogLeNet(num_classes=10)
    nn.functional.cross_entropy(net(images / 255), labels).backward()
    whole = torch.cat([weight.grad.flatten() for weight in net.parameters()])
    assert found["world size"] == 2
    assert (found["gradient"] - whole).abs().max() < 1e-6 * whole.abs().max()


# What cannot be shared

@pytest.mark.parametrize(("rank", "world_size", "batch_size"), [(2, 2, 8), (-1, 2, 8), (0, 0, 8), (0, 9, 8)])
def test_a_rank_or_a_batch_that_does_not_fit_is_refused(rank, world_size, batch_size, refuses):
    images, labels = gu.make_shapes(20, seed=0)
    with refuses(ValueError, f"got rank {rank}, world_size {world_size}, batch_size {batch_size}"):
        gu.Batches(images, labels, batch_size, 32, True, rank=rank, world_size=world_size)


@pytest.mark.parametrize(("count", "batches"), [(40, 4), (43, 4), (45, 4), (46, 5), (49, 5)])
def test_a_last_batch_of_less_than_two_images_a_process_joins_the_one_before(count, batches):
    images, labels = gu.make_shapes(count, seed=0)
    shares = [gu.Batches(images, labels, 10, 32, True, rank=rank, world_size=3) for rank in range(3)]
    assert {len(share) for share in shares} == {batches}
    assert [len(list(share)) for share in shares] == [batches] * 3
    assert min(len(y) for share in shares for _, y in share) >= 2
