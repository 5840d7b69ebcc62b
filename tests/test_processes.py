"""Two and three real processes over the loopback interface: together they compute what one process computes."""
import contextlib
import datetime
import functools
import io
import multiprocessing
import os
import platform
import sys
import time
from itertools import chain, count
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler, TensorDataset

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
    parts.built_before_the_group = parts(48, 16)[1]
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


def parts(count, batch_size, *, batch_norm=False, layout=torch.channels_last, wrap=DistributedDataParallel):
    """A network and its batches: where there is a process group, the network wrapped, and the batches its share."""
    group = torch.distributed.is_initialized()
    torch.manual_seed(torch.distributed.get_rank() if group else 0)         # only the first one's weights may count
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8) if batch_norm else nn.Identity(), nn.ReLU(),
                        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)).to(memory_format=layout)
    images, labels = gu.make_shapes(count, seed=5)
    train_iter = gu.Batches(images, labels, batch_size, 32, True, seed=3)
    return wrap(net) if group else net, train_iter


def go(net, train_iter, epochs=1, *, learning_rate=1.0, momentum=0.0, **options):
    images, labels = gu.make_shapes(23, seed=6)                 # 10, 10 and 3: uneven for two and for three
    val_iter = gu.Batches(images, labels, 10, 32, False)
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate, momentum=momentum)
    return gu.train(net, train_iter, val_iter, nn.CrossEntropyLoss(), optimizer, "cpu", epochs, precision="float32",
                    progress=False, **options)


def bare_state(net):
    return {name.replace("module.", "").replace("_orig_mod.", ""): value for name, value in net.state_dict().items()}


def refusal(net, train_iter, **options):
    """What `train` says to them."""
    try:
        go(net, train_iter, **options)
    except (ValueError, RuntimeError) as error:
        return str(error)


class Noticing(Dataset):
    """Images that note which of them were asked for."""

    def __init__(self, count):
        images, self.labels = gu.make_shapes(count, seed=5)
        self.images, self.asked = images / 255, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.asked.append(index)
        return self.images[index], self.labels[index]


def with_a_sampler():
    """A network, and a DataLoader with PyTorch's own sampler: 12 images a batch, in whatever many processes."""
    net, _ = parts(12, 12)
    dataset = Noticing(48)
    if torch.distributed.is_initialized():
        sampler, batch_size = DistributedSampler(dataset, seed=3), 12 // torch.distributed.get_world_size()
    else:
        sampler, batch_size = DistributedSampler(dataset, 1, 0, seed=3), 12
    return net, DataLoader(dataset, batch_size, sampler=sampler)


def train_with_a_sampler(rank, folder):
    """Four epochs, once in one go and once in two halves; who prints and who stores."""
    options, result = {"learning_rate": 0.1, "momentum": 0.9}, {}
    net, loader = with_a_sampler()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        result["history"] = go(net, loader, 4, checkpoint=folder / f"stored by {rank}", **options)
    result["state"], result["printed"] = bare_state(net), printed.getvalue()
    share = len(loader.sampler)
    result["asked"] = [loader.dataset.asked[epoch * share:(epoch + 1) * share] for epoch in range(4)]
    go(*with_a_sampler(), 2, checkpoint=folder / "half", **options)
    net, loader = with_a_sampler()
    result["history in halves"] = go(net, loader, 4, checkpoint=folder / "half", **options)
    result["state in halves"] = bare_state(net)
    go(*with_a_sampler(), 2, checkpoint=folder / "half for one", **options)
    return result


