"""A run that is killed or stopped goes on to the same numbers; a file that does not fit is refused, not ignored."""
import contextlib
import hashlib
import io
import multiprocessing
import os
import random
import shutil
import sys
import time

import pytest
import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import lr_scheduler

import googlenet_utils as gu

EPOCHS = 4


def parts(*, weights=0, count=120, batch_size=40, epochs=EPOCHS, net=None, optimizer=torch.optim.SGD, **options):
    """Network, batches, optimizer and schedule of a small run, built the same but for the first weights."""
    torch.manual_seed(weights)
    net = net or nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
                               nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))
    images, labels = gu.make_shapes(count, seed=5)
    train_iter = gu.Batches(images, labels, batch_size, 32, True, **options)
    momentum = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    optimizer = optimizer(net.parameters(), lr=0.05, **momentum)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=epochs * len(train_iter))
    return net, train_iter, optimizer, schedule


def go(net, train_iter, optimizer, schedule, epochs=EPOCHS, *, precision="float32", **options):
    images, labels = gu.make_shapes(50, seed=6)
    return gu.train(net, train_iter, gu.Batches(images, labels, 50, 32, False), nn.CrossEntropyLoss(), optimizer, "cpu",
                    epochs, schedule=schedule, precision=precision, progress=False, **options)


def check_same(history, net, other_history, other_net):
    """Equal to the last bit; only the seconds may differ."""
    for name in ("loss", "train_acc", "val_acc"):
        assert history[name] == other_history[name]
    for name, value in other_net.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name


@pytest.fixture
def stored(tmp_path):
    """The checkpoint of a run that was meant to have four epochs and had two."""
    path = tmp_path / "folder that is new" / "läuft.checkpoint"
    go(*parts(), epochs=2, checkpoint=path)
    return path


# It goes on

def test_a_run_in_two_parts_equals_a_run_in_one(stored, capsys):
    whole, halves = parts(), parts()
    expected = go(*whole)
    capsys.readouterr()
    history = go(*halves, checkpoint=stored)
    check_same(history, halves[0], expected, whole[0])
    printed = capsys.readouterr().out
    assert f"resumed from {stored}: 2 of 4 epochs are done" in printed
    assert [line.split(",")[0] for line in printed.splitlines() if line.startswith("epoch")] == ["epoch 3", "epoch 4"]


def test_what_the_new_call_was_built_with_does_not_matter(stored):
    """Fresh weights and another state of the random numbers: the checkpoint's count."""
    whole = parts()
    expected = go(*whole)
    other = parts(weights=1)
    check_same(go(*other, checkpoint=stored), other[0], expected, whole[0])


def test_a_run_that_is_complete_is_not_trained_again(stored, capsys):
    first = parts()
    history = go(*first, checkpoint=stored)
    again = parts(weights=3)
    capsys.readouterr()
    check_same(go(*again, checkpoint=stored), again[0], history, first[0])
    assert "epoch 5" not in capsys.readouterr().out


def test_a_data_loader_that_shuffles_goes_on_in_the_same_order(tmp_path):
    def build():
        net, batches, optimizer, schedule = parts()
        data = torch.utils.data.TensorDataset(batches.normalise(batches.images), batches.labels)
        return net, torch.utils.data.DataLoader(data, 40, shuffle=True), optimizer, schedule

    whole, first, halves = build(), build(), build()
    torch.manual_seed(7)
    expected = go(*whole)
    torch.manual_seed(7)
    go(*first, epochs=2, checkpoint=tmp_path / "run")
    check_same(go(*halves, checkpoint=tmp_path / "run"), halves[0], expected, whole[0])


