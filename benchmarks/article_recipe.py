"""The article's recipe at full size, as printed: does it learn? Writes results/article_recipe.json (notebook 3).

50,000 CIFAR-10 images, batch 32, 10 epochs; PyTorch's default weights, no normalisation, SGD with a step of 0.001 and
momentum 0.9, in float32. Two things differ from the article, neither of which helps or hurts learning: images enter at
32 x 32 pixels instead of 224 (half an hour instead of half a day; `spread_by_size` in the result shows why the
size hardly matters), and the crops are made by `Batches`. About half an hour on two CPU cores.

usage: python benchmarks/article_recipe.py
"""
import argparse
import time

import torch
from torch import nn

from experiment import describe_machine, gu, write_result

HALF = (0.5, 0.5, 0.5)          # the article's Normalize


def printed_and_true_losses(net, train_iter, loss, optimizer, epochs, evaluate):
    """The article's loop: its printed loss divides an epoch's sum by the batches of all epochs so far."""
    batch_count, rows = 0, []
    for epoch in range(epochs):
        start, loss_sum, correct, count, batches = time.time(), 0.0, 0, 0, 0
        for X, y in train_iter:
            scores = net(X)
            value = loss(scores, y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            loss_sum += value.item()
            correct += (scores.argmax(dim=1) == y).sum().item()
            count += len(y)
            batches += 1
        batch_count += batches
        rows.append({"epoch": epoch + 1, "printed_loss": loss_sum / batch_count, "mean_loss": loss_sum / batches,
                     "train_acc": correct / count, "test_acc": evaluate(), "seconds": time.time() - start})
        print(rows[-1], flush=True)
    return rows


def spread(size, images):
    """How much the scores of different images differ in the fresh network: the standard deviation over the images."""
    torch.manual_seed(0)
    net = gu.GoogLeNet(num_classes=10, initialization="pytorch").eval()
    batches = gu.Batches(images, torch.zeros(len(images), dtype=torch.int64), len(images), size, train=False, mean=HALF,
                         std=HALF)
    X, _ = next(iter(batches))
    with torch.no_grad():
        return net(X).std(dim=0).mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1234)
    options = parser.parse_args()

    data = gu.load_images("cifar10")
    torch.manual_seed(options.seed)
    net = gu.GoogLeNet(num_classes=10, initialization="pytorch")
    train_iter = gu.Batches(data.train_images[:options.images], data.train_labels[:options.images], 32, 32, train=True,
                            mean=HALF, std=HALF, seed=options.seed)
    test_iter = gu.Batches(data.test_images, data.test_labels, 250, 32, train=False, mean=HALF, std=HALF)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    rows = printed_and_true_losses(
        net, train_iter, nn.CrossEntropyLoss(), optimizer, options.epochs,
        lambda: gu.evaluate_accuracy(test_iter, net, "cpu", precision="float32"))
    write_result("article_recipe", {
        "machine": describe_machine(), "data": data.name, "images": options.images, "image_size": 32, "batch_size": 32,
        "seed": options.seed, "epochs": rows,
        "spread_by_size": {str(size): spread(size, data.test_images[:32]) for size in (32, 96, 224)}})


if __name__ == "__main__":
    main()
