"""`train` and `evaluate_accuracy`, step by step against a loop that is written out here; precision; the recipe."""
import copy
import dataclasses
import inspect
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import googlenet_utils as gu

ROOT = Path(__file__).resolve().parent.parent
LOG_LINE = re.compile(r"epoch (\d+), loss (\d+\.\d{4}), train acc ([01]\.\d{3}), val acc ([01]\.\d{3}), "
                      r"time (\d+\.\d) sec")


def small_net():
    return nn.Sequential(nn.Conv2d(3, 6, kernel_size=3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
                         nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(), nn.Linear(24, 3))


def coloured_images(count):
    """A problem that is learned at once: the label is the channel that is brighter than the others."""
    labels = torch.arange(count) % 3
    images = torch.randn(count, 3, 6, 6)
    images[torch.arange(count), labels] += 1
    return images, labels


def in_batches(images, labels, *sizes):
    return list(zip(images.split(sizes), labels.split(sizes), strict=True))


def sgd(net, lr=0.1):
    return torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)


def run(net, train_iter, val_iter, epochs, *, loss=None, optimizer=None, **options):
    """`train` with what most tests here do not care about."""
    return gu.train(net, train_iter, val_iter, loss or nn.CrossEntropyLoss(), optimizer or sgd(net), "cpu", epochs,
                    **{"precision": "float32", "progress": False, **options})


def plain_training(net, train_batches, val_batches, epochs, lr_of_step):
    """What `train` should do, momentum and sums written out; returns loss, train_acc, val_acc: a number per epoch."""
    parameters = list(net.parameters())
    velocity = [torch.zeros_like(p) for p in parameters]
    history, step = [], 0
    for _ in range(epochs):
        net.train()
        losses, hits = [], []
        for X, y in train_batches:
            logits = net(X)
            log_chances = logits - logits.logsumexp(dim=1, keepdim=True)
            each = -log_chances[torch.arange(len(y)), y]
            gradients = torch.autograd.grad(each.mean(), parameters)
            with torch.no_grad():
                for p, v, g in zip(parameters, velocity, gradients, strict=True):
                    v.mul_(0.9).add_(g)
                    p.sub_(lr_of_step(step) * v)
            losses += each.tolist()
            hits += (logits.argmax(dim=1) == y).tolist()
            step += 1
        net.eval()
        with torch.no_grad():
            val_hits = [hit for X, y in val_batches for hit in (net(X).argmax(dim=1) == y).tolist()]
        history.append([sum(values) / len(values) for values in (losses, hits, val_hits)])
    return [list(column) for column in zip(*history, strict=True)]


class WithLabels(list):
    """Batches that show all labels at once, as `Batches` does."""

    def __init__(self, batches):
        super().__init__(batches)
        self.labels = torch.cat([labels for _, labels in batches])


