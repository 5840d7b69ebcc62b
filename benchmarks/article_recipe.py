"""The article's recipe at full size, as printed: does it learn? Writes results/article_recipe.json (notebook 3).

50,000 CIFAR-10 images, batch 32, 10 epochs; PyTorch's default weights, no normalization, SGD with a step of 0.001 and
momentum 0.9, in float32. Two things differ from the article, neither of which helps or hurts learning: images enter at
32 x 32 pixels instead of 224 (half an hour instead of half a day; `spread_by_size` in the result shows why the size
hardly matters), and the crops are made by `Batches`.

usage: python benchmarks/article_recipe.py [--epochs 10] [--images 50000] [--seed 1234]
"""
import time

import torch
from torch import nn

from experiment import command_line, describe_machine, gu, write_result
from training_speed import HALF, train_as_the_article


def spread(size, images):
    """How much the logits of different images differ in the fresh network: the standard deviation over the images."""
    torch.manual_seed(0)
    net = gu.GoogLeNet(num_classes=10, initialization="pytorch").eval()
    X, _ = next(iter(gu.Batches(images, [0] * len(images), len(images), size, train=False, mean=HALF, std=HALF)))
    with torch.no_grad():
        return net(X).std(dim=0).mean().item()


def main():
    options = command_line(__doc__, {"--epochs": 10, "--images": 50_000, "--seed": 1234})
    data, device, epochs = gu.load_images("cifar10"), torch.device("cpu"), []
    torch.manual_seed(options.seed)
    net, loss = gu.GoogLeNet(num_classes=10, initialization="pytorch"), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    train_iter = gu.Batches(data.train_images[:options.images], data.train_labels[:options.images], 32, 32, train=True,
                            mean=HALF, std=HALF, seed=options.seed)
    test_iter = gu.Batches(*data.test, 250, 32, train=False, mean=HALF, std=HALF)
    for epoch in range(1, options.epochs + 1):
        start = time.time()
        mean_loss, train_acc = train_as_the_article(net, train_iter, loss, optimizer, device)
        test_acc = gu.evaluate_accuracy(test_iter, net, device, precision="float32")
        # The printed loss divides an epoch's sum by the batches of all epochs so far.
        epochs.append({"epoch": epoch, "printed_loss": mean_loss / epoch, "mean_loss": mean_loss,
                       "train_acc": train_acc, "test_acc": test_acc, "seconds": time.time() - start})
        print(epochs[-1], flush=True)
    write_result("article_recipe", {
        "machine": describe_machine(), "data": data.name, "images": options.images, "image_size": 32, "batch_size": 32,
        "seed": options.seed, "epochs": epochs,
        "spread_by_size": {str(size): spread(size, data.test_images[:32]) for size in (32, 96, 224)}})


if __name__ == "__main__":
    main()