def share_the_work(rank, world_size, folder):
    result = {}
    # One step, learning rate 1, 7 images: what the weights lose is the gradient.
    net, train_iter = parts(7, 7)
    go(net, train_iter)
    result["after one step"] = bare_state(net)
    net, train_iter = parts(7, 7, layout=torch.contiguous_format)
    go(net, train_iter)
    result["after one step, in PyTorch's usual layout"] = bare_state(net)
    # Labels that number the images tell who saw which.
    images, _ = gu.make_shapes(47, seed=5)
    for name, share in {"seen": {}, "seen, by keyword": {"rank": rank, "world_size": world_size}}.items():
        numbered = gu.Batches(images, torch.arange(47), 20, 32, True, seed=3, **share)
        result[name] = [[y.tolist() for _, y in numbered] for _ in range(2)]
    whole = gu.Batches(images, torch.arange(47), 20, 32, False)
    result["evaluated"] = [y.tolist() for _, y in whole]
    # Three epochs, with a last batch of 7.
    net, train_iter = parts(47, 20)
    result["history"] = go(net, train_iter, 3, learning_rate=0.1)
    # Batch norm: only the first process's statistics count, in all of them.
    net, train_iter = parts(48, 16, batch_norm=True)
    go(net, train_iter, 2, learning_rate=0.1, checkpoint=folder / "kept")
    result["with batch norm"] = bare_state(net)
    result["with a sampler"] = train_with_a_sampler(rank, folder)
    result["batches built before the group"] = refusal(net, parts.built_before_the_group)
    result["batches for one"] = refusal(net, gu.Batches(*gu.make_shapes(48, seed=5), 16, 32, True, rank=0,
                                                        world_size=1))
    result["network not shared"] = refusal(net.module, train_iter)
    result["loader for one"] = refusal(with_a_sampler()[0], DataLoader(Noticing(48), 12, shuffle=True))
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
        for name in ("loss", "train_acc", "val_acc"):
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


def test_a_network_or_batches_of_which_each_process_has_its_own_are_refused(shared):
    results, _ = shared
    for result in results:
        for given in ("batches built before the group", "batches for one"):
            assert result[given].startswith(f"{len(results)} processes train, but 1 share the batches: "), given
            assert "build Batches after the process group" in result[given]
        assert result["network not shared"].startswith(f"{len(results)} processes train this network, each for itself")
        assert "DistributedDataParallel" in result["network not shared"]
        for sentence in result.values():
            assert not isinstance(sentence, str) or ("\n" not in sentence and ". " not in sentence), sentence


def test_a_loader_that_gives_every_process_all_images_is_refused(shared):
    for result in shared[0]:
        assert result["loader for one"], "it was trained on"
        assert "DistributedSampler" in result["loader for one"]


def test_the_process_group_says_who_one_is_unless_keywords_do(shared):
    for result in shared[0]:
        assert result["seen"] == result["seen, by keyword"]


# A DataLoader with PyTorch's own DistributedSampler

@functools.cache
def single_with_a_sampler():
    net, loader = with_a_sampler()
    history = go(net, loader, 4, learning_rate=0.1, momentum=0.9)
    return history, net.state_dict(), [loader.dataset.asked[epoch * 48:(epoch + 1) * 48] for epoch in range(4)]


def test_a_sampler_shares_each_epochs_images_anew(shared):
    """That is, `train` calls its `set_epoch`; in the order in which one process takes them."""
    asked = [result["with a sampler"]["asked"] for result in shared[0]]
    for epoch, alone in enumerate(single_with_a_sampler()[2]):
        assert sorted(alone) == list(range(48))
        assert list(chain(*zip(*(share[epoch] for share in asked), strict=True))) == alone
    for share in asked:
        assert len({tuple(epoch) for epoch in share}) == 4


def test_with_a_sampler_they_train_as_one_process_does(shared):
    history, state, _ = single_with_a_sampler()
    results = [result["with a sampler"] for result in shared[0]]
    for result in results:
        for name in ("loss", "train_acc", "val_acc"):
            assert result["history"][name] == results[0]["history"][name]
            assert result["history"][name] == pytest.approx(history[name], abs=1e-5), name
        for name, value in state.items():
            assert torch.equal(result["state"][name], results[0]["state"][name]), name
            torch.testing.assert_close(result["state"][name], value, rtol=1e-4, atol=1e-5)


def test_only_the_first_of_them_prints_and_stores(shared):
    results, folder = shared
    first, *others = (result["with a sampler"]["printed"] for result in results)
    assert [line.split(",")[0] for line in first.splitlines()[1:]] == [f"epoch {epoch}" for epoch in (1, 2, 3, 4)]
    assert set(others) == {""}
    assert [file.name for file in folder.glob("stored by *")] == ["stored by 0"]