def test_the_scaler_of_float16_goes_on_too(tmp_path, monkeypatch):
    """Its scale doubles after so many good steps: one that starts again, or loses its count, ends at another scale."""
    made = []

    def build(*arguments, **options):
        made.append(GradScaler(*arguments, **options, init_scale=2.0, growth_interval=4))
        return made[-1]

    monkeypatch.setattr(torch.amp, "GradScaler", build)
    whole, halves = parts(), parts()
    expected = go(*whole, precision="float16")
    go(*parts(), epochs=2, precision="float16", checkpoint=tmp_path / "run")
    check_same(go(*halves, precision="float16", checkpoint=tmp_path / "run"), halves[0], expected, whole[0])
    first, half, second = (scaler.state_dict() for scaler in made)
    assert half["scale"] > 2 and half["_growth_tracker"] > 0
    assert second == first


class Counting:
    """A loader that keeps its own state, as torchdata's StatefulDataLoader does: each pass has another order."""

    def __init__(self, batches):
        self.batches, self.passes = list(batches), 0

    def __iter__(self):
        self.passes += 1
        return iter(self.batches[self.passes % 3:] + self.batches[:self.passes % 3])

    def state_dict(self):
        return {"passes": self.passes}

    def load_state_dict(self, state):
        self.passes = state["passes"]


def test_a_loader_with_a_state_of_its_own_goes_on_too(tmp_path):
    def build():
        net, batches, optimizer, schedule = parts()
        return net, Counting(batches), optimizer, schedule

    whole, halves = build(), build()
    expected = go(*whole)
    go(*build(), epochs=2, checkpoint=tmp_path / "run")
    check_same(go(*halves, checkpoint=tmp_path / "run"), halves[0], expected, whole[0])


def test_sizes_by_epoch_go_on_where_they_were(tmp_path):
    def build():
        net, batches, optimizer, schedule = parts()
        return net, gu.Batches(batches.images, batches.labels, 40, [16, 24, 32], True), optimizer, schedule

    whole, halves = build(), build()
    expected = go(*whole)
    go(*build(), epochs=1, checkpoint=tmp_path / "run")
    check_same(go(*halves, checkpoint=tmp_path / "run"), halves[0], expected, whole[0])


def sequence(optimizer):
    return lr_scheduler.SequentialLR(optimizer, [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4),
                                                 lr_scheduler.CosineAnnealingLR(optimizer, 8)], [4])


SCHEDULES = {       # for twelve steps, of which six are done when the run stops
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=12),
    "OneCycleLR, three phases": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=12, three_phase=True),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 12),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 7, 9]),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 4, 0.5),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.1, total_iters=8),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=8),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 12, 2.0),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.9),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=4, cycle_momentum="momentum" in o.defaults),
    "CyclicLR, falling": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=2, mode="exp_range", gamma=0.9,
                                                         cycle_momentum="momentum" in o.defaults),
    "SequentialLR": sequence,
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ConstantLR(o, 0.1, 4),
                                                                 lr_scheduler.ExponentialLR(o, 0.9)]),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 0.01, anneal_epochs=8),
    "none": lambda o: None,
}
OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9), "SGD, Nesterov": lambda p: torch.optim.SGD(
        p, 0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, 0.01), "AMSGrad": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.01), "NAdam": lambda p: torch.optim.NAdam(p, 0.01),
    "RAdam": lambda p: torch.optim.RAdam(p, 0.01), "Adamax": lambda p: torch.optim.Adamax(p, 0.01),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5), "Adagrad": lambda p: torch.optim.Adagrad(p, 0.01),
    "Adadelta": lambda p: torch.optim.Adadelta(p), "ASGD": lambda p: torch.optim.ASGD(p, 0.01),
    "Rprop": lambda p: torch.optim.Rprop(p, 0.01), "tensors": lambda p: torch.optim.Adam(p, torch.tensor(0.01)),
}


def check_goes_on(optimizer, schedule, path, same_objects):
    def built():
        net, train_iter, *_ = parts()
        made = optimizer(net.parameters())
        return net, train_iter, made, schedule(made)

    whole = built()
    expected = go(*whole)
    halves = built()
    go(*halves, epochs=2, checkpoint=path)
    halves = halves if same_objects else built()
    torch.manual_seed(9)
    history = go(*halves, checkpoint=path)
    check_same(history, halves[0], expected, whole[0])
    assert [group["lr"] for group in halves[2].param_groups] == [group["lr"] for group in whole[2].param_groups]


