"""Slips that people make: each is put right, or refused in one sentence before the first step; no work is lost.

One test stands for a kind of slip; its parameters are the kind's members. What concerns checks, figures, activation
maps and the paths of data is tested beside them.
"""
import copy
import dataclasses
import functools
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, RandomSampler, TensorDataset

import googlenet_utils as gu

EPOCHS = 3


def small_net(dropout=0.0):
    return nn.Sequential(nn.Conv2d(3, 6, kernel_size=3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(dropout),
                         nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 10))


IMAGES, LABELS = gu.make_shapes(24, seed=0)
IMAGES = IMAGES[:, :, ::4, ::4].contiguous()                # 8 x 8 pixels are enough here
X, Y = IMAGES.float() / 255, LABELS


def listed(images=X, labels=Y, size=12):
    return [(images[start:start + size], labels[start:start + size]) for start in range(0, len(images), size)]


def batches(images=IMAGES, labels=LABELS, batch_size=12, image_size=8, train=True, **options):
    return gu.Batches(images, labels, batch_size, image_size, train, **options)


def sgd(net, lr=0.05, momentum=0.9, **options):
    return torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum, **options)


def arguments(**changes):
    """What `train` takes for a small run that is all right, but for what the test changes."""
    net = changes.get("net", small_net())
    own = {} if "optimizer" in changes else {"optimizer": sgd(net if isinstance(net, nn.Module) else small_net())}
    return {"net": net, "train_iter": batches(), "val_iter": batches(train=False), "loss": nn.CrossEntropyLoss(),
            "device": "cpu", "epochs": EPOCHS, "precision": "float32", "progress": False, **own, **changes}


@pytest.fixture
def refused(refuses, capsys):
    """`refused(kind, words, **changes)`: train refuses a run in one sentence, before a batch went through its network;
    `seen=True`: before the first step, since only a batch shows it."""
    def expect(kind, words, *, seen=False, **changes):
        given = arguments(**changes)
        state = given["net"].parameters if seen else given["net"].state_dict().values
        before = [value.clone() for value in state()]
        with refuses(kind, *words):
            gu.train(**given)
        assert all(torch.equal(value, earlier) for value, earlier in zip(state(), before, strict=True))
        assert "epoch" not in capsys.readouterr().out
    return expect


def check_same(one, history, other, other_history):
    """Two runs are equal to the last bit, but for their seconds."""
    for name in ("loss", "train_acc", "val_acc"):
        assert history[name] == other_history[name]
    for value, expected in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(value, expected)


def check_resumes(build, path, *, stop=1):
    """A run that ends early and is gone on with, in objects that are built again, equals one that is unbroken."""
    def built(seed):
        torch.manual_seed(0)
        changes = build()
        given = arguments(**changes)
        torch.manual_seed(seed)                             # what the checkpoint has to bring back
        return given

    whole = built(5)
    expected = gu.train(**whole)
    gu.train(**{**built(5), "epochs": stop}, checkpoint=path)
    again = built(6)
    history = gu.train(**again, checkpoint=path)
    assert len(history["loss"]) == EPOCHS
    check_same(again["net"], history, whole["net"], expected)


def one_cycle(optimizer, steps=2 * EPOCHS, **options):
    return lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=steps, **options)


def with_schedule(make, net=None, **options):
    net = net or small_net()
    optimizer = sgd(net, **options)
    return {"net": net, "optimizer": optimizer, "schedule": make(optimizer)}


# ----------------------------------------------------------------------------------------------------------------------
# Wrong, and nothing was said
# ----------------------------------------------------------------------------------------------------------------------

# Shapes that broadcast are compared

WRONG_LABELS = {
    "a column": lambda y: y[:, None], "a row": lambda y: y[None], "a map": lambda y: y[:, None, None],
    "floats": lambda y: y.float(), "one for all": lambda y: y[0], "too few": lambda y: y[1:],
    "shares of other classes": lambda y: F.one_hot(y, 11).float(), "array": lambda y: y[:, None].numpy(),
}


@pytest.mark.parametrize("spoil", WRONG_LABELS.values(), ids=WRONG_LABELS)
def test_labels_of_a_shape_that_does_not_fit_are_refused(spoil, refused, refuses):
    wrong = [(images, spoil(labels)) for images, labels in listed()]
    with refuses(ValueError, "labels", "shape", "N x classes"):
        gu.evaluate_accuracy(wrong, small_net(), "cpu")
    refused(ValueError, ["labels", "shape", "N x classes"], seen=True, train_iter=wrong)


@pytest.mark.parametrize("layer", [nn.Unflatten(1, (10, 1, 1)), nn.Flatten(0), nn.Unflatten(0, (1, -1))],
                         ids=["N x C x 1 x 1", "N * C", "1 x N x C"])
def test_logits_of_a_shape_that_does_not_fit_are_refused(layer, refused, refuses):
    net = small_net().append(layer)
    with refuses(ValueError, "logits", "N x classes"):
        gu.evaluate_accuracy(listed(), net, "cpu")
    refused(ValueError, ["logits", "N x classes"], seen=True, net=net)


@pytest.mark.parametrize("soften", [lambda y: F.one_hot(y, 10), lambda y: 0.9 * F.one_hot(y, 10).double() + 0.01,
                                    lambda y: (0.9 * F.one_hot(y, 10) + 0.01).numpy()],
                         ids=["one-hot", "float64", "array"])
def test_soft_labels_count_by_their_highest(soften):
    net = small_net()
    same, soft = copy.deepcopy(net), [(images, soften(labels)) for images, labels in listed()]
    assert gu.evaluate_accuracy(soft, net, "cpu") == gu.evaluate_accuracy(listed(), net, "cpu")
    history = gu.train(**arguments(net=net, train_iter=soft, val_iter=soft, optimizer=sgd(net, lr=0.0)))
    expected = gu.train(**arguments(net=same, train_iter=listed(), val_iter=listed(), optimizer=sgd(same, lr=0.0)))
    assert history["train_acc"] == expected["train_acc"]
    assert history["val_acc"] == expected["val_acc"]
    logits = net.train()(X)
    assert logits.isfinite().all()


# Arguments that do not belong together

def replaced_head():
    net = small_net()
    optimizer = sgd(net)
    net[-1] = nn.Linear(24, 10)
    return {"net": net, "optimizer": optimizer}


def replaced_weight():
    net = small_net()
    optimizer = sgd(net)
    net[-1].weight = nn.Parameter(torch.zeros(10, 24))
    return {"net": net, "optimizer": optimizer}


def yesterdays_recipe():
    _, optimizer, schedule = gu.make_recipe(small_net(), 12, 2 * EPOCHS)
    return {"net": small_net(), "optimizer": optimizer, "schedule": schedule}


def copied_network():
    net = small_net()
    return {"net": copy.deepcopy(net), "optimizer": sgd(net)}


def only_frozen_weights():
    net = small_net()
    net[0].requires_grad_(False)
    return {"net": net, "optimizer": sgd(net[0])}


