"""Train GoogLeNet on CIFAR-10 by the recipe of notebook 4 and write a row into results/train_cifar10.json.

The last 2,000 training images are held out and watched; the test set is read once, at the end. A row replaces the one
with the same profile, seed and number of processes. The run keeps a checkpoint after every epoch: started again, it
goes on.

Started by torchrun, several processes share the work: the same batches, a part of each (notebook 8). Rank 0 writes.

usage: python benchmarks/train_cifar10.py [--profile cpu] [--seed 0]
       torchrun --nproc-per-node 2 benchmarks/train_cifar10.py --profile cpu
       python benchmarks/train_cifar10.py --profile gpu            (10 epochs at 224 x 224: needs a GPU)
       python benchmarks/train_cifar10.py --profile long           (80 minutes of a CPU core; writes notebooks/weights/)
"""
import argparse
import hashlib
import json

import torch

from common import HELD_OUT, HERE, describe_machine, gu, join_processes, stored_rows, write_result

# Starts small, since a small picture costs little, and closes at 193 pixels, where the last map is 7 x 7, into which
# notebook 5 looks. The closing part has a schedule of its own: at the low end of the first one, the network could not
# be fitted to objects of two and three times the size any more.
PROFILES = {**gu.PROFILES, "long": gu.Profile("long", "cifar10", 48_000, 10_000,
                                              (32,) * 4 + (48,) * 3 + (64,) * 3, False, 128)}
CLOSING = {"long": {"image_sizes": (96, 193), "learning_rate": 0.05}}


def train_once(profile, seed, accelerator):
    """One run by the numbers of `profile`; returns its row of the results table."""
    device, shared = accelerator.device, {"rank": accelerator.process_index, "world_size": accelerator.num_processes}
    data = gu.load_images("cifar10" if profile.source == "auto" else profile.source)
    count = profile.train_images
    closing = CLOSING.get(profile.name)
    torch.manual_seed(seed)
    net = gu.GoogLeNet(num_classes=10, batch_norm=True, small_images=profile.small_images)
    net = accelerator.prepare(net.to(memory_format=torch.channels_last))    # the layout has to come before the wrapper

    def batches(images, labels, size, train, batch_size=250):
        return gu.Batches(images, labels, batch_size, size, train, device, scale=gu.RECIPE["crop_scale"], seed=seed,
                          **shared)

    held_out = slice(count, count + HELD_OUT)
    parts = [(profile.image_sizes, gu.RECIPE["learning_rate"])]
    if closing:
        parts.append((closing["image_sizes"], closing["learning_rate"]))
    image_sizes = [size for sizes, _ in parts for size in sizes]
    histories, checkpoints = [], []
    for number, (sizes, learning_rate) in enumerate(parts, start=1):
        train_iter = batches(data.train_images[:count], data.train_labels[:count], sizes, True, profile.batch_size)
        held_out_iter = batches(data.train_images[held_out], data.train_labels[held_out], sizes[-1], False)
        loss, optimizer, schedule = gu.make_recipe(net, profile.batch_size, len(sizes) * len(train_iter),
                                                   learning_rate=learning_rate)
        checkpoints.append(HERE / "checkpoints" / f"train_cifar10_{profile.name}_{seed}_part{number}")
        histories.append(gu.train(net, train_iter, held_out_iter, loss, optimizer, device, len(sizes),
                                  schedule=schedule, max_norm=gu.RECIPE["max_norm"], checkpoint=checkpoints[-1],
                                  progress=False))
        if len(histories[-1]["loss"]) < len(sizes):
            raise SystemExit("stopped: start it again to go on")
    history = {name: [value for part in histories for value in part[name]] for name in histories[0]}
    test_iter = batches(data.test_images[:profile.test_images], data.test_labels[:profile.test_images], image_sizes[-1],
                        False)
    row = {"profile": profile.name, "data": data.name, "train_images": count,
           "image_sizes": image_sizes, "closing": closing,
           "small_images": profile.small_images, "batch_size": profile.batch_size,
           "epochs": len(history["loss"]), "seed": seed,
           "processes": accelerator.num_processes, "precision": gu.choose_precision(device), "recipe": gu.RECIPE,
           "seconds": sum(history["seconds"]), "held_out_accuracy": history["test_acc"][-1],
           "test_accuracy": gu.evaluate_accuracy(test_iter, net, device), "history": history,
           "machine": describe_machine(device)}
    if accelerator.is_main_process:
        if closing:
            whole = gu.Batches(test_iter.images, test_iter.labels, 250, image_sizes[-1], False, device)
            write_weights(accelerator.unwrap_model(net), row, whole)
        for checkpoint in checkpoints:
            checkpoint.unlink()
    return row


def write_weights(net, row, test_iter):
    """Write notebooks/weights/googlenet_cifar10.safetensors, in half precision, and its card beside it.

    The accuracies on the card are those of the rounded weights, as `gu.load_trained` gives them.
    """
    from safetensors.torch import save

    state = {name: value.cpu().half() if value.is_floating_point() else value.cpu()
             for name, value in net.state_dict().items()}
    net.load_state_dict(state)
    content = save({name: value.contiguous() for name, value in state.items()})
    first = gu.Batches(test_iter.images[:1_000], test_iter.labels[:1_000], 250, row["image_sizes"][-1], False,
                       test_iter.device)
    card = {
        "network": "GoogLeNet(num_classes=10, batch_norm=True)", "classes": gu.CIFAR10_CLASSES,
        "data": f"{row['data']} (Krizhevsky, 2009), the first {row['train_images']:,} training images",
        "image_size": row["image_sizes"][-1], "mean": gu.CIFAR10_MEAN, "std": gu.CIFAR10_STD,
        "recipe": {key: row[key] for key in ("recipe", "image_sizes", "closing", "batch_size", "seed", "precision")},
        "command": f"python benchmarks/train_cifar10.py --profile {row['profile']} --seed {row['seed']}",
        "seconds": row["seconds"], "machine": row["machine"], "stored_as": "float16",
        "test_accuracy": gu.evaluate_accuracy(test_iter, net, test_iter.device),
        "test_accuracy_of_the_first_1000": gu.evaluate_accuracy(first, net, test_iter.device),
        "held_out_accuracy": row["held_out_accuracy"], "date": row["machine"]["date"],
        "licence": "MIT, as the project; CIFAR-10's authors state no licence for their images, of which none is here",
        "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path = HERE.parent / "notebooks" / "weights" / "googlenet_cifar10.safetensors"
    gu._write_whole(path, content)
    gu._write_whole(path.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
    print(f"written: notebooks/weights/{path.name}, {len(content):,} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    accelerator = join_processes()
    row = train_once(PROFILES[options.profile], options.seed, accelerator)
    if accelerator.is_main_process:
        def key(row):
            return row["profile"], row["seed"], row.get("processes", 1)

        rows = [old for old in stored_rows("train_cifar10") if key(old) != key(row)]
        write_result("train_cifar10", {"rows": [*rows, row]})
        print(f"test accuracy {row['test_accuracy']:.4f} after {row['seconds']:.0f} s")
    accelerator.end_training()


if __name__ == "__main__":
    main()
