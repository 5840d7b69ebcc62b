"""The networks that the comparisons train: GoogLeNet with one part changed, at equal cost, and its neighbours."""
import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

import googlenet_utils as gu


class Paths(nn.ModuleList):
    """An Inception block of any paths: each gets the same input, their outputs are concatenated on the channels."""

    def forward(self, x):
        return torch.cat([path(x) for path in self], dim=1)


def layers(in_channels, *convolutions, batch_norm):
    """(kernel size, channels) after each other, each with its ReLU; none shrinks its feature map."""
    built = []
    for kernel_size, channels in convolutions:
        built += [gu.convolution(in_channels, channels, kernel_size=kernel_size, padding=kernel_size // 2,
                                 batch_norm=batch_norm), nn.ReLU()]
        in_channels = channels
    return nn.Sequential(*built)


def build_block(in_channels, c1, c2, c3, c4, *, without=None, path3="5x5", reductions=True, plain=False,
                batch_norm=True):
    """The block with these channels and one part changed (plain: one 3x3 convolution), and its number of outputs."""
    if plain:
        channels = c1 + c2[1] + c3[1] + c4
        return layers(in_channels, (3, channels), batch_norm=batch_norm), channels
    kernels = {"5x5": [5], "3x3": [3], "3x3 3x3": [3, 3]}[path3]
    convolutions = {1: [(1, c1)], 2: [(1, c2[0]), (3, c2[1])], 3: [(1, c3[0]), *((k, c3[1]) for k in kernels)],
                    4: [(1, c4)]}
    if not reductions:
        convolutions[2], convolutions[3] = convolutions[2][1:], convolutions[3][1:]
    if without:
        del convolutions[without]
    paths = {number: layers(in_channels, *path, batch_norm=batch_norm) for number, path in convolutions.items()}
    if 4 in paths:
        paths[4].insert(0, nn.MaxPool2d(kernel_size=3, stride=1, padding=1))
    return Paths(paths.values()), sum(path[-1][1] for path in convolutions.values())


def rebuild(net, size, *, width, head=None, **changes):
    """Put blocks of `width` times the paper's channels, changed as `build_block` says, behind the stem of `net`, which
    stays; all weights are fresh."""
    def wide(channels):
        return tuple(map(wide, channels)) if isinstance(channels, tuple) else max(1, round(width * channels))

    batch_norm = any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())
    channels = [layer for layer in net.stage2.modules() if isinstance(layer, nn.Conv2d)][-1].out_channels
    filters, outputs = iter([row for row in gu.TABLE_1 if row.filters]), {}
    for stage in (net.stage3, net.stage4, net.stage5):
        for index, layer in enumerate(stage):
            if isinstance(layer, gu.Inception):
                row = next(filters)
                stage[index], channels = build_block(channels, *wide(row.filters), **changes, batch_norm=batch_norm)
                outputs[row.name] = channels
    if net.aux:
        sizes = net.fc.out_features, net.aux1.fc1.in_features // 16, net.aux1.fc1.out_features
        net.aux1 = gu.AuxiliaryHead(outputs["4a"], *sizes, batch_norm=batch_norm)
        net.aux2 = gu.AuxiliaryHead(outputs["4d"], *sizes, batch_norm=batch_norm)
    if head == "fully connected":
        inputs = channels * (-(-size // net.smallest_image)) ** 2
        net.stage5 = nn.Sequential(*net.stage5[:2], nn.Flatten(), nn.Linear(inputs, net.fc.in_features), nn.ReLU())
        channels = net.fc.in_features
    net.fc = nn.Linear(channels, net.fc.out_features)
    return gu.initialize(net)


def build_googlenet(size, *, changes=None, **options):
    """GoogLeNet with these options and, with `changes`, blocks that `rebuild` changes and makes wider or narrower, all
    by the same factor, until an image costs as many multiply-adds in training as in the network without a change."""
    def attempt(width):
        return rebuild(gu.GoogLeNet(num_classes=10, **options), size, width=width, **changes)

    if changes is None:
        return gu.GoogLeNet(num_classes=10, **options)
    width = options.get("width", 1.0)
    with torch.device("meta"):                              # shapes only: no data, no random numbers
        target = training_macs(gu.GoogLeNet(num_classes=10, **{**options, "aux": False}), size)
        for _ in range(4):                                  # the price goes nearly as the square of the width
            width *= (target / training_macs(attempt(width), size)) ** 0.5
    return attempt(width)


def training_macs(net, size):
    """Multiply-adds of one image's forward pass in train mode, where the auxiliary heads compute too."""
    traced = copy.deepcopy(net).to("meta").train()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        traced(torch.empty(2, 3, size, size, device="meta"))
    return counter.get_total_flops() // 4                   # two images, two FLOPs for each


def build_nin(num_classes=1000):
    """Network in Network for ImageNet, as its authors gave it to the Caffe Model Zoo (Lin, Chen and Yan, arXiv
    1312.4400), without dropout: N x 3 x 224 x 224 -> N x num_classes. The poolings round down, as is PyTorch's way;
    images of less than 67 pixels are too small for them."""
    def mlpconv(in_channels, channels, last, **window):
        return [nn.Conv2d(in_channels, channels, **window), nn.ReLU(),
                nn.Conv2d(channels, channels, kernel_size=1), nn.ReLU(),
                nn.Conv2d(channels, last, kernel_size=1), nn.ReLU()]

    def halve():
        return nn.MaxPool2d(kernel_size=3, stride=2)

    return nn.Sequential(
        *mlpconv(3, 96, 96, kernel_size=11, stride=4), halve(),
        *mlpconv(96, 256, 256, kernel_size=5, padding=2), halve(),
        *mlpconv(256, 384, 384, kernel_size=3, padding=1), halve(),
        *mlpconv(384, 1024, num_classes, kernel_size=3, padding=1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten())


NEIGHBOURS = {          # without dropout; all weights are drawn anew by gu.initialize
    "AlexNet": lambda: models.alexnet(num_classes=10, dropout=0),
    "NiN": lambda: build_nin(10),
    "VGG-16": lambda: models.vgg16(num_classes=10, dropout=0, init_weights=False),
    "GoogLeNet": lambda: gu.GoogLeNet(num_classes=10),
    "VGG-16, batch norm": lambda: models.vgg16_bn(num_classes=10, dropout=0, init_weights=False),
    "GoogLeNet, batch norm": lambda: gu.GoogLeNet(num_classes=10, batch_norm=True),
    "ResNet-18": lambda: models.resnet18(num_classes=10),
    "DenseNet-121": lambda: models.densenet121(num_classes=10),
}


def build(network, size):
    """A fresh network for images of `size` pixels: {"neighbour": name}, or `build_googlenet`'s options."""
    if "neighbour" in network:
        return gu.initialize(NEIGHBOURS[network["neighbour"]]())
    return build_googlenet(size, **network)