@pytest.mark.parametrize("build", [lambda: {"optimizer": sgd(small_net())}, yesterdays_recipe, replaced_head,
                                   replaced_weight, copied_network, only_frozen_weights],
                         ids=["another network's", "recipe", "head", "weight", "copy", "frozen"])
def test_an_optimizer_that_would_move_nothing_here_is_refused(build, refused):
    refused(ValueError, ["optimizer", "not built for this network", "net.parameters()"], **build())


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: lr_scheduler.ChainedScheduler([one])],
                         ids=["itself", "ChainedScheduler"])
def test_a_schedule_of_another_optimizer_is_refused(wrap, refused):
    net = small_net()
    refused(ValueError, ["schedule", "not built for this optimizer"], net=net, optimizer=sgd(net),
            schedule=wrap(lr_scheduler.StepLR(sgd(net), 1)))


def test_an_optimizer_of_a_part_of_the_network_trains_that_part():
    net = small_net()
    before = copy.deepcopy(net)
    gu.train(**arguments(net=net, optimizer=sgd(net[-1])))
    assert torch.equal(net[0].weight, before[0].weight)
    assert not torch.equal(net[-1].weight, before[-1].weight)


def test_training_on_the_validation_images_by_mistake_is_refused(refused):
    refused(ValueError, ["train_iter", "val_iter"], train_iter=batches(train=False), val_iter=batches(train=True))
    refused(ValueError, ["val_iter with train=False"], val_iter=batches(train=True))


def test_an_error_of_the_network_itself_is_not_said_to_be_the_datas():
    class Unpacks(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x):
            count, _, _ = x.shape
            return x[:count]

    with pytest.raises(ValueError, match="too many values to unpack"):
        gu.train(**arguments(net=Unpacks()))


# A run's state lives in the data

def look(train_iter):
    next(iter(train_iter))


def two_at_once(train_iter):
    list(zip(train_iter, train_iter, strict=True))


def evaluate(train_iter):
    gu.evaluate_accuracy(train_iter, small_net(), "cpu")


def train_before(train_iter):
    gu.train(**arguments(train_iter=train_iter, epochs=2))


def stop_before(train_iter):
    def press(step, loss, norm):
        if step == 3:
            raise KeyboardInterrupt
    gu.train(**arguments(train_iter=train_iter, on_step=press))


def fail_before(train_iter):
    with pytest.raises(RuntimeError, match="not finite"):
        gu.train(**arguments(train_iter=train_iter, loss=lambda logits, y: F.cross_entropy(logits, y) * float("nan")))


@pytest.mark.parametrize("before", [look, two_at_once, evaluate, train_before, stop_before, fail_before])
def test_a_fresh_run_does_not_depend_on_what_was_done_with_its_batches(before):
    clean, used = (batches(image_size=[8, 12, 16]) for _ in range(2))
    before(used)
    histories, nets = [], []
    for train_iter in (clean, used):
        torch.manual_seed(1)
        nets.append(small_net())
        histories.append(gu.train(**arguments(net=nets[-1], train_iter=train_iter)))
    check_same(nets[1], histories[1], nets[0], histories[0])


def test_looking_at_batches_during_a_run_changes_nothing():
    train_iter = batches(image_size=[8, 12, 16])

    def watch(step, loss, norm):
        look(train_iter)
        gu.evaluate_accuracy(train_iter, one, "cpu")

    one = small_net()
    other = copy.deepcopy(one)
    history = gu.train(**arguments(net=one, train_iter=train_iter, on_step=watch))
    check_same(one, history, other, gu.train(**arguments(net=other, train_iter=batches(image_size=[8, 12, 16]))))


def sampled(place):
    data = TensorDataset(X, Y)
    sampler = DistributedSampler(data, num_replicas=1, rank=0, seed=3)
    if place == "sampler":
        return DataLoader(data, 12, sampler=sampler)
    return DataLoader(data, batch_sampler=BatchSampler(sampler, 12, drop_last=False))


@pytest.mark.parametrize("place", ["sampler", "batch_sampler"])
def test_a_distributed_sampler_is_told_the_epoch(place):
    seen = []

    def loss(logits, labels):
        seen.append(labels)
        return F.cross_entropy(logits, labels)

    gu.train(**arguments(train_iter=sampled(place), loss=loss))
    orders = torch.cat(seen).view(EPOCHS, -1)
    for one, other in itertools.combinations(orders, 2):
        assert not torch.equal(one, other)


@pytest.mark.parametrize("place", ["sampler", "batch_sampler"])
def test_a_distributed_sampler_goes_on_with_its_epoch(place, tmp_path):
    check_resumes(lambda: {"train_iter": sampled(place)}, tmp_path / "run")


# A resumed run with other settings

def recipe(**changes):
    def build():
        net = small_net()
        loss, optimizer, schedule = gu.make_recipe(net, 12, 2 * EPOCHS, **changes)
        return {"net": net, "loss": loss, "optimizer": optimizer, "schedule": schedule}
    return build


def optimized(kind=torch.optim.SGD, **options):
    def build():
        net = small_net()
        return {"net": net, "optimizer": kind(net.parameters(), **options)}
    return build


def scheduled(make):
    return lambda: with_schedule(make)


def warmed_up(steps):
    return scheduled(lambda optimizer: lr_scheduler.SequentialLR(optimizer, [
        lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2), lr_scheduler.CosineAnnealingLR(optimizer, steps)], [2]))


def frozen(layers):
    def build():
        net = small_net()
        for layer in net[:layers]:
            layer.requires_grad_(False)
        return {"net": net}
    return build


class OwnLoss(nn.Module):
    """As many write it: its numbers are attributes, some of them tensors, arrays or functions."""

    def __init__(self, gamma=2.0, weight=(1.0,) * 10):
        super().__init__()
        self.gamma, self.weight, self.bend = gamma, torch.tensor(weight), lambda chance: (1 - chance) ** gamma
        self.table = np.array(weight)

    def forward(self, logits, labels):
        each = F.cross_entropy(logits, labels, self.weight, reduction="none")
        return (self.bend((-each).exp()) * each).mean()


def loaded(**options):
    return lambda: {"train_iter": DataLoader(TensorDataset(X, Y), **{"batch_size": 12, "shuffle": True, **options})}


def weighted(first):
    return (first, *[1.0] * 9)