@pytest.mark.parametrize("same_objects", [False, True], ids=["built again", "the same objects"])
@pytest.mark.parametrize(("schedule", "optimizer"), [
    *((schedule, "SGD") for schedule in SCHEDULES), *(("OneCycleLR", name) for name in ("AdamW", "NAdam", "RMSprop"))])
def test_every_schedule_goes_on(schedule, optimizer, same_objects, tmp_path):
    check_goes_on(OPTIMIZERS[optimizer], SCHEDULES[schedule], tmp_path / "run", same_objects)


@pytest.mark.parametrize("same_objects", [False, True], ids=["built again", "the same objects"])
@pytest.mark.parametrize("schedule", ["none", "CosineAnnealingLR"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_goes_on(optimizer, schedule, same_objects, tmp_path):
    check_goes_on(OPTIMIZERS[optimizer], SCHEDULES[schedule], tmp_path / "run", same_objects)


def test_the_names_that_a_wrapper_gives_the_weights_are_no_setting(tmp_path):
    for epochs, prefix in ((2, "module."), (EPOCHS, "")):
        net, train_iter, *_ = parts()
        optimizer = torch.optim.SGD([(prefix + name, weight) for name, weight in net.named_parameters()], lr=0.05)
        history = go(net, train_iter, optimizer, None, epochs, checkpoint=tmp_path / "run")
    assert len(history["loss"]) == EPOCHS


def googlenets_run(path):
    """A run of the real network, six epochs of a fifth of a second."""
    torch.manual_seed(0)
    built = parts(net=gu.GoogLeNet(num_classes=10, batch_norm=True), count=40, batch_size=20, epochs=6)
    torch.manual_seed(os.getpid())                          # a new process has other random numbers
    return built[0], go(*built, epochs=6, precision="auto", checkpoint=path)


def run_in_a_process(path, result):
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        net, history = googlenets_run(path)
    torch.save({"history": history, "net": net.state_dict()}, result)


def test_killed_ten_times_it_ends_with_the_numbers_of_an_undisturbed_run(tmp_path):
    """Real processes and SIGKILL, at moments that are spread over the whole epoch, the writing of the file included."""
    path, result = tmp_path / "run", tmp_path / "result"
    # A server that has imported PyTorch forks the processes: they start at once, and without this process's threads.
    context = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
    if sys.platform != "win32":
        context.set_forkserver_preload(["googlenet_utils"])
    start = time.monotonic()
    net, expected = googlenets_run(None)
    epoch = (time.monotonic() - start) / 6
    moments, done = random.Random(0), 0
    for _ in range(10):
        process = context.Process(target=run_in_a_process, args=(path, result))
        process.start()
        process.join(moments.uniform(0.1, 2.5) * epoch)
        process.kill()
        process.join()
        if path.exists():
            content = torch.load(io.BytesIO(path.read_bytes()[len(gu._CHECKPOINT_MARK) + 32:]), weights_only=True)
            before, done = done, len(content["history"]["loss"])
            assert done >= before
        if done == 0:                                       # killed before the first epoch's end: a slow machine
            epoch *= 1.5
    assert done > 0, "it never reached the end of an epoch: the test proves nothing"
    process = context.Process(target=run_in_a_process, args=(path, result))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    ended = torch.load(result, weights_only=True)
    for name in ("loss", "train_acc", "val_acc"):
        assert ended["history"][name] == expected[name]
    for name, value in net.state_dict().items():
        assert torch.equal(ended["net"][name], value), name


# The stop button

def pressed_after(step):
    def on_step(number, loss, norm):
        if number == step:
            raise KeyboardInterrupt
    return on_step


def test_the_stop_button_leaves_history_network_and_checkpoint(tmp_path, capsys):
    whole = parts()
    expected = go(*whole)
    net, batches, optimizer, schedule = parts()
    history = go(net, batches, optimizer, schedule, checkpoint=tmp_path / "run", on_step=pressed_after(8))
    assert [len(values) for values in history.values()] == [2, 2, 2, 2]
    assert f"stopped by hand after 2 of 4 epochs: call train again with the checkpoint {tmp_path / 'run'}" \
        in capsys.readouterr().out
    assert net(torch.randn(2, 3, 32, 32)).isfinite().all()
    halves = parts(weights=1)
    check_same(go(*halves, checkpoint=tmp_path / "run"), halves[0], expected, whole[0])


def test_stopped_by_hand_the_same_objects_go_on(tmp_path):
    """As in a notebook: the cell is stopped in the middle of an epoch, and run again."""
    whole = parts()
    expected = go(*whole)
    same = parts()
    go(*same, checkpoint=tmp_path / "run", on_step=pressed_after(8))
    check_same(go(*same, checkpoint=tmp_path / "run"), same[0], expected, whole[0])


def test_stopped_without_a_checkpoint_it_says_that_nothing_was_stored(capsys):
    assert go(*parts(), on_step=pressed_after(2))["loss"] == []
    assert "stopped by hand after 0 of 4 epochs: nothing was stored" in capsys.readouterr().out


def test_stopped_in_the_first_epoch_nothing_was_stored(tmp_path, capsys):
    go(*parts(), checkpoint=tmp_path / "run", on_step=pressed_after(2))
    assert "stopped by hand after 0 of 4 epochs: nothing was stored" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


# What does not fit is refused

def check_refused(path, built, refuses, *words, **options):
    """Refused in a sentence that names the file; neither the file nor the network has changed."""
    content = path.read_bytes()
    before = {name: value.clone() for name, value in built[0].state_dict().items()}
    with refuses(RuntimeError, str(path), *words):
        go(*built, checkpoint=path, **options)
    assert path.read_bytes() == content
    assert all(torch.equal(value, before[name]) for name, value in built[0].state_dict().items())


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(stored, share, refuses):
    content = stored.read_bytes()
    stored.write_bytes(content[:int(share * len(content))])
    check_refused(stored, parts(), refuses, "checkpoint" if share < 0.01 else "damaged", "delete")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.99])
