"""CIFAR-10's two layouts, for tests that write small data sets in them."""
import hashlib
import pickle

import numpy as np

import googlenet_utils as gu


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