SETTINGS = {        # what the checkpoint was made with, what it is gone on with, what the refusal names
    "lr": (optimized(lr=0.01), optimized(lr=0.5), "lr"),
    "momentum": (optimized(lr=0.01, momentum=0.9), optimized(lr=0.01, momentum=0.5), "momentum"),
    "weight decay": (optimized(lr=0.01), optimized(lr=0.01, weight_decay=0.1), "weight_decay"),
    "nesterov": (optimized(lr=0.01, momentum=0.9), optimized(lr=0.01, momentum=0.9, nesterov=True), "nesterov"),
    "betas": (optimized(torch.optim.Adam, lr=0.01), optimized(torch.optim.Adam, lr=0.01, betas=(0.8, 0.99)), "betas"),
    "eps": (optimized(torch.optim.Adam, lr=0.01), optimized(torch.optim.Adam, lr=0.01, eps=0.1), "eps"),
    "optimizer": (optimized(torch.optim.Adam, lr=0.01), optimized(torch.optim.AdamW, lr=0.01), "optimizer"),
    "recipe's lr": (recipe(), recipe(learning_rate=0.3), "initial_lr"),
    "recipe's momentum": (recipe(), recipe(momentum=0.5), "momentum"),
    "recipe's decay": (recipe(), recipe(weight_decay=0.0), "weight_decay"),
    "lr in a schedule": (scheduled(lambda o: lr_scheduler.StepLR(o, 2)), lambda: with_schedule(
        lambda o: lr_scheduler.StepLR(o, 2), lr=0.5), "initial_lr"),
    "no schedule any more": (scheduled(lambda o: lr_scheduler.StepLR(o, 2)), lambda: with_schedule(lambda o: None),
                             "schedule"),
    "a schedule only now": (lambda: with_schedule(lambda o: None), scheduled(lambda o: lr_scheduler.StepLR(o, 2)),
                            "schedule"),
    "schedule's length": (scheduled(one_cycle), scheduled(functools.partial(one_cycle, steps=9)), "total_steps"),
    "schedule's form": (scheduled(one_cycle), scheduled(functools.partial(one_cycle, anneal_strategy="linear")),
                        "schedule"),
    "schedule's gamma": (scheduled(lambda o: lr_scheduler.StepLR(o, 2)), scheduled(
        lambda o: lr_scheduler.StepLR(o, 2, gamma=0.5)), "gamma"),
    "cosine's length": (scheduled(lambda o: lr_scheduler.CosineAnnealingLR(o, 6)), scheduled(
        lambda o: lr_scheduler.CosineAnnealingLR(o, 60)), "T_max"),
    "milestones": (scheduled(lambda o: lr_scheduler.MultiStepLR(o, [2, 4])), scheduled(
        lambda o: lr_scheduler.MultiStepLR(o, [1, 4])), "milestones"),
    "a schedule in a schedule": (warmed_up(4), warmed_up(40), "T_max"),
    "label smoothing": (lambda: {}, lambda: {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}, "label_smoothing"),
    "loss": (lambda: {}, lambda: {"loss": F.cross_entropy}, "loss"),
    "loss's weights": (lambda: {"loss": nn.CrossEntropyLoss(torch.tensor(weighted(1.0)))},
                       lambda: {"loss": nn.CrossEntropyLoss(torch.tensor(weighted(9.0)))}, "weight"),
    "loss's weights given": (lambda: {}, lambda: {"loss": nn.CrossEntropyLoss(torch.tensor(weighted(9.0)))}, "weight"),
    "a partial's numbers": (lambda: {"loss": functools.partial(F.cross_entropy, label_smoothing=0.0)},
                            lambda: {"loss": functools.partial(F.cross_entropy, label_smoothing=0.5)}, "loss"),
    "own loss's number": (lambda: {"loss": OwnLoss()}, lambda: {"loss": OwnLoss(gamma=1.0)}, "gamma"),
    "own loss's tensor": (lambda: {"loss": OwnLoss()}, lambda: {"loss": OwnLoss(weight=weighted(9.0))},
                          "weight"),
    "dropout": (lambda: {"net": small_net(0.1)}, lambda: {"net": small_net(0.5)}, "network"),
    "frozen layers": (frozen(0), frozen(2), "network"),
    "seed": (lambda: {"train_iter": batches()}, lambda: {"train_iter": batches(seed=1)}, "seed 0, not 1"),
    "mean": (lambda: {"train_iter": batches()}, lambda: {"train_iter": batches(mean=(0.5, 0.5, 0.5))}, "mean"),
    "std": (lambda: {"train_iter": batches()}, lambda: {"train_iter": batches(std=(0.5, 0.5, 0.5))}, "std"),
    "crops": (lambda: {"train_iter": batches()}, lambda: {"train_iter": batches(scale=(0.5, 1.0))}, "scale"),
    "sizes": (lambda: {"train_iter": batches()}, lambda: {"train_iter": batches(image_size=[8, 12])}, "image_size"),
    "batch size": (lambda: {"train_iter": batches()}, lambda: {"train_iter": batches(batch_size=8)},
                   "batch_size 12, not 8"),
    "loader's batch size": (loaded(), loaded(batch_size=8), "batch_size 12, not 8"),
    "loader's order": (loaded(), loaded(shuffle=False), "sampler"),
    "loader's rest": (loaded(batch_size=10), loaded(batch_size=10, drop_last=True), "drop_last"),
    "other batches": (lambda: {"train_iter": batches()}, loaded(), "train_iter Batches, not DataLoader"),
    "clipping": (lambda: {"max_norm": 1.0}, lambda: {"max_norm": 5.0}, "max_norm 1.0, not 5.0"),
    "no clipping any more": (lambda: {"max_norm": 1.0}, lambda: {}, "max_norm 1.0, not None"),
    "precision": (lambda: {}, lambda: {"precision": "bfloat16"}, "precision float32, not bfloat16"),
    "validation images": (lambda: {}, lambda: {"val_iter": batches(IMAGES.flip(0), train=False)}, "val"),
    "validation size": (lambda: {}, lambda: {"val_iter": batches(image_size=12, train=False)}, "val"),
}


@pytest.mark.parametrize(("before", "now", "name"), SETTINGS.values(), ids=SETTINGS)
def test_a_run_with_other_settings_is_not_gone_on_with(before, now, name, tmp_path, refused, capsys):
    gu.train(**arguments(**{**before(), "epochs": 1}), checkpoint=tmp_path / "run")
    content = (tmp_path / "run").read_bytes()
    capsys.readouterr()
    refused(RuntimeError, [str(tmp_path / "run"), "was trained with", name], **now(), checkpoint=tmp_path / "run")
    assert (tmp_path / "run").read_bytes() == content


@pytest.mark.parametrize("build", [before for before, *_ in SETTINGS.values()], ids=SETTINGS)
def test_with_the_same_settings_it_goes_on_to_the_same_numbers(build, tmp_path):
    check_resumes(build, tmp_path / "run")


# An unknown name is swallowed

@pytest.mark.parametrize("name", ["lr", "max_norm", "crop_scale", "scale", "learning_rates", "total_steps_"])
def test_a_recipe_refuses_names_that_it_does_not_know(name, refuses):
    with refuses(TypeError, name, "learning_rate", "momentum", "weight_decay"):
        gu.make_recipe(small_net(), 128, 10, **{name: 0.001})