def test_a_flipped_bit_is_refused(stored, share, refuses):
    content = bytearray(stored.read_bytes())
    content[int(share * len(content))] ^= 4
    stored.write_bytes(content)
    check_refused(stored, parts(), refuses, "damaged", "delete")


def test_a_file_of_another_form_is_refused(stored, refuses):
    """An older or newer version's, or any other file."""
    assert gu._CHECKPOINT_MARK.endswith(b"checkpoint 2\n")
    stored.write_bytes(stored.read_bytes().replace(b"checkpoint 2", b"checkpoint 1"))
    check_refused(stored, parts(), refuses, "no checkpoint of this version")
    torch.save(parts()[0].state_dict(), stored)
    check_refused(stored, parts(), refuses, "no checkpoint of this version")


class Harmful:
    """What a hostile file would hold: code that runs while the file is opened."""
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return shutil.rmtree, (self.path,)


def test_a_hostile_file_is_refused_and_its_code_does_not_run(stored, tmp_path, refuses):
    victim = tmp_path / "victim"
    victim.mkdir()
    buffer = io.BytesIO()
    torch.save({"described": Harmful(str(victim))}, buffer)
    stored.write_bytes(gu._CHECKPOINT_MARK + hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())
    check_refused(stored, parts(), refuses, "more than numbers and text")
    assert victim.is_dir()


