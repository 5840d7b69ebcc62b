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


def as_records(images, labels):
    """Images and labels as the binary version has them: N x 3,073 bytes, the label first."""
    return np.column_stack([labels.numpy().astype(np.uint8), images.numpy().reshape(-1, 3_072)])


def python_layout(batches):
    """The files of the python version, name: bytes, and what torchvision's CIFAR10 must know of them: its attributes.

    batches: the records of each batch, name: N x 3,073 bytes. The official checksums cannot be met: the official
    pickles hold file names too, which our reader drops.
    """
    files = {name: pickle.dumps({"labels": batch[:, 0].tolist(), "data": np.ascontiguousarray(batch[:, 1:])})
             for name, batch in batches.items()}
    files["batches.meta"] = pickle.dumps({"label_names": list(gu.CIFAR10_CLASSES)})
    md5 = {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name, content in files.items()}
    return files, {"train_list": [[name, md5[name]] for name in batches if name != "test_batch"],
                   "test_list": [["test_batch", md5["test_batch"]]],
                   "meta": {"filename": "batches.meta", "key": "label_names", "md5": md5["batches.meta"]}}


def write_python_layout(data, root):
    """Write `data` as torchvision reads it, and tell torchvision its checksums."""
    parts = zip(data.train_images.split(10_000), data.train_labels.split(10_000), strict=True)
    batches = {f"data_batch_{index}": as_records(*part) for index, part in enumerate(parts, start=1)}
    files, attributes = python_layout({**batches, "test_batch": as_records(data.test_images, data.test_labels)})
    (root / "cifar-10-batches-py").mkdir()
    for name, content in files.items():
        (root / "cifar-10-batches-py" / name).write_bytes(content)
    for name, value in attributes.items():
        setattr(CIFAR10, name, value)


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