@pytest.mark.parametrize("call", [
    lambda: dataclasses.replace(gu.RECIPE, lr=0.1), lambda: gu.train(**arguments(), max_grad_norm=1.0),
    lambda: batches(shuffle=True), lambda: gu.GoogLeNet(batchnorm=True), lambda: gu.evaluate_accuracy(
        listed(), small_net(), "cpu", precission="float32"),
], ids=["RECIPE", "train", "Batches", "GoogLeNet", "evaluate_accuracy"])
def test_an_unknown_name_is_swallowed_nowhere(call):
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        call()


def test_the_recipes_numbers_cannot_be_changed_by_the_way():
    with pytest.raises(dataclasses.FrozenInstanceError):
        gu.RECIPE.max_norm = 1.0


# A limit without sense

@pytest.mark.parametrize("max_norm", [-5, 0, 0.0, float("nan"), np.float32(-1), float("-inf")])
def test_a_gradient_norm_without_sense_is_refused(max_norm, refused):
    refused(ValueError, ["max_norm", "over 0", str(max_norm)], max_norm=max_norm)


@pytest.mark.parametrize("max_norm", ["5", (5,), gu.RECIPE], ids=["text", "tuple", "recipe"])
def test_a_gradient_norm_that_is_no_number_is_refused(max_norm, refused):
    refused(TypeError, ["max_norm", "number"], max_norm=max_norm)


def test_an_endless_gradient_norm_clips_nothing():
    nets = []
    for max_norm in (None, float("inf")):
        torch.manual_seed(1)
        nets.append(small_net())
        gu.train(**arguments(net=nets[-1], max_norm=max_norm))
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("epochs", [-1, np.int64(-3)])
def test_a_number_of_epochs_below_zero_is_refused(epochs, refused):
    refused(ValueError, ["epochs", str(epochs)], epochs=epochs)


@pytest.mark.parametrize("epochs", [2.0, "3", None, [3]])
def test_epochs_are_a_whole_number(epochs, refused):
    refused(TypeError, ["epochs", "whole number"], epochs=epochs)


@pytest.mark.parametrize("lr", [float("nan"), float("inf")])
def test_a_learning_rate_without_sense_is_refused(lr, refused):
    net = small_net()
    refused(ValueError, ["learning rate", str(lr)], net=net, optimizer=sgd(net, lr=lr))


@pytest.mark.parametrize("changes", [
    {"learning_rate": float("nan")}, {"learning_rate": -0.1}, {"momentum": -1.0}, {"weight_decay": -1.0},
    {"batch_size": 0}, {"batch_size": -8}, {"total_steps": 0}, {"total_steps": -1}, {"label_smoothing": -0.1},
    {"label_smoothing": 1.0},
], ids=str)
def test_a_recipe_without_sense_is_refused(changes, refuses):
    with refuses(ValueError):
        gu.make_recipe(**{"net": small_net(), "batch_size": 128, "total_steps": 10, **changes})


def test_a_recipe_without_momentum_is_plain_gradient_descent():
    _, optimizer, _ = gu.make_recipe(small_net(), 128, 10, momentum=0.0)
    assert optimizer.param_groups[0]["momentum"] == 0


@pytest.mark.parametrize(("options", "words"), [
    ({"std": (0.2, 0.0, 0.2)}, ["std"]), ({"std": (0.2, -0.1, 0.2)}, ["std"]),
    ({"std": (0.2, float("nan"), 0.2)}, ["std"]), ({"mean": (0.5, float("nan"), 0.5)}, ["mean"]),
    ({"mean": (125.3, 123.0, 113.9), "std": (63.0, 62.1, 66.7)}, ["mean", "scale of 0 to 1"]),
    ({"scale": (0.0, 1.0)}, ["scale"]), ({"scale": (1.0, 0.5)}, ["scale"]), ({"scale": 0.5}, ["scale"]),
    ({"scale": (0.5, 50)}, ["scale"]), ({"scale": (float("nan"), 1.0)}, ["scale"]), ({"ratio": (0, 1)}, ["ratio"]),
    ({"seed": None}, ["seed"]), ({"seed": 0.5}, ["seed"]), ({"batch_size": 12.0}, ["batch_size"]),
    ({"image_size": []}, ["image_size"]), ({"image_size": [8, 0]}, ["image_size"]),
    ({"scale": ("a", "b")}, ["scale"]), ({"flip": "no"}, ["flip"]), ({"rank": "0", "world_size": 2}, ["rank"]),
    ({"image_size": True}, ["image_size"]),
    ({"image_size": "8"}, ["image_size"]), ({"train": "train"}, ["train"]), ({"train": "cpu"}, ["train"]),
], ids=str)
def test_numbers_without_sense_make_no_batches(options, words, refuses):
    with refuses(ValueError, *words):
        batches(**options)


# State that is not kept

def own_generator():
    return loaded(generator=torch.Generator().manual_seed(3))()


def samplers_generator():
    data = TensorDataset(X, Y)
    sampler = RandomSampler(data, generator=torch.Generator().manual_seed(3))
    return {"train_iter": DataLoader(data, 12, sampler=sampler)}


def weighted_sampler():
    weights = torch.linspace(0.1, 1, len(X))
    sampler = torch.utils.data.WeightedRandomSampler(weights, len(X), generator=torch.Generator().manual_seed(3))
    return {"train_iter": DataLoader(TensorDataset(X, Y), 12, sampler=sampler)}


def batch_samplers_generator():
    data = TensorDataset(X, Y)
    sampler = RandomSampler(data, generator=torch.Generator().manual_seed(3))
    return {"train_iter": DataLoader(data, batch_sampler=BatchSampler(sampler, 12, False))}


class OwnSchedule:
    """A schedule as one writes it in a lesson: without state_dict."""

    def __init__(self, optimizer):
        self.optimizer, self.steps = optimizer, 0

    def step(self):
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = 0.05 / (1 + self.steps)