def test_another_network_is_refused(stored, refuses):
    net = nn.Sequential(nn.Conv2d(3, 9, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(36, 10))
    check_refused(stored, parts(net=net), refuses, "another network")


def test_another_data_set_is_refused(stored, refuses):
    built = parts()
    built[1].images[0, 0, 0, 0] ^= 1
    check_refused(stored, built, refuses, "data")


def test_other_labels_are_another_data_set(stored, refuses):
    built = parts()
    built[1].labels[:2] = built[1].labels[:2].flip(0)
    assert built[1].labels[0] != built[1].labels[1]
    check_refused(stored, built, refuses, "data")


@pytest.mark.parametrize(("options", "words"), [
    ({"batch_size": 20}, ("batch_size 40, not 20", "total_steps of the schedule 12, not 24")),
    ({"epochs": 6}, ("total_steps of the schedule 12, not 18",)),
    ({"optimizer": torch.optim.Adam}, ("optimizer SGD, not Adam",)),
    ({"scale": (0.5, 1.0)}, ("scale [0.08, 1.0], not [0.5, 1.0]",)),
    ({"ratio": (1.0, 1.0)}, ("ratio [0.75, 1.3333333333333333], not [1.0, 1.0]",)),
    ({"flip": False}, ("flip True, not False",)),
    ({"seed": 1}, ("seed 0, not 1",)),
    ({"mean": (0.5, 0.5, 0.5)}, ("mean", "not [0.5, 0.5, 0.5]")),
    ({"std": (0.5, 0.5, 0.5)}, ("std", "not [0.5, 0.5, 0.5]")),
    ({"count": 110}, ("data",)),
], ids=str)
def test_another_setting_is_refused_by_its_name(stored, options, words, refuses):
    built = parts(**options)
    with pytest.raises(RuntimeError) as caught:
        go(*built, checkpoint=stored)
    assert any(word in str(caught.value) for word in words)
    check_refused(stored, parts(**options), refuses, "was trained with")


def test_another_size_is_refused(stored, refuses):
    net, batches, optimizer, schedule = parts()
    smaller = gu.Batches(batches.images, batches.labels, 40, 24, True)
    check_refused(stored, (net, smaller, optimizer, schedule), refuses, "image_size [32], not [24]")


def test_another_precision_is_refused(stored, refuses):
    check_refused(stored, parts(), refuses, "precision float32, not bfloat16", precision="bfloat16")


def test_another_largest_gradient_is_refused(stored, refuses):
    check_refused(stored, parts(), refuses, "max_norm None, not 1.0", max_norm=1.0)


def test_other_groups_of_parameters_are_refused(stored, refuses):
    net, train_iter, optimizer, _ = parts()
    optimizer = torch.optim.SGD([{"params": [p]} for p in net.parameters()], lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=EPOCHS * len(train_iter))
    check_refused(stored, (net, train_iter, optimizer, schedule), refuses, "parameter groups")


@pytest.mark.parametrize("name", ["", ".", "sub/.."])
def test_a_folder_in_the_files_place_is_refused(name, tmp_path, monkeypatch, refuses):
    monkeypatch.chdir(tmp_path)
    for place in (name, tmp_path / name):
        with refuses(RuntimeError, str(place), "cannot be read"):
            go(*parts(), checkpoint=place)


def fill_the_disk(monkeypatch, fault, kind, epochs):
    """From now on nothing can be stored, so many times."""
    times, original = iter(range(epochs)), {"write": os.fsync, "rename": kind.replace}[fault]

    def full(*arguments):
        if next(times, None) is None:
            return original(*arguments)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*{"write": (os, "fsync"), "rename": (kind, "replace")}[fault], full)


@pytest.mark.parametrize("fault", ["write", "rename"])
def test_a_full_disk_is_said_and_the_run_goes_on(stored, monkeypatch, fault, capsys):
    whole, halves = parts(), parts()
    expected = go(*whole)
    before = stored.read_bytes()
    capsys.readouterr()
    fill_the_disk(monkeypatch, fault, type(stored), 100)
    check_same(go(*halves, checkpoint=stored), halves[0], expected, whole[0])
    assert stored.read_bytes() == before
    lines = [line for line in capsys.readouterr().out.splitlines() if "cannot be written" in line]
    assert len(lines) == 2
    for line in lines:
        for words in (str(stored), "No space left on device", "what was stored before, if anything, is still good"):
            assert words in line
    assert not list(stored.parent.glob("*.part"))