def test_with_a_sampler_a_run_in_two_halves_equals_a_run_in_one(shared):
    """To the last bit with two of them; the order in which three are added changes after a wrapper's first step."""
    exact = len(shared[0]) == 2
    for result in (result["with a sampler"] for result in shared[0]):
        for name in ("loss", "train_acc", "val_acc"):
            expected = result["history"][name]
            assert result["history in halves"][name] == (expected if exact else pytest.approx(expected, abs=1e-6)), name
        for name, value in result["state"].items():
            tolerance = 0 if exact else 1e-6
            torch.testing.assert_close(result["state in halves"][name], value, rtol=0, atol=tolerance, msg=name)


def test_one_process_goes_on_where_several_with_a_sampler_stopped(shared):
    _, folder = shared
    net, loader = with_a_sampler()
    history = go(net, loader, 4, learning_rate=0.1, momentum=0.9, checkpoint=folder / "half for one")
    assert history["loss"] == pytest.approx(single_with_a_sampler()[0]["loss"], abs=1e-5)
    assert loader.dataset.asked == list(chain(*single_with_a_sampler()[2][2:]))     # epochs 3 and 4


# A group of one process, and other wrappers

def compiled(net):
    return torch.compile(net, backend="eager")


WRAPPERS = {"DDP": DistributedDataParallel,
            "torch.compile(DDP)": lambda net: compiled(DistributedDataParallel(net)),
            "DDP(torch.compile)": lambda net: DistributedDataParallel(compiled(net))}


def wrap_in_a_group_of_one(rank, world_size, folder):
    """One step at learning rate 1: what the weights lose is the gradient."""
    result = {}
    for name, wrap in WRAPPERS.items():
        net, train_iter = parts(7, 7, layout=torch.contiguous_format, wrap=wrap)
        result[name] = {"strides before": {key: value.stride() for key, value in bare_state(net).items()}}
        history = go(net, train_iter, checkpoint=folder / name)
        result[name] |= {"history": history, "state": bare_state(net),
                         "strides": {key: value.stride() for key, value in bare_state(net).items()}}
    return result


@pytest.fixture(scope="module")
def group_of_one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "work"
    [result] = finish(start(wrap_in_a_group_of_one, 1, folder), folder)
    assert isinstance(result, dict), result
    return result, folder


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_network_keeps_its_layout_and_gets_the_bare_networks_gradient(group_of_one, wrapper):
    """DistributedDataParallel lays its buckets out when it wraps: gradients in another layout land in wrong places."""
    result, expected, before = group_of_one[0][wrapper], single()["after one step"], single()["before"]
    assert result["strides"] == result["strides before"]
    assert result["state"].keys() == expected.keys()
    for name, value in expected.items():
        gradient, alone = before[name] - result["state"][name], before[name] - value
        assert alone.abs().max() > 1e-4, name
        assert (gradient - alone).abs().max() < 1e-6, name


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_networks_checkpoint_is_the_bare_networks(group_of_one, wrapper):
    results, folder = group_of_one
    net, train_iter = parts(7, 7)
    history = go(net, train_iter, checkpoint=folder / wrapper)
    assert history == results[wrapper]["history"]
    for name, value in net.state_dict().items():
        assert torch.equal(value, results[wrapper]["state"][name]), name


# Accelerate

def accelerated(*, seed=0, total_steps=12):
    """Network, loader, optimizer and schedule, prepared as Accelerate's own examples do it."""
    from accelerate import Accelerator

    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
                        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))
    images, labels = gu.make_shapes(48, seed=5)
    loader = DataLoader(TensorDataset(images / 255, labels), 16, shuffle=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=total_steps)
    return net, loader, optimizer, schedule, Accelerator(cpu=True)


def train_accelerated(net, loader, optimizer, schedule, epochs=4, **options):
    images, labels = gu.make_shapes(20, seed=6)
    return gu.train(net, loader, [(images / 255, labels)], nn.CrossEntropyLoss(), optimizer, "cpu", epochs,
                    schedule=schedule, precision="float32", progress=False, **options)