class LearnedLoss(nn.Module):
    """A loss with a weight of its own, which the optimizer moves too."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, logits, labels):
        return F.cross_entropy(logits * self.temperature, labels)


def learned_loss():
    net, loss = small_net(), LearnedLoss()
    return {"net": net, "loss": loss, "optimizer": torch.optim.SGD([*net.parameters(), *loss.parameters()], lr=0.1)}


@pytest.mark.parametrize("build", [
    loaded(), own_generator, samplers_generator, weighted_sampler, batch_samplers_generator,
    lambda: {"net": small_net(dropout=0.5)}, lambda: {"net": small_net(dropout=0.5), "precision": "float16"},
    lambda: {"train_iter": batches(image_size=[8, 12, 16])},
], ids=["loader", "own generator", "sampler's generator", "weighted sampler", "batch sampler's generator", "dropout",
        "float16", "sizes"])
@pytest.mark.parametrize("stop", [1, 2])
def test_what_a_run_goes_on_from_is_kept(build, stop, tmp_path):
    check_resumes(build, tmp_path / "run", stop=stop)


@pytest.mark.parametrize(("build", "name"), [(learned_loss, "loss"), (scheduled(OwnSchedule), "schedule")],
                         ids=["loss", "schedule"])
def test_what_cannot_be_kept_is_refused_by_its_name(build, name, tmp_path):
    try:
        check_resumes(build, tmp_path / "run")
    except (RuntimeError, ValueError, TypeError) as error:
        said = str(error)
    else:
        said = name                                         # it is kept
    assert name in said


# ----------------------------------------------------------------------------------------------------------------------
# Work was lost
# ----------------------------------------------------------------------------------------------------------------------

# What is written cannot be read

def numpy_milestones():
    return with_schedule(lambda optimizer: lr_scheduler.MultiStepLR(optimizer, np.array([2, 4])))


@pytest.mark.parametrize("build", [
    optimized(lr=np.float64(0.01)),
    optimized(lr=np.float32(0.01), momentum=np.float64(0.9), weight_decay=np.float32(5e-4)),
    optimized(torch.optim.Adam, lr=np.float64(0.01), betas=(np.float64(0.9), np.float64(0.99))),
    optimized(torch.optim.Adam, lr=torch.tensor(0.01)),
    scheduled(lambda o: lr_scheduler.OneCycleLR(o, np.float64(0.1), total_steps=2 * EPOCHS)),
    scheduled(lambda o: lr_scheduler.CosineAnnealingLR(o, np.int64(6), eta_min=np.float64(1e-4))),
    scheduled(lambda o: lr_scheduler.LambdaLR(o, lambda step: np.float64(0.9) ** step)), numpy_milestones,
    lambda: {"max_norm": np.float64(1.0)}, lambda: {"loss": nn.CrossEntropyLoss(label_smoothing=np.float64(0.1))},
    lambda: {"loss": OwnLoss(gamma=np.float64(2.0))}, lambda: {"epochs": np.int64(EPOCHS)},
    lambda: {"train_iter": batches(batch_size=np.int64(12), image_size=np.int64(8), seed=np.int64(3),
                                   scale=np.array([0.5, 1.0]), train=np.True_)},
    lambda: {"train_iter": batches(image_size=list(np.array([8, 12])), scale=torch.tensor([0.5, 1.0]))},
], ids=["lr", "momentum", "betas", "tensor", "OneCycleLR", "CosineAnnealingLR", "LambdaLR", "MultiStepLR",
        "max_norm", "loss", "own loss", "epochs", "Batches", "sizes"])
def test_numbers_of_numpy_are_stored_so_that_they_can_be_read(build, tmp_path):
    check_resumes(build, tmp_path / "run")


# One of two twins is normalised

VIEWS = {
    "strided": (IMAGES[::2], LABELS[::2]), "strided labels": (IMAGES[:12], LABELS[::2]),
    "reversed": (IMAGES.flip(0), LABELS.flip(0)), "columns": (IMAGES, torch.stack([LABELS, LABELS], 1)[:, 0]),
    "expanded": (IMAGES[:1].expand(24, -1, -1, -1), LABELS[:1].expand(24)),
    "permuted": (IMAGES.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), LABELS),
    "crop": (IMAGES[:, :, 1:-1, 1:-1], LABELS), "arrays": (IMAGES.numpy()[::2], LABELS.numpy()[::2]),
    "int32": (IMAGES[::2], LABELS.int()[::2]),
}


@pytest.mark.parametrize(("images", "labels"), VIEWS.values(), ids=VIEWS)
def test_views_are_trained_on_and_stored_like_copies(images, labels, tmp_path):
    check_resumes(lambda: {"train_iter": batches(images, labels, 6)}, tmp_path / "run")
    copies = (torch.as_tensor(view).clone(memory_format=torch.contiguous_format) for view in (images, labels))
    assert batches(images, labels, 6).describe() == batches(*copies, 6).describe()


# Limits are met in the middle

@pytest.mark.parametrize("steps", [2 * EPOCHS - 1, 1])
def test_a_schedule_with_too_few_steps_is_refused(steps, refused):
    refused(ValueError, ["schedule", f"has {steps} steps left", f"needs {2 * EPOCHS}"],
            **with_schedule(functools.partial(one_cycle, steps=steps)))


def test_the_cell_run_twice_is_refused_and_with_a_checkpoint_it_is_done(tmp_path, refused, capsys):
    given = arguments(**with_schedule(one_cycle))
    gu.train(**given)
    capsys.readouterr()
    refused(ValueError, ["schedule", "has 0 steps left", f"needs {2 * EPOCHS}"], **given)
    given = arguments(**with_schedule(one_cycle))
    history = gu.train(**given, checkpoint=tmp_path / "run")
    before = copy.deepcopy(given["net"])
    check_same(given["net"], gu.train(**given, checkpoint=tmp_path / "run"), before, history)


def test_more_epochs_than_the_schedule_has_are_refused_when_going_on_too(tmp_path, refused, capsys):
    build = functools.partial(with_schedule, functools.partial(one_cycle, steps=2 * EPOCHS))
    gu.train(**arguments(**build(), epochs=1), checkpoint=tmp_path / "run")
    content = (tmp_path / "run").read_bytes()
    capsys.readouterr()
    with pytest.raises(ValueError, match=f"has {2 * EPOCHS - 2} steps left, the run needs {2 * EPOCHS}"):
        gu.train(**arguments(**build(), epochs=EPOCHS + 1), checkpoint=tmp_path / "run")
    assert "epoch 2" not in capsys.readouterr().out
    assert (tmp_path / "run").read_bytes() == content


@pytest.mark.parametrize("name", ["train_iter", "val_iter"])
@pytest.mark.parametrize("make", [iter, lambda b: (batch for batch in b), lambda b: zip(*zip(*b)),
                                  lambda b: map(tuple, b)], ids=["iter", "generator", "zip", "map"])
def test_batches_that_come_only_once_are_refused_for_more_epochs(name, make, refused):
    refused(ValueError, [name, "only once", "DataLoader"], **{name: make(listed())})


def test_batches_that_come_only_once_are_enough_for_one_epoch():
    history = gu.train(**arguments(train_iter=iter(listed()), val_iter=iter(listed()), epochs=1))
    assert len(history["val_acc"]) == 1


def test_all_labels_of_the_validation_are_looked_at_where_they_can_be_seen(refused):
    refused(ValueError, ["labels", "1 to 10", "10 logits"], seen=True, val_iter=batches(labels=LABELS + 1, train=False))


# A place that cannot be written

def below_a_file(folder):
    (folder / "file").write_text("something else")
    return folder / "file" / "run"


def a_folder(folder):
    return folder


def on_no_disk(folder):
    return "/proc/googlenet/run"


@pytest.mark.parametrize("place", [below_a_file, a_folder, pytest.param(on_no_disk, marks=pytest.mark.skipif(
    sys.platform != "linux", reason="Linux shows its processes as files"))])
def test_a_checkpoint_that_cannot_be_written_is_known_before_the_first_step(place, tmp_path, monkeypatch, capsys):
    # Refused, or kept where one may write, which a line says: never an epoch trained and lost.
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    given, path = arguments(), place(tmp_path)
    before = copy.deepcopy(given["net"])
    error = None
    try:
        history = gu.train(**given, checkpoint=path)
    except (RuntimeError, ValueError) as caught:
        error = str(caught)
    if error is not None:
        assert str(path) in error
        assert "\n" not in error
        assert "epoch 1" not in capsys.readouterr().out
        assert all(torch.equal(*pair) for pair in zip(given["net"].parameters(), before.parameters(), strict=True))
    else:
        printed = capsys.readouterr().out.split("epoch 1,")[0]
        assert f"{Path(path).parent} cannot be written" in printed, "it is said before the first epoch"
        kept = list((tmp_path / "home").rglob("run"))
        assert len(kept) == 1
        assert str(kept[0].parent) in printed
        again = arguments()
        check_same(again["net"], gu.train(**again, checkpoint=path), given["net"], history)
    assert not (tmp_path / "file").exists() or (tmp_path / "file").read_text() == "something else"


@pytest.mark.parametrize("checkpoint", [True, 1, b"run"], ids=str)
def test_a_checkpoint_that_is_no_path_is_refused(checkpoint, refused):
    refused(TypeError, [type(checkpoint).__name__], checkpoint=checkpoint)


# hasattr as a contract

def prepared(*, schedule=False):
    """As Accelerate prepares a run, in one process."""
    accelerate = pytest.importorskip("accelerate")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = accelerate.Accelerator(cpu=True)
    given = with_schedule(one_cycle) if schedule else with_schedule(lambda optimizer: None)
    given["train_iter"] = loaded()()["train_iter"]
    names = [name for name in ("net", "optimizer", "train_iter", "schedule") if given[name] is not None]
    return given | dict(zip(names, accelerator.prepare(*(given[name] for name in names)), strict=True))


@pytest.mark.parametrize("schedule", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_a_run_that_accelerate_prepared_is_stored_and_goes_on(schedule, tmp_path):
    try:
        check_resumes(lambda: prepared(schedule=schedule), tmp_path / "run")
    finally:
        sys.modules["accelerate"].state.AcceleratorState._reset_state(reset_partial_state=True)


class OnlyNames(list):
    """Batches of somebody who has the methods' names, with nothing behind them yet."""

    def state_dict(self):
        raise NotImplementedError

    def set_epoch(self, epoch):
        self.epoch = epoch


