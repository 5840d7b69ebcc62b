"""Train GoogLeNet on CIFAR-10 by the recipe of notebook 4 and write a row into results/train_cifar10.json.

The last 2,000 training images are held out and watched; the test set is read once, at the end. A row replaces the one
with the same profile and seed. The run keeps a checkpoint after every epoch: started again, it goes on.

usage: python benchmarks/train_cifar10.py [--profile cpu] [--seed 0]
       python benchmarks/train_cifar10.py --profile gpu            (10 epochs at 224 x 224: needs a GPU)
       python benchmarks/train_cifar10.py --profile long           (an hour on two CPU cores)
"""
import argparse

import torch

from common import HELD_OUT, HERE, describe_machine, find_device, gu, stored_rows, write_result

# Starts small, since a small picture costs little, and ends where the last map is 7 x 7, which notebook 5 looks into.
# The last size is so dear that only 8,000 images take part in it.
PROFILES = {**gu.PROFILES, "long": gu.Profile("long", "cifar10", 48_000, 10_000,
                                              (32,) * 6 + (48,) * 3 + (64,) * 2 + (96,), False, 128)}
CLOSING = {"long": (8_000, 193)}


def train_once(profile, seed, device):
    """One run by the numbers of `profile`; returns its row of the results table."""
    data = gu.load_images("cifar10" if profile.source == "auto" else profile.source)
    count = profile.train_images
    closing_count, size = CLOSING.get(profile.name, (0, profile.image_size))
    torch.manual_seed(seed)
    net = gu.GoogLeNet(num_classes=10, batch_norm=True, small_images=profile.small_images)

    def batches(images, labels, size, train, batch_size=250):
        return gu.Batches(images, labels, batch_size, size, train, device, scale=gu.RECIPE["crop_scale"], seed=seed)

    held_out = slice(count, count + HELD_OUT)
    parts = [(batches(data.train_images[:count], data.train_labels[:count], profile.image_sizes, True,
                      profile.batch_size), profile.image_size, profile.epochs)]
    if closing_count:
        parts.append((batches(data.train_images[:closing_count], data.train_labels[:closing_count], size, True,
                              profile.batch_size), size, 1))
    loss, optimizer, schedule = gu.make_recipe(net, profile.batch_size,
                                               sum(len(train_iter) * epochs for train_iter, _, epochs in parts))
    histories, checkpoints = [], []
    for number, (train_iter, held_out_size, epochs) in enumerate(parts, start=1):
        held_out_iter = batches(data.train_images[held_out], data.train_labels[held_out], held_out_size, False)
        checkpoints.append(HERE / "checkpoints" / f"train_cifar10_{profile.name}_{seed}_part{number}")
        histories.append(gu.train(net, train_iter, held_out_iter, loss, optimizer, device, epochs, schedule=schedule,
                                  checkpoint=checkpoints[-1], progress=False))
        if len(histories[-1]["loss"]) < epochs:
            raise SystemExit("stopped: start it again to go on")
    history = {name: [value for part in histories for value in part[name]] for name in histories[0]}
    test_iter = batches(data.test_images[:profile.test_images], data.test_labels[:profile.test_images], size, False)
    row = {"profile": profile.name, "data": data.name, "train_images": count,
           "image_sizes": [*profile.image_sizes, *([size] if closing_count else [])],
           "closing_images": closing_count, "small_images": profile.small_images,
           "batch_size": profile.batch_size, "epochs": len(history["loss"]), "seed": seed,
           "precision": gu.choose_precision(device), "recipe": gu.RECIPE, "seconds": sum(history["seconds"]),
           "held_out_accuracy": history["test_acc"][-1],
           "test_accuracy": gu.evaluate_accuracy(test_iter, net, device), "history": history,
           "machine": describe_machine(device)}
    for checkpoint in checkpoints:
        checkpoint.unlink()
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    row = train_once(PROFILES[options.profile], options.seed, find_device())
    rows = [old for old in stored_rows("train_cifar10")
            if (old["profile"], old["seed"]) != (row["profile"], row["seed"])]
    write_result("train_cifar10", {"rows": [*rows, row]})
    print(f"test accuracy {row['test_accuracy']:.4f} after {row['seconds']:.0f} s")


if __name__ == "__main__":
    main()
