"""How long it takes to read all 60,000 images of CIFAR-10, ours and torchvision's; writes results/reading_speed.json.

Ours: load_images("cifar10"), which compares every checksum. Torchvision's: CIFAR10 and its ToTensor over every image,
from the python layout, which this script writes into a temporary folder. They take turns in one process; the files are
in the system's cache for both. The median of five readings of ours, and of three of torchvision's, which is slow.

usage: python benchmarks/reading_speed.py
"""
import hashlib
import pickle
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import CIFAR10
from torchvision.transforms import ToTensor

from common import describe_machine, gu, write_result


def write_python_layout(data, root):
    """Write `data` as torchvision reads it. Its checksums are replaced by those of these files: the official pickles
    hold file names too, which our reader drops."""
    base = root / "cifar-10-batches-py"
    base.mkdir()

    def write(name, content):
        pickled = pickle.dumps(content)
        (base / name).write_bytes(pickled)
        return [name, hashlib.md5(pickled, usedforsecurity=False).hexdigest()]

    def batch(images, labels):
        return {"labels": labels.tolist(), "data": images.numpy().reshape(-1, 3_072)}

    parts = zip(data.train_images.split(10_000), data.train_labels.split(10_000), strict=True)
    CIFAR10.train_list = [write(f"data_batch_{index}", batch(*part)) for index, part in enumerate(parts, start=1)]
    CIFAR10.test_list = [write("test_batch", batch(data.test_images, data.test_labels))]
    filename, md5 = write("batches.meta", {"label_names": list(data.classes)})
    CIFAR10.meta = {"filename": filename, "key": "label_names", "md5": md5}


def read_ours():
    data = gu.load_images("cifar10")
    return len(data.train_images) + len(data.test_images)


def read_torchvisions(root):
    count = 0
    for train in (True, False):
        for _image, _label in CIFAR10(root, train=train, transform=ToTensor()):
            count += 1
    return count


def seconds_of(read, *arguments):
    start = time.perf_counter()
    count = read(*arguments)
    seconds = time.perf_counter() - start
    assert count == 60_000
    return seconds


def main():
    data = gu.load_images("cifar10")
    with tempfile.TemporaryDirectory() as root:
        write_python_layout(data, Path(root))
        # The same images: what is timed does the same work.
        last = CIFAR10(root, train=False, transform=ToTensor())[9_999][0]
        assert torch.equal(last, data.test_images[9_999] / 255)
        assert np.array_equal(CIFAR10(root).data.transpose(0, 3, 1, 2), data.train_images.numpy())
        del data
        ours, torchvisions = [], []
        for turn in range(5):
            ours.append(seconds_of(read_ours))
            if turn % 2 == 0:
                torchvisions.append(seconds_of(read_torchvisions, root))
    result = {"seconds_ours": statistics.median(ours), "seconds_torchvision": statistics.median(torchvisions),
              "images": 60_000, "machine": describe_machine()}
    print(f"60,000 images: load_images {result['seconds_ours']:.2f} s "
          f"({min(ours):.2f} to {max(ours):.2f} in five readings), torchvision {result['seconds_torchvision']:.2f} s "
          f"({min(torchvisions):.2f} to {max(torchvisions):.2f} in three)")
    write_result("reading_speed", result)


if __name__ == "__main__":
    main()