def test_batches_with_names_and_nothing_behind_them_are_trained_on(tmp_path):
    check_resumes(lambda: {"train_iter": OnlyNames(listed())}, tmp_path / "run")


# What training cannot use

def all_frozen():
    net = small_net()
    return {"net": net.requires_grad_(False), "optimizer": sgd(net)}


@pytest.mark.parametrize(("build", "words"), [
    (lambda: with_schedule(lr_scheduler.ReduceLROnPlateau), ["ReduceLROnPlateau", "take another"]),
    (optimized(torch.optim.LBFGS), ["LBFGS", "take another"]),
    (all_frozen, ["no weight", "trainable", "requires_grad"]),
    (lambda: {"train_iter": []}, ["no image", "train_iter"]),
    (lambda: {"val_iter": []}, ["no image", "val_iter"]),
    (lambda: {"val_iter": DataLoader(TensorDataset(X[:0], Y[:0]))}, ["no image", "val_iter"]),
    (lambda: {"train_iter": DataLoader(TensorDataset(X, Y), 100, drop_last=True)}, ["no image", "train_iter"]),
    *((functools.partial(dict, loss=kind(reduction=reduction)), ["loss", "average", "reduction"])
      for kind in (nn.CrossEntropyLoss, nn.NLLLoss) for reduction in ("none", "sum")),
], ids=["ReduceLROnPlateau", "LBFGS", "frozen", "no images", "no validation", "empty loader", "all dropped",
        "none", "sum", "NLLLoss, none", "NLLLoss, sum"])
def test_what_training_cannot_use_is_refused(build, words, refused):
    refused(ValueError, words, **build())


