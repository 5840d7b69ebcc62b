"""Switch off each of the 36 paths of the trained GoogLeNet in turn, and write results/path_ablation.json.

Switched off means: for every image the path gives the same, its mean over images and places, a number a channel. The
weights stay as they are, so this is not what a network would reach that was trained without the path. The images are
the first 1,000 test images, at the size on the weights' card; nothing is chosen by them.

usage: python benchmarks/path_ablation.py [--images 1000]
"""
import torch
from torch import nn

from experiment import command_line, describe_machine, gu, write_result


def blocks(layers, x):
    """Stops in each Inception block: gives what leaves its paths, and the layers after it."""
    for index, layer in enumerate(layers, start=1):
        if isinstance(layer, gu.Inception):
            outputs = layer.paths(x)
            yield outputs, nn.Sequential(*layers[index:])
            x = torch.cat(outputs, dim=1)
        else:
            x = layer(x)


def mean_outputs(layers, batches):
    """The mean of each path over all images and places, {(block, path): 1 x channels x 1 x 1}."""
    sums, count = {}, 0
    for x, _ in batches:
        count += len(x)
        for block, (outputs, _) in enumerate(blocks(layers, x)):
            for path, output in enumerate(outputs):
                mean = output.float().mean(dim=(2, 3), keepdim=True).sum(dim=0, keepdim=True)
                sums[block, path] = sums.get((block, path), 0) + mean
    return {key: total / count for key, total in sums.items()}


def scores_without_each(layers, x, means):
    """Logits of the whole network, N x 10, and those without each path in each block, {(block, path): N x 10}.

    The network is run once up to each block, and goes on from there four times.
    """
    scores = {}
    for block, (outputs, rest) in enumerate(blocks(layers, x)):
        for path, output in enumerate(outputs):
            mean = means[block, path].to(output.dtype).expand_as(output)
            scores[block, path] = rest(torch.cat([*outputs[:path], mean, *outputs[path + 1:]], dim=1)).float()
    return rest(torch.cat(outputs, dim=1)).float(), scores


def rate(values):
    """The mean of 0s and 1s (or of differences of them), and its standard error."""
    values = values.double()
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()


def main():
    count, device = command_line(__doc__, {"--images": 1_000}).images, gu.choose_device()
    net, card = gu.load_trained()
    net = net.to(device, memory_format=torch.channels_last)
    layers = [*net.stage1, *net.stage2, *net.stage3, *net.stage4, *net.stage5, net.fc]
    data, size, precision = gu.load_images("cifar10"), card["image_size"], gu.choose_precision(device)
    batches, right = gu.Batches(*data.test.first(count), 50, size, False, device), {}
    with torch.no_grad(), torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32"):
        means = mean_outputs(layers, batches)
        for x, labels in batches:
            whole, scores = scores_without_each(layers, x.contiguous(memory_format=torch.channels_last), means)
            for key, logits in {"whole": whole, **scores}.items():
                right.setdefault(key, []).append(logits.argmax(dim=1) == labels)
    right, rows = {key: torch.cat(parts).long().cpu() for key, parts in right.items()}, []
    for index, block in enumerate(row.name for row in gu.TABLE_1 if row.filters):
        lost = [rate(right["whole"] - right[index, path]) for path in range(4)]
        rows.append({"block": block, "accuracy_lost": [mean for mean, _ in lost],
                     "standard_error": [error for _, error in lost]})
    write_result("path_ablation", {
        "data": f"{data.name}, the first {count:,} test images", "images": count, "image_size": size,
        "weights_sha256": card["sha256"], "precision": precision, "accuracy": rate(right["whole"])[0], "rows": rows,
        "machine": describe_machine(device)})


if __name__ == "__main__":
    main()