def test_once_there_is_room_again_the_next_epoch_is_stored(stored, monkeypatch, capsys):
    fill_the_disk(monkeypatch, "write", type(stored), 1)
    net, *others = parts()
    history = go(net, *others, checkpoint=stored)
    assert capsys.readouterr().out.count("cannot be written") == 1
    again = parts(weights=1)
    check_same(go(*again, checkpoint=stored), again[0], history, net)
    assert not list(stored.parent.glob("*.part"))


# Runs that cannot go on

@pytest.mark.parametrize(("bad_epoch", "bad_step"), [(1, 1), (2, 3)])
def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(tmp_path, bad_epoch, bad_step, refuses):
    net, train_iter, optimizer, _ = parts()
    steps = iter(range(1, 100))

    def loss(y_hat, y):
        bad = next(steps) == (bad_epoch - 1) * len(train_iter) + bad_step
        return nn.functional.cross_entropy(y_hat, y) * (float("nan") if bad else 1.0)

    images, labels = gu.make_shapes(50, seed=6)
    with refuses(RuntimeError, f"epoch {bad_epoch}, step {bad_step}:", "smaller learning rate"):
        gu.train(net, train_iter, gu.Batches(images, labels, 50, 32, False), loss, optimizer, "cpu", EPOCHS,
                 precision="float32", checkpoint=tmp_path / "run", progress=False)
    assert (tmp_path / "run").exists() == (bad_epoch > 1)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
                                   RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")], ids=str)
@pytest.mark.parametrize("where", ["training", "validation"])
def test_too_little_memory_is_told_with_what_to_set(where, error, refuses):
    class Hungry(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 10))

        def forward(self, x):
            if self.training == (where == "training"):
                raise error
            return x.mean(dim=(2, 3)) @ self.weight

    with refuses(RuntimeError, "too little memory", "batch_size", "val_iter", "image_size"):
        go(*parts(net=Hungry()))


def test_inputs_that_are_not_images_can_be_trained_on():
    """The layout channels_last exists for four dimensions only."""
    net = nn.Linear(5, 3)
    batches = [(torch.randn(8, 5), torch.arange(8) % 3)]
    history = gu.train(net, batches, batches, nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), lr=0.1), "cpu",
                       2, progress=False)
    assert history["loss"][1] < history["loss"][0]


# Sizes by epoch

def test_batches_take_a_size_for_each_epoch_of_which_the_last_stays():
    images, labels = gu.make_shapes(20, seed=0)
    batches = gu.Batches(images, labels, 10, [16, 24, 40], True)
    assert batches.image_size == 16
    assert [{X.shape[-1] for X, _ in batches} for _ in range(5)] == [{16}, {24}, {40}, {40}, {40}]
    assert batches.image_size == 40
    batches.set_epoch(1)
    assert batches.image_size == 24
    assert gu.Batches(images, labels, 10, [16, 24, 40], False).image_size == 40


def test_a_fresh_run_starts_with_the_first_size_whatever_the_batches_did_before():
    net, batches, *_ = parts()
    batches = gu.Batches(batches.images, batches.labels, 60, [16, 24, 32], True)
    sizes = []
    net.register_forward_pre_hook(lambda layer, inputs: sizes.append(inputs[0].shape[-1]) if net.training else None)
    for epochs in (2, 3, 1):                                # a cell that is run again, with other numbers
        next(iter(batches))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        sizes.clear()
        go(net, batches, optimizer, None, epochs)
        assert sizes == [16, 16, 24, 24, 32, 32][:2 * epochs]