def vector(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


LOSSES = {      # what only the first batch shows
    "a vector": vector, "a matrix": lambda logits, y: (logits - F.one_hot(y, 10)) ** 2,
    "a number": lambda logits, y: F.cross_entropy(logits, y).item(),
    "a pair": lambda logits, y: (F.cross_entropy(logits, y), {}),
    "nothing": lambda logits, y: None,
    "detached": lambda logits, y: F.cross_entropy(logits.detach(), y),
    "the accuracy": lambda logits, y: (logits.argmax(dim=1) == y).float().mean(),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_loss_that_gives_something_else_is_refused_before_the_first_step(loss, refused):
    refused((TypeError, ValueError), ["the loss"], seen=True, loss=loss)


def test_gradients_that_are_switched_off_are_said(refused):
    with torch.no_grad():                                   # as a cell with set_grad_enabled(False) leaves them
        refused((RuntimeError, ValueError), ["grad", "switched off"], seen=True)


class Named(nn.Module):
    """A network with outputs as other libraries give them."""

    def __init__(self, outputs):
        super().__init__()
        self.net, self.outputs = small_net(), outputs

    def forward(self, x):
        return self.outputs(self.net(x))


@pytest.mark.parametrize("outputs", [lambda logits: {"logits": logits}, lambda logits: [logits]], ids=["dict", "list"])
def test_outputs_that_are_no_logits_are_refused(outputs, refused, refuses):
    refused((TypeError, ValueError), ["logits"], seen=True, net=Named(outputs))
    with refuses((TypeError, ValueError), "logits"):
        gu.evaluate_accuracy(listed(), Named(outputs), "cpu")


NO_BATCHES = {
    "a data set": lambda: TensorDataset(X, Y), "images alone": lambda: X, "images and labels": lambda: (X, Y),
    "three things": lambda: [(images, labels, labels) for images, labels in listed()],
    "images alone in batches": lambda: [images for images, _ in listed()],
    "names": lambda: [{"image": images, "label": labels} for images, labels in listed()],
    "nothing": lambda: None, "a function": lambda: listed, "a number": lambda: 3,
}


@pytest.mark.parametrize("name", ["train_iter", "val_iter"])
@pytest.mark.parametrize("make", NO_BATCHES.values(), ids=NO_BATCHES)
def test_what_is_no_batches_of_images_and_labels_is_refused(name, make, refused):
    refused((TypeError, ValueError), ["batch"], seen=True, **{name: make()})


@pytest.mark.parametrize("name", ["train_iter", "val_iter"])
def test_a_loaders_batches_are_pairs_and_no_dicts_of_names(name, refuses):
    loader = DataLoader([{"image": x, "label": y} for x, y in zip(X, Y, strict=True)], 12)
    with refuses(ValueError, name, "no pair of images and labels"):
        gu.train(**arguments(**{name: loader}))


# ----------------------------------------------------------------------------------------------------------------------
# Raw or misleading words
# ----------------------------------------------------------------------------------------------------------------------

# Arguments that are something else

@pytest.mark.parametrize(("changes", "words"), [
    ({"loss": nn.CrossEntropyLoss}, ["loss", "CrossEntropyLoss()"]), ({"loss": "cross entropy"}, ["loss", "function"]),
    ({"loss": 0.5}, ["loss", "function"]), ({"optimizer": torch.optim.SGD}, ["optimizer", "SGD"]),
    ({"optimizer": "sgd"}, ["optimizer", "sgd"]), ({"optimizer": None}, ["optimizer", "None"]),
    ({"schedule": lr_scheduler.OneCycleLR}, ["schedule has to be"]),
    ({"schedule": 0.1}, ["schedule has to be"]), ({"schedule": lambda step: 0.1}, ["schedule has to be"]),
    ({"epochs": "cpu", "device": 3}, ["epochs", "cpu"]), ({"on_step": 5}, ["on_step", "5"]),
])
def test_arguments_of_another_kind_are_refused(changes, words, refused):
    refused((TypeError, ValueError), words, **changes)


@pytest.mark.parametrize(("one", "other"), [("net", "train_iter"), ("net", "optimizer"), ("loss", "optimizer"),
                                            ("val_iter", "loss"), ("optimizer", "device"), ("train_iter", "epochs"),
                                            ("device", "epochs"), ("optimizer", "schedule")])
def test_arguments_that_changed_places_are_refused(one, other, refuses):
    given = arguments(**with_schedule(one_cycle))
    given[one], given[other] = given[other], given[one]
    with refuses((TypeError, ValueError), "has to"):
        gu.train(**given)


@pytest.mark.parametrize("net", [gu.GoogLeNet, small_net().forward, None], ids=["class", "method", "None"])
def test_what_is_no_network_is_refused(net, refuses):
    with refuses(TypeError, "net", "network"):
        gu.train(**arguments(net=net))


@pytest.mark.parametrize(("given", "words"), [
    (lambda: (small_net(), listed(), "cpu"), ["data_iter", "net", "device"]),       # as d2l orders them
    (lambda: (listed(), "cpu", small_net()), ["net", "network"]),
    (lambda: (listed(), small_net, "cpu"), ["net", "network"]),
], ids=["d2l's order", "net last", "function"])
def test_an_evaluation_says_what_it_takes(given, words, refuses):
    with refuses((TypeError, ValueError), *words):
        gu.evaluate_accuracy(*given())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has an NVIDIA GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda"), "gpu", "CPU", "", 0, None])
def test_a_device_that_is_not_there_is_refused(device, refused, refuses):
    refused(ValueError, ["device", repr(device), "choose_device()"], device=device)
    with refuses(ValueError, "device", repr(device), "choose_device()"):
        gu.evaluate_accuracy(listed(), small_net(), device)


# Types of images and labels

@functools.cache
def googlenets():
    build = functools.partial(gu.GoogLeNet, num_classes=10, small_images=True, initialization="pytorch")
    return build(), build(batch_norm=True, aux=True)


@pytest.mark.parametrize("spoil", [
    lambda x: (255 * x).byte(), lambda x: x.double(), lambda x: x.half(), lambda x: x.bfloat16(), lambda x: x.long(),
    lambda x: x > 0.5, lambda x: x.numpy(), lambda x: list(x), lambda x: x[0], lambda x: x.permute(0, 2, 3, 1),
    lambda x: x[:, :1], lambda x: x[None], lambda x: None,
], ids=["uint8", "float64", "float16", "bfloat16", "int64", "bool", "array", "list", "one image", "channels last",
        "gray", "five dimensions", "None"])
def test_a_googlenet_refuses_what_are_no_images_for_it(spoil, refuses):
    for net in googlenets():
        with refuses(ValueError, "this GoogLeNet takes"):
            net(spoil(X[:2]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_googlenet_of_another_dtype_takes_images_of_it(dtype, refuses):
    net = copy.deepcopy(googlenets()[0]).to(dtype)
    assert net(X[:2].to(dtype)).dtype == dtype
    with refuses(ValueError, str(dtype), "torch.float32"):
        net(X[:2])


def test_a_googlenet_takes_half_precision_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert googlenets()[0](X[:2].bfloat16()).shape == (2, 10)


class Cifar:
    """What torchvision's CIFAR10 holds: an array N x H x W x 3, and a list."""
    data, targets = np.ascontiguousarray(IMAGES.permute(0, 2, 3, 1).numpy()), LABELS.tolist()


def frozen_array():
    array = IMAGES.numpy().copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("images", "labels"), [
    (Cifar.data, Cifar.targets), (torch.from_numpy(Cifar.data), LABELS), (IMAGES.numpy(), LABELS.numpy()),
    (IMAGES, tuple(Cifar.targets)), (IMAGES, [np.int64(label) for label in LABELS]), (IMAGES, list(LABELS)),
    (frozen_array(), LABELS), (np.ascontiguousarray(Cifar.data[..., ::-1])[..., ::-1], LABELS),
    (Cifar.data[::-1][::-1], LABELS.numpy()[::-1][::-1]),
], ids=["torchvision's", "tensor", "arrays", "tuple", "numbers of NumPy", "list of tensors", "read-only", "BGR turned",
        "turned twice"])
def test_images_and_labels_are_taken_as_other_tools_hold_them(images, labels, train):
    for (batch, kinds), (expected, expected_kinds) in zip(batches(images, labels, train=train), batches(train=train),
                                                          strict=True):
        assert torch.equal(batch, expected)
        assert torch.equal(kinds, expected_kinds)


@pytest.mark.parametrize(("images", "labels", "words"), [
    (IMAGES.float(), LABELS, ["uint8", "torch.float32"]),
    (IMAGES[:, 0], LABELS, ["N x channels", "24 x 8 x 8"]), (IMAGES, ["cat"] * 24, ["labels", "numbers"]),
    (IMAGES, LABELS.float(), ["labels", "whole numbers"]), (IMAGES, F.one_hot(LABELS, 10), ["labels", "24 x 10"]),
    (IMAGES, LABELS[:, None], ["labels", "24 x 1"]), (LABELS, IMAGES, ["images", "24"]), (None, LABELS, ["images"]),
    (IMAGES, None, ["labels"]), (IMAGES, 3, ["labels"]), ("images.png", LABELS, ["images"]),
    (TensorDataset(IMAGES, LABELS), LABELS, ["images"]),
], ids=["floats", "no channels", "names", "float labels", "one-hot", "a column", "swapped",
        "no images", "no labels", "one label", "a path", "a data set"])
def test_what_is_neither_images_nor_labels_is_refused(images, labels, words, refuses):
    with refuses(ValueError, *words):
        batches(images, labels)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("kind", [np.array, torch.tensor, list, lambda n: torch.tensor(n, dtype=torch.float64),
                                  lambda n: np.array(n, dtype=np.float16), lambda n: torch.tensor(n).view(3, 1, 1),
                                  lambda n: [np.float64(number) for number in n]],
                         ids=["array", "tensor", "list", "float64", "float16", "3 x 1 x 1", "numbers of NumPy"])
def test_batches_are_float32_whatever_mean_and_deviation_are(kind, train, tmp_path):
    given = batches(mean=kind(gu.CIFAR10_MEAN), std=kind(gu.CIFAR10_STD), train=train)
    for (batch, _), (expected, _) in zip(given, batches(train=train), strict=True):
        assert batch.dtype == torch.float32
        torch.testing.assert_close(batch, expected, rtol=0, atol=0.01)
    if train:
        gu.train(**arguments(train_iter=given, epochs=1), checkpoint=tmp_path / "run")


LABEL_TYPES = [torch.int8, torch.int16, torch.int32, torch.uint8, torch.int64, np.int16, np.int32, np.uint8]


def as_type(labels, dtype):
    return labels.to(dtype) if isinstance(dtype, torch.dtype) else labels.numpy().astype(dtype)


@pytest.mark.parametrize("dtype", LABEL_TYPES, ids=lambda dtype: getattr(dtype, "__name__", str(dtype)))
@pytest.mark.parametrize("kind", ["list", "loader", "Batches"])
def test_labels_of_every_whole_type_are_taken(dtype, kind):
    labels = as_type(LABELS, dtype)

    def given(train):
        if kind == "Batches":
            return batches(labels=labels, train=train)
        if kind == "list":
            return [(images, as_type(part, dtype)) for images, part in listed()]
        return DataLoader(TensorDataset(X, torch.as_tensor(labels)), 12)

    def expected(train):
        return batches(train=train) if kind == "Batches" else listed()

    one, other = small_net(), small_net()
    other.load_state_dict(one.state_dict())
    check_same(one, gu.train(**arguments(net=one, train_iter=given(True), val_iter=given(False))),
               other, gu.train(**arguments(net=other, train_iter=expected(True), val_iter=expected(False))))


def test_images_and_labels_may_be_arrays_and_lists_in_a_batch():
    given = [(images.numpy(), labels.tolist()) for images, labels in listed()]
    one, other = small_net(), small_net()
    other.load_state_dict(one.state_dict())
    check_same(one, gu.train(**arguments(net=one, train_iter=given, val_iter=given)),
               other, gu.train(**arguments(net=other, train_iter=listed(), val_iter=listed())))


@pytest.mark.parametrize("kind", ["list", "Batches"])
@pytest.mark.parametrize("classes", [5, 9])
def test_more_labels_than_logits_are_refused(kind, classes, refused):
    net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, classes))
    refused(ValueError, ["labels", "0 to 9", f"{classes} logits", "num_classes"], seen=True, net=net,
            **{name: batches(train=name == "train_iter") if kind == "Batches" else listed(size=24)
               for name in ("train_iter", "val_iter")})


@pytest.mark.parametrize("ignored", [-100, 255])
def test_labels_that_mean_nothing_are_refused(ignored, refused):
    labels = LABELS.clone()
    labels[3] = ignored
    refused(ValueError, ["labels", str(ignored)], seen=True, train_iter=listed(labels=labels))


# A known cause, a raw message

@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.LazyBatchNorm2d])
def test_batch_norm_and_a_last_batch_of_one_image(norm, refuses):
    layer = norm() if norm is nn.LazyBatchNorm2d else norm(6)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), layer, nn.Flatten(), nn.Linear(6, 10))
    net(X[:2])
    with refuses(ValueError, "batch of one image", "drop_last=True", "Batches"):
        gu.train(**arguments(net=net, train_iter=DataLoader(TensorDataset(X, Y), 23)))
    assert len(gu.train(**arguments(net=net, train_iter=batches(batch_size=23)))["loss"]) == EPOCHS