class Probe(nn.Module):
    """Passes its input on, and notes under which conditions it came."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append({"training": self.training, "gradients": torch.is_grad_enabled(), "dtype": x.dtype,
                          "channels_last": x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)})
        return x


# evaluate_accuracy

@pytest.mark.parametrize("sizes", [(7,), (3, 3, 1), (1, 6), (1,) * 7], ids=str)
def test_accuracy_counts_every_image_once_whatever_the_batch_sizes(sizes):
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    logits = F.one_hot(torch.tensor([0, 1, 2, 3, 0, 2, 1]), 4).float()     # the last two are wrong
    assert gu.evaluate_accuracy(in_batches(logits, labels, *sizes), nn.Identity(), "cpu") == pytest.approx(5 / 7)


def test_an_image_whose_logits_are_no_numbers_has_no_right_answer():
    """`argmax` calls them class 0. An infinite logit is a number: it rules a class out."""
    logits = torch.tensor([[float("nan")] * 3, [0.0, float("nan"), 0.0], [1.0, float("-inf"), 0.0]])
    assert gu.evaluate_accuracy([(logits, torch.zeros(3, dtype=torch.int64))], nn.Identity(), "cpu") == 1 / 3


def test_accuracy_is_measured_in_eval_mode_and_without_gradients():
    probe = Probe()
    net = nn.Sequential(probe, small_net()).train()
    norm = net[1][1]
    before = norm.running_mean.clone()
    gu.evaluate_accuracy(in_batches(*coloured_images(8), 5, 3), net, "cpu", precision="float32")
    assert [(seen["training"], seen["gradients"]) for seen in probe.seen] == [(False, False)] * 2
    assert torch.equal(norm.running_mean, before)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("failing", [None, "data", "net"])
def test_accuracy_leaves_every_layer_in_its_mode_after_an_exception_too(failing):
    net = nn.Sequential(small_net(), nn.Dropout()).train()
    net[0][1].eval()                                        # a frozen batch norm while the rest trains
    modes = [layer.training for layer in net.modules()]

    def data():
        yield coloured_images(4)
        if failing == "data":
            raise OSError("the disk is gone")
        if failing == "net":
            yield torch.zeros(2, 5, 6, 6), torch.zeros(2)

    if failing:
        with pytest.raises((OSError, RuntimeError)):
            gu.evaluate_accuracy(data(), net, "cpu", precision="float32")
    else:
        gu.evaluate_accuracy(data(), net, "cpu", precision="float32")
    assert [layer.training for layer in net.modules()] == modes
    assert True in modes
    assert False in modes


def test_an_evaluation_without_images_is_refused_and_leaves_the_modes(refuses):
    net = small_net().train()
    with refuses(ValueError, "no image", "data_iter"):
        gu.evaluate_accuracy([], net, "cpu")
    assert all(layer.training for layer in net.modules())


# train: its face

def test_the_order_of_the_arguments_is_the_articles():
    def names(function, keyword_only):
        parameters = inspect.signature(function).parameters.values()
        return [p.name for p in parameters if (p.kind is p.KEYWORD_ONLY) == keyword_only]
    assert names(gu.train, False) == ["net", "train_iter", "val_iter", "loss", "optimizer", "device", "epochs"]
    assert {"schedule", "precision", "progress"} <= set(names(gu.train, True))
    assert names(gu.evaluate_accuracy, False) == ["data_iter", "net", "device"]


@pytest.mark.parametrize("progress", [True, False])
def test_the_log_is_the_articles_and_says_what_the_history_says(progress, capsys):
    batches = in_batches(*coloured_images(9), 5, 4)
    history = run(small_net(), batches, batches, 2, progress=progress)
    captured = capsys.readouterr()
    assert captured.err == ""
    # Of a bar that wrote over itself, what stays is what follows the last carriage return.
    lines = [line.rsplit("\r", 1)[-1] for line in captured.out.split("\n")]
    assert ("\r" in captured.out) == progress
    assert lines[0] == "training on cpu, float32"
    assert lines[3:] == [""]
    for index, line in enumerate(lines[1:3]):
        numbers = LOG_LINE.fullmatch(line)
        assert numbers, line
        assert int(numbers[1]) == index + 1
        for text, name, places in zip(numbers.groups()[1:], ("loss", "train_acc", "val_acc", "seconds"), (4, 3, 3, 1),
                                      strict=True):
            assert text == f"{history[name][index]:.{places}f}"


@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_the_history_has_four_lists_with_a_number_an_epoch(epochs):
    batches = in_batches(*coloured_images(6), 3, 3)
    history = run(small_net(), batches, batches, epochs)
    assert list(history) == ["loss", "train_acc", "val_acc", "seconds"]
    assert [len(values) for values in history.values()] == [epochs] * 4
    assert all(type(value) is float for values in history.values() for value in values)
    assert all(seconds > 0 for seconds in history["seconds"])


def test_on_step_is_called_with_the_number_the_loss_and_the_gradient_norm():
    net, steps, logged = small_net(), [], []
    batches = in_batches(*coloured_images(12), 5, 4, 3)

    def loss(logits, labels):
        value = F.cross_entropy(logits, labels)
        logged.append(value.item())
        return value

    def on_step(step, l, norm):
        longest = torch.cat([p.grad.flatten() for p in net.parameters()]).norm()
        steps.append((step, l, norm, longest.item()))

    run(net, batches, batches, 2, loss=loss, max_norm=0.01, on_step=on_step)
    assert [step for step, *_ in steps] == [1, 2, 3, 4, 5, 6]
    assert all(isinstance(number, torch.Tensor) and not number.requires_grad for _, l, norm, _ in steps
               for number in (l, norm))
    assert [l.item() for _, l, *_ in steps] == logged
    assert all(norm > 0.05 for *_, norm, _ in steps), "the norm before clipping"
    assert [clipped for *_, clipped in steps] == pytest.approx([0.01] * 6, rel=1e-3)


@pytest.mark.parametrize("max_norm", [None, 0.05])
def test_watching_changes_nothing(max_norm):
    batches, start = in_batches(*coloured_images(12), 6, 6), small_net()
    nets = []
    for on_step in (None, lambda *numbers: None):
        nets.append(copy.deepcopy(start))
        run(nets[-1], batches, batches, 2, max_norm=max_norm, on_step=on_step)
    for ours, theirs in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(ours, theirs)


# train: what it does

def test_every_step_is_that_of_a_plain_loop():
    # Weights that do not move, gradients that pile up, a schedule that stands still, a mean over batches instead of
    # images (they are uneven), and the article's sum that shrinks with the epoch's number would all differ.
    images, labels = coloured_images(23)
    batches, val_batches = in_batches(images, labels, 8, 8, 7), in_batches(*coloured_images(10), 6, 4)
    net = small_net()
    plain_net = copy.deepcopy(net)
    optimizer = sgd(net)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    history = run(net, batches, val_batches, 4, optimizer=optimizer, schedule=schedule)
    expected = plain_training(plain_net, batches, val_batches, 4, lambda step: 0.1 / (1 + step))
    for name, values in zip(("loss", "train_acc", "val_acc"), expected, strict=True):
        assert history[name] == pytest.approx(values, rel=0, abs=1e-5), name
    for (name, tensor), plain in zip(net.state_dict().items(), plain_net.state_dict().values(), strict=True):
        torch.testing.assert_close(tensor.contiguous(), plain, rtol=1e-5, atol=1e-5, msg=name)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / (1 + 4 * 3))
    assert history["loss"][0] > history["loss"][-1] > 0.1 * history["loss"][0]


def test_googlenet_itself_trains_as_in_a_plain_loop():
    batches = in_batches(torch.randn(6, 3, 32, 32), torch.arange(6) % 3, 3, 3)
    net = gu.GoogLeNet(num_classes=3)
    plain_net = copy.deepcopy(net)
    history = run(net, batches, batches, 2, optimizer=sgd(net, lr=0.01))
    expected = plain_training(plain_net, batches, batches, 2, lambda step: 0.01)
    assert history["loss"] == pytest.approx(expected[0], rel=0, abs=1e-5)
    torch.testing.assert_close(net.fc.weight, plain_net.fc.weight, rtol=0, atol=1e-5)


class WithHeads(nn.Module):
    """A network that gives the logits of three more or less good classifiers in training, and the first's at rest."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(small_net() for _ in range(3))

    def forward(self, x):
        outputs = tuple(part(x) for part in self.parts)
        return outputs if self.training else outputs[0]


