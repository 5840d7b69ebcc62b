"""Train GoogLeNet on CIFAR-10 by a profile of notebook 4, or the long run whose weights are shipped.

A row of the table train_cifar10 (experiment.py, comparisons.py): the last 2,000 training images are the validation
split, the test images are read once, at the end. Started again, it goes on. Under torchrun several processes share the
work: the same batches, a share of each (notebook 8). `long` writes notebooks/weights/, `best` its weights beside the
results. --rehearsal: a few shapes in the place of CIFAR-10, and one epoch (gpu.py).

usage: python benchmarks/train_cifar10.py [--profile cpu] [--seed 0]
       torchrun --nproc-per-node 2 benchmarks/train_cifar10.py --profile cpu
"""
import hashlib
import json

from comparisons import TABLES
from experiment import HERE, RESULTS, command_line, gu, run_table

LARGEST = 15 * 1024**2          # bytes of a file that everybody fetches
WEIGHTS = {"long": HERE.parent / "notebooks" / "weights" / "googlenet_cifar10.safetensors",
           "best": RESULTS / "googlenet_best.safetensors"}
MINIATURE = {"images": 30, "validation": [30, 40], "batch_size": 10, "image_sizes": [32]}


def write_weights(net, row, data, path):
    """Write the weights, in half precision, and their card beside them. The accuracies on the card are those of the
    rounded weights, as `gu.load_trained` gives them."""
    from safetensors.torch import save

    state = {name: value.cpu().half() if value.is_floating_point() else value.cpu()
             for name, value in net.state_dict().items()}
    net.load_state_dict(state)
    content = save({name: value.contiguous() for name, value in state.items()})
    if len(content) > LARGEST:
        print(f"{path.name} is not written: it would have {len(content):,} bytes")
        return
    device, size = next(net.parameters()).device, row["image_sizes"][-1]
    accuracies = {name: gu.evaluate_accuracy(gu.Batches(*split, 250, pixels, False, device), net, device)
                  for name, split, pixels in (
                      ("test_accuracy", data.test, size), ("val_accuracy", data.validation, size),
                      ("test_accuracy_at_32_pixels", data.test, 32),
                      ("test_accuracy_of_the_first_1000", data.test.first(1_000), size))}
    if gu._processes()[0] > 0:                              # it has counted its share
        return
    options = "".join(f", {name}={value!r}" for name, value in row["settings"]["network"].items())
    card = {"network": f"GoogLeNet(num_classes=10{options})", "classes": data.classes,
            "data": f"{row['data']} (Krizhevsky, 2009), the first {row['images']:,} training images",
            "image_size": size, "image_sizes": row["image_sizes"], "mean": gu.CIFAR10_MEAN, "std": gu.CIFAR10_STD,
            "settings": row["settings"], "seed": row["seed"], "seconds": row["seconds"], "machine": row["machine"],
            "command": (f"torchrun --nproc-per-node {row['processes']}" if row["processes"] > 1 else "python")
            + f" benchmarks/train_cifar10.py --profile {row['profile']} --seed {row['seed']}",
            **accuracies, "stored_as": "float16", "date": row["machine"]["date"],
            "licence": "MIT, as the project; CIFAR-10's authors state none for their images, of which none is here",
            "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    gu._write_whole(path, content)
    gu._write_whole(path.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
    print(f"written: {path.name}, {len(content):,} bytes")


def main():
    options = command_line(__doc__, {"--profile": tuple(TABLES["train_cifar10"]), "--seed": 0, "--rehearsal": False})
    rows, data = TABLES["train_cifar10"], gu.load_images("shapes" if options.rehearsal else "cifar10")
    if options.rehearsal:
        rows = {name: {**row, **MINIATURE, "network": {**row["network"], "width": 0.25}} for name, row in rows.items()}
    for net, row in run_table("train_cifar10", rows, seeds=[options.seed], names=[options.profile], label="profile",
                              data=data):
        if row["stopped"]:
            print(row["stopped"])
            continue
        print(f"test accuracy {row['test_accuracy']:.4f} after {row['seconds']:.0f} s")
        if path := WEIGHTS.get(options.profile):
            write_weights(gu._unwrap(net), row, data, RESULTS / path.name if options.rehearsal else path)


if __name__ == "__main__":
    main()
