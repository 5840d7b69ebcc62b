"""Switch off each of the 36 paths of the trained GoogLeNet in turn, and write results/path_ablation.json.

A path that is switched off gives the same for every image: its mean over images and positions, a number per channel;
where a max pooling follows the block (3b, 4e), its mean behind the pooling. The weights stay as they are, so this is
not what a network would reach that was trained without the path. Standard errors are of differences on the same images.

usage: python benchmarks/path_ablation.py [--images 2000]       (the first test images; nothing is chosen by them)
"""
from collections import deque

import torch
from torch import nn

from experiment import command_line, describe_machine, gu, write_result


def blocks(net, x):
    """Stops behind each block, and the pooling after it: gives the outputs of its paths, and the layers to come."""
    layers = deque([*net.stage1, *net.stage2, *net.stage3, *net.stage4, *net.stage5, net.fc])
    while layers:
        layer = layers.popleft()
        if isinstance(layer, gu.Inception):
            outputs = layer.paths(x)
            if isinstance(layers[0], nn.MaxPool2d):         # which keeps channels apart, and so paths
                outputs = tuple(map(layers.popleft(), outputs))
            yield outputs, nn.Sequential(*layers)
            x = torch.cat(outputs, dim=1)
        else:
            x = layer(x)


def path_means(net, batches):
    """The mean of each path's output over images and positions, {(block, path): 1 x channels x 1 x 1}."""
    sums, count = {}, 0
    for x, _ in batches:
        count += len(x)
        for block, (outputs, _) in enumerate(blocks(net, x)):
            for path, output in enumerate(outputs):
                of_images = output.mean(dim=(2, 3), keepdim=True).sum(dim=0, keepdim=True)
                sums[block, path] = sums.get((block, path), 0) + of_images
    return {key: total / count for key, total in sums.items()}


def logits_without_each(net, x, means):
    """Logits of the whole network, and without each path of each block: {"whole" or (block, path): N x classes}."""
    logits = {}
    for block, (outputs, rest) in enumerate(blocks(net, x)):
        for path, output in enumerate(outputs):
            off = means[block, path].expand_as(output)
            logits[block, path] = rest(torch.cat([*outputs[:path], off, *outputs[path + 1:]], dim=1))
    return {"whole": rest(torch.cat(outputs, dim=1)), **logits}


def rate(values):
    """The mean of 0s and 1s (or of differences of them), and its standard error."""
    return values.double().mean().item(), (values.double().std() / len(values) ** 0.5).item()


def main():
    count, device = command_line(__doc__, {"--images": 2_000}).images, gu.choose_device()
    net, card = gu.load_trained()
    data, size = gu.load_images("cifar10"), card["image_size"]
    net, batches = net.to(device), gu.Batches(*data.test.first(count), 100, size, False, device)
    with torch.no_grad():
        means = path_means(net, batches)
        found = [{key: (logits.argmax(dim=1) == labels).long() for key, logits in
                  logits_without_each(net, x, means).items()} for x, labels in batches]
    right = {key: torch.cat([one[key] for one in found]) for key in found[0]}
    lost = {key: rate(right["whole"] - right[key]) for key in means}
    rows = [{"block": name, "accuracy_lost": [lost[block, path][0] for path in range(4)],
             "standard_error": [lost[block, path][1] for path in range(4)]}
            for block, name in enumerate(row.name for row in gu.TABLE_1 if row.filters)]
    write_result("path_ablation", {
        "data": f"{data.name}, the first {len(right['whole']):,} test images", "images": len(right["whole"]),
        "image_size": size, "weights_sha256": card["sha256"], "precision": "float32",
        "accuracy": rate(right["whole"])[0], "rows": rows, "machine": describe_machine(device)})


if __name__ == "__main__":
    main()
