"""Switch off each of the 36 paths of the trained GoogLeNet in turn, and write results/path_ablation.json.

Switched off means: for every image the path gives the same, its mean over images and places, a number a channel. The
weights stay as they are, so this is not what a network would reach that was trained without the path. The images are
the first 1,000 test images, at the size on the weights' card; nothing is chosen by them.

usage: python benchmarks/path_ablation.py [--images 1000]         (about six minutes on one CPU core)
"""
import argparse
import time

import torch

from experiment import describe_machine, gu, write_result

BLOCKS = [row.name for row in gu.TABLE_1 if row.filters]


def mean_outputs(layers, batches):
    """The mean of each path of each block over all images and places: a list a block of 1 x channels x 1 x 1."""
    sums, count = {}, 0
    for x, _ in batches:
        count += len(x)
        for index, layer in enumerate(layers):
            if not isinstance(layer, gu.Inception):
                x = layer(x)
                continue
            outputs = layer.paths(x)
            means = [output.float().mean(dim=(2, 3), keepdim=True).sum(dim=0, keepdim=True) for output in outputs]
            sums[index] = [a + b for a, b in zip(sums[index], means, strict=True)] if index in sums else means
            x = torch.cat(outputs, dim=1)
    return {index: [total / count for total in block] for index, block in sums.items()}


def continue_from(layers, x):
    for layer in layers:
        x = layer(x)
    return x.float()


def scores_without_each(layers, x, means):
    """Scores of the whole network, N x 10, and those without each path in each block, {(block, path): N x 10}.

    The network is run once up to each block, and goes on from there four times.
    """
    scores = {}
    for index, layer in enumerate(layers):
        if not isinstance(layer, gu.Inception):
            x = layer(x)
            continue
        outputs = layer.paths(x)
        for path, mean in enumerate(means[index]):
            changed = list(outputs)
            changed[path] = mean.to(outputs[path].dtype).expand_as(outputs[path])
            scores[list(means).index(index), path] = continue_from(layers[index + 1:], torch.cat(changed, dim=1))
        x = torch.cat(outputs, dim=1)
    return x.float(), scores


def rate(values):
    """The mean of 0s and 1s (or of differences of them), and its standard error."""
    values = values.double()
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()


def measure(count, device):
    net, card = gu.load_trained()
    net = net.to(device, memory_format=torch.channels_last)
    layers = [*net.stage1, *net.stage2, *net.stage3, *net.stage4, *net.stage5, net.fc]
    data, size, precision = gu.load_images("cifar10"), card["image_size"], gu.choose_precision(device)
    batches = gu.Batches(data.test_images[:count], data.test_labels[:count], 50, size, False, device)
    start, right, same = time.time(), {}, {}
    with torch.no_grad(), torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32"):
        means = mean_outputs(layers, batches)
        for x, labels in batches:
            whole, scores = scores_without_each(layers, x.contiguous(memory_format=torch.channels_last), means)
            for key, value in {"whole": whole, **scores}.items():
                right.setdefault(key, []).append(value.argmax(dim=1) == labels)
                same.setdefault(key, []).append(value.argmax(dim=1) == whole.argmax(dim=1))
    right = {key: torch.cat(parts).long().cpu() for key, parts in right.items()}
    same = {key: torch.cat(parts).cpu() for key, parts in same.items()}
    accuracy, error = rate(right["whole"])
    rows = []
    for block, name in enumerate(BLOCKS):
        c1, c2, c3, c4 = gu.TABLE_1[block + 2].filters
        lost = [rate(right["whole"] - right[block, path]) for path in range(4)]
        rows.append({"block": name, "channels": [c1, c2[1], c3[1], c4],
                     "accuracy_lost": [mean for mean, _ in lost], "standard_error": [error for _, error in lost],
                     "answers_changed": [1 - rate(same[block, path])[0] for path in range(4)]})
    return {"data": f"{data.name}, the first {count:,} test images", "images": count, "image_size": size,
            "weights_sha256": card["sha256"], "precision": precision, "accuracy": accuracy, "standard_error": error,
            "rows": rows, "seconds": time.time() - start, "machine": describe_machine(device)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000)
    result = measure(parser.parse_args().images, gu.choose_device())
    write_result("path_ablation", result)
    print(f"accuracy {result['accuracy']:.3f}; in points lost without path 1, 2, 3, 4:")
    for row in result["rows"]:
        print(row["block"], *(f"{100 * lost:6.1f}" for lost in row["accuracy_lost"]))
    print(f"{result['seconds']:.0f} s")


if __name__ == "__main__":
    main()