def test_auxiliary_heads_count_three_tenths_in_the_loss_and_nothing_in_the_accuracy():
    images, labels = coloured_images(12)
    net = WithHeads()
    plain, optimizer = copy.deepcopy(net), sgd(net)
    history = run(net, [(images, labels)], [(images, labels)], 1, optimizer=optimizer)
    own, first, second = (F.cross_entropy(logits, labels) for logits in plain(images))
    total = own + 0.3 * (first + second)
    assert history["loss"][0] == pytest.approx(total.item(), rel=1e-5)
    total.backward()
    for ours, expected in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad, rtol=1e-4, atol=1e-6)
    hits = (copy.deepcopy(plain.parts[0]).train()(images).argmax(dim=1) == labels).float().mean()
    assert history["train_acc"][0] == pytest.approx(hits.item())


def test_the_fast_loop_and_the_articles_mended_loop_give_the_same_twenty_losses():
    """Same pictures, same seed, float32: 20 steps of GoogLeNet; the article's statements in order, its sum mended.

    With a learning rate of 0.001 these small batches drive the loss up, and rounding, which differs between memory
    formats, grows with it: to 0.001 on a processor without AVX-512.
    """
    images, labels = gu.make_shapes(160, seed=0)

    def build():
        torch.manual_seed(0)
        net = gu.GoogLeNet(num_classes=10)
        return net, gu.Batches(images, labels, 8, 32, True, seed=3), sgd(net, lr=0.0003)

    loss, fast, plain = nn.CrossEntropyLoss(), [], []

    def noted(y_hat, y):
        l = loss(y_hat, y)
        fast.append(l.item())
        return l

    net, batches, optimizer = build()
    history = run(net, batches, gu.Batches(images[:10], labels[:10], 10, 32, False), 1, optimizer=optimizer, loss=noted)
    net, batches, optimizer = build()
    loss_sum = 0.0
    for X, y in batches:
        y_hat = net(X)
        l = loss(y_hat, y)
        optimizer.zero_grad()
        l.backward()
        optimizer.step()
        plain.append(l.item())
        loss_sum += l.item()
    assert len(plain) == 20
    assert max(plain) - min(plain) > 0.1, "the steps change the loss by far more than the tolerance"
    assert fast == pytest.approx(plain, rel=0, abs=1e-4)
    assert history["loss"] == pytest.approx([loss_sum / len(batches)], rel=0, abs=1e-4)
    torch.manual_seed(0)
    assert not torch.allclose(net.fc.weight, gu.GoogLeNet(num_classes=10).fc.weight, atol=1e-3)     # it did move


