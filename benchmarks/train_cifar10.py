"""Train GoogLeNet on CIFAR-10 by the recipe of notebook 4 and write a row into results/train_cifar10.json.

The last 2,000 training images are held out and watched; the test set is read once, at the end. A row replaces the one
with the same profile and seed.

usage: python benchmarks/train_cifar10.py [--profile cpu] [--seed 0]
       python benchmarks/train_cifar10.py --profile gpu            (10 epochs at 224 x 224: needs a GPU)
"""
import argparse
import json
import time

import torch

from common import HERE, describe_machine, gu, write_result

HELD_OUT = 2_000


def train_once(profile, seed, device):
    """One run by the numbers of `profile`; returns its row of the results table."""
    data = gu.load_images("cifar10" if profile.source == "auto" else profile.source)
    count, size = profile.train_images, profile.image_size
    torch.manual_seed(seed)
    net = gu.GoogLeNet(num_classes=10, batch_norm=True, small_images=profile.small_images)
    train_iter = gu.Batches(data.train_images[:count], data.train_labels[:count], profile.batch_size, size, True,
                            device, scale=gu.RECIPE["crop_scale"], seed=seed)
    held_out = slice(count, count + HELD_OUT)
    held_out_iter = gu.Batches(data.train_images[held_out], data.train_labels[held_out], 250, size, False, device)
    test_iter = gu.Batches(data.test_images[:profile.test_images], data.test_labels[:profile.test_images], 250, size,
                           False, device)
    loss, optimizer, schedule = gu.make_recipe(net, profile.batch_size, profile.epochs * len(train_iter))
    start = time.time()
    history = gu.train(net, train_iter, held_out_iter, loss, optimizer, device, profile.epochs, schedule=schedule,
                       progress=False)
    seconds = time.time() - start
    return {"profile": profile.name, "data": data.name, "train_images": count, "image_size": size,
            "small_images": profile.small_images, "batch_size": profile.batch_size, "epochs": profile.epochs,
            "seed": seed, "precision": gu.choose_precision(device), "recipe": gu.RECIPE, "seconds": seconds,
            "held_out_accuracy": history["test_acc"][-1],
            "test_accuracy": gu.evaluate_accuracy(test_iter, net, device), "history": history,
            "machine": describe_machine(device)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=gu.PROFILES, default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    row = train_once(gu.PROFILES[options.profile], options.seed, device)
    path = HERE / "results" / "train_cifar10.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    rows = [old for old in rows if (old["profile"], old["seed"]) != (row["profile"], row["seed"])] + [row]
    write_result("train_cifar10", {"rows": rows})
    print(f"test accuracy {row['test_accuracy']:.4f} after {row['seconds']:.0f} s")


if __name__ == "__main__":
    main()