def test_what_accelerate_prepared_trains_to_the_same_numbers(tmp_path):
    """In one go, and in two halves with a checkpoint; only the kept names of the parts differ from the bare ones."""
    *bare, _ = accelerated()
    expected = train_accelerated(*bare)
    *parts_of_run, accelerator = accelerated()
    prepared = accelerator.prepare(*parts_of_run)
    assert [type(part).__name__ for part in prepared[1:]] == ["DataLoaderShard", "AcceleratedOptimizer",
                                                              "AcceleratedScheduler"]
    history = train_accelerated(*prepared, checkpoint=tmp_path / "whole")
    for _ in range(2):
        *parts_of_run, accelerator = accelerated()
        halves = accelerator.prepare(*parts_of_run)
        resumed = train_accelerated(*halves, 4 if (tmp_path / "half").exists() else 2, checkpoint=tmp_path / "half")
    for name in ("loss", "train_acc", "val_acc"):
        assert history[name] == expected[name]
        assert resumed[name] == expected[name]
    for name, value in bare[0].state_dict().items():
        assert torch.equal(prepared[0].state_dict()[name], value), name
        assert torch.equal(halves[0].state_dict()[name], value), name


def test_a_schedule_that_accelerate_prepared_for_fewer_steps_is_refused(refuses):
    *parts_of_run, accelerator = accelerated(total_steps=6)
    prepared = accelerator.prepare(*parts_of_run)
    with refuses(ValueError, "the schedule has 6 steps left, the run needs 12"):
        train_accelerated(*prepared)


def test_an_optimizer_or_a_schedule_that_accelerate_prepared_for_another_run_is_refused(refuses):
    *parts_of_run, accelerator = accelerated()
    prepared = accelerator.prepare(*parts_of_run)
    *others, accelerator = accelerated(seed=1)
    others = accelerator.prepare(*others)
    with refuses(ValueError, "the optimizer was not built for this network"):
        train_accelerated(*prepared[:2], *others[2:])
    with refuses(ValueError, "the schedule was not built for this optimizer"):
        train_accelerated(*others[:3], prepared[3])


# Called twice

def train_twice(rank, world_size, folder):
    """The second call of a cell finds what the first has stored, however long that took."""
    net, train_iter = parts(24, 12)
    store = gu._save_checkpoint

    def slowly(*arguments):
        time.sleep(1)
        store(*arguments)

    gu._save_checkpoint = slowly
    for epochs in (1, 2):
        history = go(net, train_iter, epochs, checkpoint=folder / "kept")
    return bare_state(net), history["loss"]


def test_no_process_reads_a_checkpoint_before_the_first_has_stored_it(tmp_path):
    folder = tmp_path / "processes"
    (state, losses), (other_state, other_losses) = finish(start(train_twice, 2, folder), folder)
    assert losses == other_losses and len(losses) == 2
    for name in state:
        assert torch.equal(state[name], other_state[name])


# They stop together

def stop_for_a_reason(rank, world_size, folder):
    """A loss that is not finite in the second process alone, at its first step or at its last (its clock is fast, so it
    looks after each step); a checkpoint for the first one alone; a second process that is gone."""
    said = []
    if rank == 1:
        gu.time = SimpleNamespace(monotonic=count(0, 10).__next__)
    for step in (1, 4):
        net, train_iter = parts(48, 12)
        batches = list(train_iter)
        if rank == 1:
            batches[step - 1][0].fill_(float("nan"))
        said.append(refusal(net, batches))
    net, train_iter = parts(48, 12)
    said.append(refusal(net, train_iter, checkpoint=folder / "kept" if rank == 0 else None))
    return [*said, refusal(net, train_iter) if rank == 0 else None]         # the second one is not there any more


def test_all_of_them_say_why_where_one_has_the_reason(tmp_path):
    folder = tmp_path / "processes"
    results = finish(start(stop_for_a_reason, 2, folder), folder)
    for first, last, only_one_checkpoint, _ in results:
        assert first.startswith("the loss is not finite since epoch 1, step 1:")
        assert last.startswith("the loss is not finite since epoch 1, step 4:")
        assert only_one_checkpoint.startswith("give each process the checkpoint, or none")
    assert results[0][3].startswith("another process of this run stopped")


# One of them is lost

def train_for_long(rank, world_size, folder):
    net, train_iter = parts(48, 12)
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
    imports = "import os\nimport sys\nfrom pathlib import Path\n\nimport torch\n\nimport googlenet_utils as gu\n"
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