def test_googlenet_with_batch_norm_and_a_last_batch_of_one_image_at_32_pixels(refuses):
    images, labels = gu.make_shapes(5, seed=0)
    net = gu.GoogLeNet(num_classes=10, batch_norm=True, initialization="pytorch")
    with refuses(ValueError, "batch of one image", "drop_last=True"):
        gu.train(**arguments(net=net, epochs=1, train_iter=DataLoader(TensorDataset(images / 255, labels), 4),
                             val_iter=[(images / 255, labels)]))


# Wrappers

class Wrapped:
    """How the same network comes in other tools; each holds its weights under other names."""
    bare = staticmethod(lambda net: net)
    parallel = staticmethod(nn.DataParallel)

    @staticmethod
    def compiled(net):
        return torch.compile(net, backend="eager")

    @staticmethod
    def both(net):
        return Wrapped.compiled(nn.DataParallel(net))

    @staticmethod
    def compiled_within(net):
        return nn.DataParallel(Wrapped.compiled(net))

    @staticmethod
    def in_place(net):
        net.compile(backend="eager")
        return net


WRAPPERS = ["parallel", "compiled", "both", "compiled_within", "in_place"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("wrapped_first", [True, False])
def test_the_checkpoint_of_a_wrapped_network_goes_on_bare_and_the_other_way_round(name, wrapped_first, tmp_path):
    def built(kind):
        torch.manual_seed(0)
        net = small_net()
        wrapped = getattr(Wrapped, kind)(net)
        return {**arguments(net=net), "net": wrapped}, net

    if name != "parallel" and sys.platform == "win32":
        pytest.skip("torch.compile wants a compiler there")
    first, second = (name, "bare") if wrapped_first else ("bare", name)
    whole, plain = built("bare")
    expected = gu.train(**whole)
    gu.train(**{**built(first)[0], "epochs": 1}, checkpoint=tmp_path / "run")
    again, net = built(second)
    history = gu.train(**again, checkpoint=tmp_path / "run")
    check_same(net, history, plain, expected)


# Lazy layers

def lazy_net():
    return nn.Sequential(nn.LazyConv2d(6, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("build", [lazy_net, lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)),
                                   lambda: nn.Sequential(small_net()[:-1], nn.LazyLinear(10))],
                         ids=["all", "one", "the last"])
def test_lazy_layers_have_to_see_a_batch_first(build, refuses):
    net = build()
    with refuses(ValueError, "lazy layers", "one batch through it first"):
        gu.train(**arguments(net=net, optimizer=sgd(net)))
    with refuses(ValueError, "lazy layers", "one batch through it first"):
        gu.make_recipe(net, 12, 10)
    net(X[:2])
    assert len(gu.train(**arguments(net=net, optimizer=sgd(net)))["loss"]) == EPOCHS


# Paths

@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", ["~/run", "~/new folder/run"])
def test_a_checkpoint_may_be_in_the_home_folder(kind, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    check_resumes(dict, kind(name))
    assert (tmp_path / "home" / name[2:]).is_file()
    assert [entry.name for entry in tmp_path.iterdir()] == ["home"]


# A misleading diagnosis

@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("name", ["train_iter", "val_iter"])
def test_an_empty_batch_is_named_and_not_called_a_loss_that_is_not_finite(place, name, refuses):
    wrong = listed()
    wrong.insert(place, (X[:0], Y[:0]))
    with refuses(ValueError, "a batch has", "(0,)", "at least 1"):
        gu.train(**arguments(**{name: wrong}))