def test_the_printed_loss_does_not_shrink_with_the_epochs_number():
    batches = in_batches(torch.randn(12, 3, 6, 6), torch.arange(12) % 3, 5, 5, 2)
    net = small_net()
    history = run(net, batches, batches, 4, optimizer=sgd(net, lr=0.0))    # nothing is learned: nothing may fall
    assert history["loss"] == pytest.approx([history["loss"][0]] * 4, rel=1e-6)


def test_a_problem_that_can_be_learned_is_learned():
    net = small_net()
    before = copy.deepcopy(net.state_dict())
    history = run(net, in_batches(*coloured_images(60), *[10] * 6), in_batches(*coloured_images(30), 30), 5)
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert history["val_acc"][-1] > 0.9
    assert all(not torch.equal(before[name], p) for name, p in net.named_parameters())


def test_training_happens_in_train_mode_and_with_channels_last():
    probe = Probe()
    net = nn.Sequential(probe, small_net()).eval()
    batches = in_batches(*coloured_images(8), 4, 4)
    run(net, batches, batches, 2)
    assert [seen["training"] for seen in probe.seen] == [True, True, False, False] * 2
    assert all(seen["channels_last"] for seen in probe.seen if seen["training"])
    assert net[1][0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(layer.training for layer in net.modules())


def test_nothing_is_read_from_the_device_batch_by_batch(monkeypatch):
    # On a GPU every such reading waits until all that was asked for is computed.
    reads = []
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda tensor, *args, original=original, name=name, **options:
                            reads.append(name) or original(tensor, *args, **options))
    counts = []
    for number in (2, 12):
        reads.clear()
        batches = WithLabels(in_batches(*coloured_images(24), *[24 // number] * number))
        run(small_net(), batches, batches, 1)
        counts.append(len(reads))
    assert counts[0] == counts[1] > 0


# Counts the pages that the system has to find for 20 blocks that are allocated, written and freed, when that is done a
# second time: first in a process that has not trained, then in one that has.
COUNT_PAGES = """
import ctypes, os, resource
import torch
import googlenet_utils as gu

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)         # PR_SET_THP_DISABLE: no huge pages, whose number would be small
torch.set_num_threads(1)

def page_faults(megabytes):
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            torch.empty(megabytes * 10**6 // 4).fill_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if os.fork() == 0:
    print("untrained", *map(page_faults, (42, 103)), flush=True)
    os._exit(0)
os.wait()
net = torch.nn.Linear(4, 3)
batches = [(torch.randn(6, 4), torch.arange(6) % 3)]
gu.train(net, batches, batches, torch.nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), lr=0.1), "cpu", 1,
         precision="float32", progress=False)
print("trained", *map(page_faults, (4, 42, 103)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc is what gives memory back too eagerly")
def test_a_step_on_a_cpu_has_the_memory_of_the_step_before():
    done = subprocess.run([sys.executable, "-c", COUNT_PAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines() if "trained" in line]
    faults = {name: list(map(int, counts)) for name, *counts in lines}
    assert all(count > 100_000 for count in faults["untrained"]), "this C library keeps what is freed by itself"
    assert len(faults["trained"]) == 3
    assert all(count < 100 for count in faults["trained"])


def test_memory_is_kept_from_the_first_step_on_and_never_given_back(monkeypatch):
    # The first settings would not be those of a fresh process: glibc adapts no more once it was told anything.
    calls = []

    class Library:
        def mallopt(self, name, value):
            calls.append((name, value))

    def loss(logits, labels):
        calls.append("step")
        return F.cross_entropy(logits, labels) * (float("nan") if len(calls) > 5 else 1.0)

    monkeypatch.setattr(gu.sys, "platform", "linux")
    monkeypatch.setattr(gu.ctypes, "CDLL", lambda name: Library())
    batches = in_batches(*coloured_images(6), 3, 3)
    with pytest.raises(RuntimeError, match="not finite"):
        run(small_net(), batches, batches, 3, loss=loss)
    assert calls[:2] == [(-4, 0), (-1, 2**30)]              # M_MMAP_MAX, M_TRIM_THRESHOLD
    assert set(calls[2:]) == {"step"}


@pytest.mark.parametrize(("device", "system"),
                         [("cuda", "linux"), ("cpu", "darwin"), ("cpu", "win32"), ("cpu", "linux")])
def test_other_devices_systems_and_libraries_keep_their_memory_as_they_do(monkeypatch, device, system):
    def open_library(name):
        assert (device, system) == ("cpu", "linux"), "no library is asked for"
        return object()                                     # one without mallopt, such as musl

    monkeypatch.setattr(gu.sys, "platform", system)
    monkeypatch.setattr(gu.ctypes, "CDLL", open_library)
    gu._keep_freed_memory(device)


def test_the_same_seed_gives_the_same_history():
    images = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8)
    histories = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        batches = gu.Batches(images, torch.arange(20) % 3, 8, 8, train=True, seed=seed)
        history = run(small_net(), batches, gu.Batches(images, torch.arange(20) % 3, 8, 8, train=False), 2)
        histories.append({name: values for name, values in history.items() if name != "seconds"})
    assert histories[0] == histories[1]
    assert histories[0] != histories[2]


# Precision

@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16),
                                                  ("float16", torch.float16)])
def test_each_precision_computes_in_its_own_type_and_keeps_weights_in_float32(precision, dtype):
    net, probe = small_net(), Probe()
    net.insert(1, probe)                                    # after the convolution
    loss_types = []

    def loss(logits, labels):
        loss_types.append(logits.dtype)
        return F.cross_entropy(logits, labels)

    batches = in_batches(*coloured_images(12), 6, 6)
    history = gu.train(net, batches, batches, loss, sgd(net), "cpu", 3, precision=precision, progress=False)
    assert {seen["dtype"] for seen in probe.seen} == {dtype}
    assert len(probe.seen) == 3 * (2 + 2)                   # the evaluation too
    assert set(loss_types) == {torch.float32}
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_step_is_as_long_as_its_gradient_but_not_longer_than_max_norm(precision):
    # Steps of 1 times the gradient, without momentum: the way from old to new weights is the gradient itself. Were
    # float16's gradients shortened while the scaler has enlarged them, the way would be thousands of times shorter.
    batches, start = in_batches(*coloured_images(12), 12), small_net()

    def way(max_norm):
        net = copy.deepcopy(start)
        run(net, batches, batches, 1, optimizer=torch.optim.SGD(net.parameters(), lr=1.0), max_norm=max_norm,
            precision=precision)
        return torch.cat([(new - old).detach().flatten() for new, old in zip(net.parameters(), start.parameters())])

    whole = way(None)
    assert whole.norm() > 0.1
    torch.testing.assert_close(way(2 * whole.norm().item()), whole)
    torch.testing.assert_close(way(0.01), whole * (0.01 / whole.norm()), rtol=1e-3, atol=1e-6)


def test_float16_gradients_that_overflow_leave_the_weights_and_no_warning():
    # The scaler begins high and skips its first steps; a schedule that steps all the same must not complain
    # (a warning is an error here), since a stored notebook would show it.
    net = small_net()
    batches = in_batches(*coloured_images(12), 6, 6)
    optimizer = sgd(net)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    gu.train(net, batches, batches, lambda logits, labels: 1e4 * F.cross_entropy(logits, labels), optimizer, "cpu", 1,
             schedule=schedule, precision="float16", progress=False)
    assert all(p.isfinite().all() for p in net.parameters())


def test_auto_is_what_choose_precision_says(monkeypatch, capsys):
    chosen = gu.choose_precision
    monkeypatch.setattr(gu, "choose_precision", lambda device, precision="auto":
                        "bfloat16" if precision == "auto" else chosen(device, precision))
    net, probe = small_net(), Probe()
    net.insert(1, probe)
    batches = in_batches(*coloured_images(6), 6)
    gu.train(net, batches, batches, nn.CrossEntropyLoss(), sgd(net), "cpu", 1, progress=False)
    gu.evaluate_accuracy(batches, net, "cpu")
    assert "training on cpu, bfloat16" in capsys.readouterr().out
    assert [seen["dtype"] for seen in probe.seen] == [torch.bfloat16] * 3


def test_an_unknown_precision_is_refused(refuses):
    batches = in_batches(*coloured_images(6), 6)
    with refuses(ValueError, "'half'", "auto", "float32", "bfloat16", "float16"):
        run(small_net(), batches, batches, 1, precision="half")
    with refuses(ValueError, "'half'", "auto", "float32", "bfloat16", "float16"):
        gu.evaluate_accuracy(batches, small_net(), "cpu", precision="half")


@pytest.mark.parametrize(("avx512", "amx", "expected"), [
    (True, True, "bfloat16"), (True, False, "bfloat16"), (False, True, "bfloat16"), (False, False, "float32")])
def test_a_cpu_gets_bfloat16_where_it_multiplies_it(monkeypatch, avx512, amx, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert gu.choose_precision("cpu") == expected
    assert gu.choose_precision(torch.device("cpu")) == expected
    assert gu.choose_precision("cpu", "auto") == expected


@pytest.mark.parametrize(("capability", "expected"), [
    pytest.param((8, 0), "bfloat16", id="A100"), pytest.param((7, 5), "float16", id="T4"),
    pytest.param((7, 0), "float16", id="V100"), pytest.param((6, 1), "float32", id="GTX 1080")])
def test_an_nvidia_gpu_gets_what_its_generation_multiplies(monkeypatch, capability, expected):
    # PyTorch says that a T4 supports bfloat16 unless it is asked to leave emulation, which is slow, out.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported",
                        lambda including_emulation=True: including_emulation or capability >= (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert gu.choose_precision("cuda") == expected
    assert gu.choose_precision(torch.device("cuda", 0)) == expected


def test_another_device_gets_float32():
    assert gu.choose_precision("mps") == "float32"


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_precision_that_is_asked_for_is_the_one_whatever_the_device(precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert {gu.choose_precision(device, precision) for device in ("cpu", "cuda", "mps")} == {precision}


# What it refuses

@pytest.mark.parametrize("kind", [list, WithLabels])
@pytest.mark.parametrize("place", [0, 11])
def test_a_label_without_a_logit_is_refused(kind, place, refuses):
    images, labels = coloured_images(12)
    labels[place] = 3
    with refuses(ValueError, "labels", "0 to 3", "3 logits", "0 to 2", "num_classes", "mend the labels"):
        run(small_net(), kind(in_batches(images, labels, 6, 6)), in_batches(images, labels, 12), 1)


def test_a_negative_label_is_refused(refuses):
    images, labels = coloured_images(6)
    with refuses(ValueError, "labels", "-1 to 1", "3 logits", "0 to 2", "mend the labels"):
        run(small_net(), in_batches(images, labels - 1, 6), in_batches(images, labels, 6), 1)


def test_a_training_without_images_is_refused(refuses):
    batches = in_batches(*coloured_images(6), 6)
    with refuses(ValueError, "no image", "train_iter"):
        run(small_net(), [], batches, 1)
    with refuses(ValueError, "no image", "val_iter"):
        run(small_net(), batches, [], 1)


# The recipe

def test_the_recipe_decays_only_matrices_and_scales_its_step_with_the_batch():
    net = gu.GoogLeNet(num_classes=10, batch_norm=True)
    loss, optimizer, _ = gu.make_recipe(net, batch_size=64, total_steps=10)
    matrices, vectors = optimizer.param_groups
    assert {p.dim() for p in matrices["params"]} == {2, 4}
    assert {p.dim() for p in vectors["params"]} == {1}
    assert len(matrices["params"]) + len(vectors["params"]) == len(list(net.parameters()))
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (5e-4, 0.0)
    for group in optimizer.param_groups:
        assert (group["momentum"], group["nesterov"], group["max_lr"]) == (0.9, True, pytest.approx(0.1))
    assert isinstance(loss, nn.CrossEntropyLoss)
    assert loss.label_smoothing == 0.1


def test_the_recipes_step_rises_and_then_falls_to_nothing():
    net = small_net()
    _, optimizer, schedule = gu.make_recipe(net, batch_size=128, total_steps=20)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step() if len(rates) < 20 else None
    assert max(rates) == pytest.approx(0.2)
    assert rates.index(max(rates)) == 5                     # after 30 % of the steps
    assert rates[:6] == sorted(rates[:6])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] < 1e-4


def test_the_numbers_of_the_recipe_stand_in_one_place():
    assert (gu.RECIPE.learning_rate, gu.RECIPE.momentum, gu.RECIPE.weight_decay) == (0.2, 0.9, 5e-4)
    assert (gu.RECIPE.label_smoothing, gu.RECIPE.max_norm) == (0.1, 5.0)
    assert gu.RECIPE.crops == {"scale": (1, 1), "ratio": (1, 1), "padding": 4}
    gentle = dataclasses.replace(gu.RECIPE, learning_rate=0.02, max_norm=1.0)
    assert (gentle.learning_rate, gentle.max_norm, gentle.momentum) == (0.02, 1.0, 0.9)
    assert gu.RECIPE.learning_rate == 0.2, "the recipe itself stays"
    _, optimizer, _ = gu.make_recipe(small_net(), 128, 10, gentle)
    assert optimizer.param_groups[0]["max_lr"] == pytest.approx(0.02)


def test_numbers_can_be_changed_by_their_names():
    loss, optimizer, _ = gu.make_recipe(small_net(), 128, 10, learning_rate=0.2, momentum=0.8, weight_decay=1e-4,
                                        label_smoothing=0.2)
    group = optimizer.param_groups[0]
    assert loss.label_smoothing == 0.2
    assert (group["max_lr"], group["momentum"], group["weight_decay"]) == (0.2, 0.8, 1e-4)
