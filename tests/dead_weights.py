"""Which weights no image can reach, as notebook 2 counts them: for tests of networks and of what was trained."""
import copy

import torch
from torch import nn


def count_dead_weights(net, size):
    """How many weights of `net` only ever meet padding when its images have size x size pixels."""
    # Positive weights and images leave no ReLU at zero, and an average passes a gradient to every pixel, so a weight
    # without a gradient is a dead one.
    net = copy.deepcopy(net).to("cpu", torch.float32).eval()
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
            elif isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(1 / p[0].numel())
    net(torch.ones(1, 3, size, size)).sum().backward()
    return sum((p.grad == 0).sum().item() for p in net.parameters() if p.grad is not None)
