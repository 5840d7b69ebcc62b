"""The built-in shapes, and CIFAR-10 from either of its official versions. Nothing here touches the network."""
import builtins
import hashlib
import io
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.datasets import CIFAR10

import googlenet_utils as gu
from layouts import as_records, python_layout


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """There is nowhere to fetch CIFAR-10 from. tests/test_fetching.py is about what happens where there is."""
    monkeypatch.setattr(gu, "_SOURCES", ())
    for name in ("GOOGLENET_CIFAR10_URL", "GOOGLENET_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def records():
    """Two training batches and the test batch as records: 10,000 x 3,073 bytes, label first, then red, green, blue."""
    random = np.random.default_rng(0)
    batches = {}
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        batches[name] = random.integers(0, 256, (10_000, 3_073), dtype=np.uint8)
        batches[name][:, 0] %= 10
    return batches


@pytest.fixture
def fake_binary(folder, records, monkeypatch):
    """The records as a binary version that counts as the official one."""
    write_binary(folder, records)
    monkeypatch.setattr(gu, "_BINARY_SHA1", hashlib.sha1(np.concatenate([*records.values()]).tobytes()).hexdigest())
    return folder


def write_binary(root, batches):
    (root / "cifar-10-batches-bin").mkdir()
    for name, batch in batches.items():
        (root / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(batch.tobytes())


def write_python(root, batches, monkeypatch):
    """The batches as the python version; torchvision gets the checksums of these files."""
    files, attributes = python_layout(batches)
    (root / "cifar-10-batches-py").mkdir()
    for name, content in files.items():
        (root / "cifar-10-batches-py" / name).write_bytes(content)
    for name, value in attributes.items():
        monkeypatch.setattr(CIFAR10, name, value)


def check_is_shapes(data):
    assert (data.name, len(data.train_images), len(data.test_images)) == ("shapes", 2_000, 500)


def check_is_records(data, records):
    assert (data.name, data.classes) == ("CIFAR-10", gu.CIFAR10_CLASSES)
    train = np.concatenate([records["data_batch_1"], records["data_batch_2"]])
    for images, labels, expected in ((data.train_images, data.train_labels, train),
                                     (data.test_images, data.test_labels, records["test_batch"])):
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert np.array_equal(images.numpy(), expected[:, 1:].reshape(-1, 3, 32, 32))
        assert np.array_equal(labels.numpy(), expected[:, 0])


# The built-in shapes

def test_shapes_are_the_same_bytes_everywhere():
    images, labels = gu.make_shapes(2_000, seed=0)
    content = images.numpy().tobytes() + labels.numpy().astype("<i8").tobytes()
    assert hashlib.sha256(content).hexdigest() == "2561f173e2720de24f7914d4c6212090ed9bdd5fb066c3408e1671a18d829c0a"


def test_two_thousand_shapes_take_less_than_two_seconds():
    start = time.process_time()                             # other processes' work does not count
    gu.make_shapes(2_000, seed=0)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("count", [2_000, 500, 15, 1])
def test_shapes_have_their_size_and_type_and_are_balanced(count):
    images, labels = gu.make_shapes(count, seed=3)
    assert (images.dtype, images.shape) == (torch.uint8, (count, 3, 32, 32))
    assert (labels.dtype, labels.shape) == (torch.int64, (count,))
    in_each = labels.bincount(minlength=10)
    assert len(in_each) == 10
    assert in_each.max() - in_each.min() <= 1


def test_shapes_come_in_a_mixed_order_that_the_seed_decides():
    (images, labels), (other_images, other_labels) = gu.make_shapes(200, seed=0), gu.make_shapes(200, seed=1)
    assert not torch.equal(images, other_images)
    assert not torch.equal(labels, other_labels)
    assert (labels[1:] == labels[:-1]).double().mean() < 0.25


def test_shapes_have_ten_classes_in_this_order():
    assert gu.SHAPE_CLASSES == ("disc", "ring", "square", "frame", "triangle", "plus", "cross", "bars", "columns",
                                "checkers")
    assert gu.load_images("shapes").classes == gu.SHAPE_CLASSES


def test_a_shapes_name_says_what_is_drawn():
    # Bars do not change along a row, columns not along a column; a square covers more than what is cut out of it.
    images, labels = gu.make_shapes(2_000, seed=0)
    bright = images.float().mean(dim=1)
    kinds = {name: bright[labels == index] for index, name in enumerate(gu.SHAPE_CLASSES)}

    def change(name, dimension):                            # of neighbours along a dimension: 1 down, 2 to the right
        return kinds[name].diff(dim=dimension).abs().mean().item()

    covered = {name: (images - images.amin(dim=(1, 2), keepdim=True)).mean().item()
               for name, images in kinds.items()}
    assert change("bars", 1) > 1.2 * change("bars", 2)
    assert change("columns", 2) > 1.2 * change("columns", 1)
    assert covered["square"] > covered["disc"] > covered["ring"]
    assert covered["square"] > covered["frame"]
    assert covered["square"] > covered["triangle"]


def test_a_linear_classifier_stays_clearly_behind_a_convolutional_one():
    """On the 500 held-out shapes, measured: linear 0.45, convolutional 0.98. Chance is 0.1."""
    data = gu.load_images("shapes")
    train_images, test_images = data.train_images / 255 - 0.5, data.test_images / 255 - 0.5

    def fit(net, epochs, lr):
        optimizer = torch.optim.Adam(net.parameters(), lr)
        for _ in range(epochs):
            for chosen in torch.randperm(2_000).split(50):
                loss = F.cross_entropy(net(train_images[chosen]), data.train_labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return gu.evaluate_accuracy([(test_images, data.test_labels)], net, "cpu", precision="float32")

    def convolution(inputs, outputs):
        return nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)

    linear = fit(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)), epochs=20, lr=1e-3)
    convolutional = fit(nn.Sequential(*convolution(3, 8), *convolution(8, 16), *convolution(16, 32), nn.Flatten(),
                                      nn.Linear(32 * 4 * 4, 10)), epochs=4, lr=4e-3)
    assert linear > 0.3                                     # it is learnable, though
    assert convolutional > 0.9
    assert convolutional - linear > 0.3


def test_the_set_of_shapes_is_whole_and_its_test_images_are_others():
    data = gu.load_images("shapes")
    check_is_shapes(data)
    # Stored results were measured on these.
    for images, labels, count, seed in ((data.train_images, data.train_labels, 2_000, 0),
                                        (data.test_images, data.test_labels, 500, 1)):
        expected_images, expected_labels = gu.make_shapes(count, seed)
        assert torch.equal(images, expected_images)
        assert torch.equal(labels, expected_labels)
        assert labels.bincount().tolist() == [count // 10] * 10
    assert not set(map(bytes, data.test_images.numpy().reshape(500, -1))) \
        & set(map(bytes, data.train_images.numpy().reshape(2_000, -1)))


# The real CIFAR-10

def test_cifar_10_is_whole_balanced_and_in_its_order(cifar10):
    assert cifar10.name == "CIFAR-10"
    assert cifar10.classes == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert (cifar10.train_images.shape, cifar10.train_images.dtype) == ((50_000, 3, 32, 32), torch.uint8)
    assert (cifar10.test_images.shape, cifar10.test_images.dtype) == ((10_000, 3, 32, 32), torch.uint8)
    assert (cifar10.train_labels.dtype, cifar10.test_labels.dtype) == (torch.int64, torch.int64)
    assert cifar10.train_labels.bincount().tolist() == [5_000] * 10
    assert cifar10.test_labels.bincount().tolist() == [1_000] * 10
    assert cifar10.train_labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert cifar10.test_labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]


def test_cifar_10s_mean_and_standard_deviation_are_the_modules(cifar10):
    channels = cifar10.train_images.numpy().transpose(1, 0, 2, 3)
    counts = np.array([np.bincount(np.ascontiguousarray(channel).reshape(-1), minlength=256) for channel in channels])
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(axis=1)
    std = np.sqrt(counts @ values**2 / counts.sum(axis=1) - mean**2)
    assert tuple(mean.round(4)) == gu.CIFAR10_MEAN
    assert tuple(std.round(4)) == gu.CIFAR10_STD


def test_the_python_version_of_cifar_10_gives_the_same(cifar10, folder, monkeypatch):
    train = as_records(cifar10.train_images, cifar10.train_labels)
    batches = {f"data_batch_{index + 1}": batch for index, batch in enumerate(np.split(train, 5))}
    write_python(folder, {**batches, "test_batch": as_records(cifar10.test_images, cifar10.test_labels)}, monkeypatch)
    data = gu.load_images("cifar10", folder)
    assert (data.name, data.classes) == (cifar10.name, cifar10.classes)
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        ours, theirs = getattr(data, name), getattr(cifar10, name)
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


def test_cifar_10_is_the_one_that_its_authors_publish(cifar10):
    # The SHA-1 of each batch's records in the official binary archive, and of all of them one behind the other.
    published = {
        "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
        "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
        "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
        "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
        "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
        "test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c"}
    labels = torch.cat([cifar10.train_labels, cifar10.test_labels]).numpy().astype(np.uint8)
    images = torch.cat([cifar10.train_images, cifar10.test_images]).numpy().reshape(60_000, 3_072)
    records = np.column_stack([labels, images])
    assert {name: hashlib.sha1(batch.tobytes()).hexdigest()
            for name, batch in zip(published, np.split(records, 6))} == published
    assert hashlib.sha1(records.tobytes()).hexdigest() == "b455e24e59794000a288a6689340f55f6641a79d" == gu._BINARY_SHA1


# Reading, on files that are made up here

@pytest.mark.parametrize("source", ["cifar10", "auto"])
def test_the_binary_version_is_read(fake_binary, records, source):
    check_is_records(gu.load_images(source, fake_binary), records)


def test_the_python_version_is_read(folder, records, monkeypatch):
    write_python(folder, records, monkeypatch)
    check_is_records(gu.load_images("cifar10", folder), records)


def test_the_images_can_be_written_to(fake_binary):
    data = gu.load_images("cifar10", fake_binary)
    data.train_images[0] = 0                                # memory that is read-only makes PyTorch warn, or crash
    assert not data.train_images[0].any()


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[1_000_000] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:1_000])


@pytest.mark.parametrize(("name", "harm"), [("data_batch_2.bin", flip_a_byte), ("data_batch_1.bin", cut),
                                            ("test_batch.bin", Path.unlink)])
def test_a_binary_version_that_is_not_the_official_one_is_not_used(fake_binary, refuses, name, harm):
    harm(fake_binary / "cifar-10-batches-bin" / name)
    with refuses(RuntimeError, str(fake_binary / "cifar-10-batches-bin"), "damaged or incomplete", "checksum",
                 "delete the folder"):
        gu.load_images("cifar10", fake_binary)


def test_what_a_mac_leaves_beside_the_files_on_a_stick_does_no_harm(fake_binary, records):
    for name in ("._data_batch_1.bin", "._test_batch.bin", ".DS_Store"):
        (fake_binary / "cifar-10-batches-bin" / name).write_bytes(b"Mac OS X")
    check_is_records(gu.load_images("cifar10", fake_binary), records)


@pytest.mark.parametrize("harm", [flip_a_byte, Path.unlink])
def test_a_python_version_that_is_not_the_official_one_is_not_used(folder, records, monkeypatch, harm, refuses):
    write_python(folder, records, monkeypatch)
    harm(folder / "cifar-10-batches-py" / "data_batch_2")
    with refuses(RuntimeError, str(folder / "cifar-10-batches-py"), "damaged or incomplete", "delete the folder"):
        gu.load_images("cifar10", folder)


@pytest.mark.parametrize("version", ["binary", "python"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(folder, records, monkeypatch, refuses, version):
    if version == "binary":
        write_binary(folder, records)
    else:
        write_python(folder, records, monkeypatch)
    opened = io.open

    def denied(path, *arguments, **options):
        if str(path).endswith(("test_batch", "test_batch.bin")):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(io, "open", denied)                 # pathlib's
    monkeypatch.setattr(builtins, "open", denied)           # torchvision's
    with refuses(RuntimeError, str(folder), "Permission denied"):
        gu.load_images("cifar10", folder)


def test_a_broken_torchvision_is_not_called_a_damaged_file(folder, records, monkeypatch):
    write_python(folder, records, monkeypatch)

    class Broken:                                           # as after torch alone was upgraded
        def find_spec(self, name, *_):
            if name == "torchvision.datasets":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "torchvision.datasets")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(RuntimeError, match="operator torchvision::nms does not exist"):
        gu.load_images("cifar10", folder)


# Splits

def check_is_split(split, images, labels):
    assert isinstance(split, gu.Split)
    assert torch.equal(split.images, images)
    assert torch.equal(split.labels, labels)


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (1, 1), (15, 15), (20, 20), (21, 20)])
def test_the_first_of_a_split_are_a_split(count, kept):
    images, labels = split = gu.make_shapes(20, seed=0)
    check_is_split(split.first(count), images[:kept], labels[:kept])
    assert split.first(count).images.untyped_storage().data_ptr() == images.untyped_storage().data_ptr()    # no copy


def test_less_than_no_images_are_refused(refuses):
    with refuses(ValueError, "-5"):
        gu.make_shapes(20, seed=0).first(-5)


@pytest.mark.parametrize("validation", [None, 1, 700, np.int64(1_999)])
def test_validation_is_the_last_of_the_training_images(validation):
    data, count = gu.load_images("shapes"), 500 if validation is None else int(validation)
    before = data.training
    if validation is not None:
        data = data.split(validation=validation)
    check_is_split(data.training, data.train_images[:2_000 - count], data.train_labels[:2_000 - count])
    check_is_split(data.validation, data.train_images[2_000 - count:], data.train_labels[2_000 - count:])
    check_is_split(data.test, data.test_images, data.test_labels)
    assert (data.name, data.classes, len(data.train_images)) == ("shapes", gu.SHAPE_CLASSES, 2_000)
    assert len(before.images) == 1_500                      # the set that was split is as it was


@pytest.mark.parametrize("validation", [0, -1, 2_000, 0.2, 500.0, "500", None])
def test_a_validation_split_without_sense_is_refused(validation, refuses):
    with refuses(ValueError, "1 to 1,999", repr(validation)):
        gu.load_images("shapes").split(validation=validation)


def test_cifar_10s_validation_images_are_the_last_2000(fake_binary):
    data = gu.load_images("cifar10", fake_binary)
    assert [len(split.images) for split in (data.training, data.validation, data.test)] == [18_000, 2_000, 10_000]
    check_is_split(data.split(validation=10_000).validation, data.train_images[10_000:], data.train_labels[10_000:])


def test_a_split_goes_into_batches_as_it_is():
    data = gu.load_images("shapes")
    (images, labels), *rest = gu.Batches(*data.validation.first(250), 250, 32, False)
    assert (len(images), rest) == (250, [])
    assert torch.equal(labels, data.train_labels[1_500:1_750])


# Where it looks, and what happens where there is nothing

def test_the_environment_variable_names_the_folder_and_root_comes_first(fake_binary, monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLENET_DATA_DIR", str(fake_binary))
    assert gu.load_images().name == "CIFAR-10"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert gu.load_images(root=empty).name == "shapes"
    monkeypatch.setenv("GOOGLENET_DATA_DIR", str(empty))
    assert gu.load_images().name == "shapes"
    assert gu.load_images("cifar10", root=str(fake_binary)).name == "CIFAR-10"


@pytest.mark.parametrize("variable", [False, True])
def test_a_tilde_is_the_home_folder(fake_binary, monkeypatch, tmp_path, variable):
    (tmp_path / "home").mkdir()
    fake_binary.rename(tmp_path / "home" / "my data")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    if variable:
        monkeypatch.setenv("GOOGLENET_DATA_DIR", "~/my data")
    assert gu.load_images("cifar10", None if variable else "~/my data").name == "CIFAR-10"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_the_home_folder_of_nobody_is_refused_and_no_folder_is_named_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="home"):
        gu.load_images("cifar10", "~nobody-of-this-name/data")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("variable", [None, ""])
def test_the_default_folder_is_data_beside_the_module(fake_binary, monkeypatch, tmp_path, variable):
    fake_binary.rename(tmp_path / "data")
    monkeypatch.setattr(gu, "__file__", str(tmp_path / "googlenet_utils.py"))
    monkeypatch.chdir(Path(__file__).parent)                # not the folder that Python happens to run in
    if variable is None:
        monkeypatch.delenv("GOOGLENET_DATA_DIR", raising=False)
    else:
        monkeypatch.setenv("GOOGLENET_DATA_DIR", variable)
    assert gu.load_images().name == "CIFAR-10"


def test_without_data_and_network_auto_says_so_in_a_box_and_gives_shapes(folder, capsys):
    check_is_shapes(gu.load_images("auto", folder))
    lines = capsys.readouterr().out.rstrip("\n").split("\n")
    assert len({len(line) for line in lines}) == 1, "the box is ragged"
    assert set(lines[0]) == set(lines[-1]) == {"+", "="}
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines[1:-1])
    text = " ".join(line[1:-1].strip() for line in lines[1:-1])
    for words in ("NOT CIFAR-10", "shapes", "connect to the internet"):
        assert words in text


def test_a_damaged_file_is_said_in_the_box_too(fake_binary, capsys):
    (fake_binary / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(b"")
    check_is_shapes(gu.load_images("auto", fake_binary))
    text = capsys.readouterr().out
    assert "NOT CIFAR-10" in text
    assert "damaged" in text


def test_shapes_and_cifar_10_from_the_disk_are_loaded_without_a_word(fake_binary, capsys):
    gu.load_images("shapes")
    gu.load_images("auto", fake_binary)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_without_data_and_network_cifar10_is_refused_with_what_to_do(folder, refuses):
    # Not only that it failed, but the three ways to get the data.
    with refuses(RuntimeError, str(folder), "connect to the internet", "cifar-10-python.tar.gz",
                 "cifar-10-binary.tar.gz", "GOOGLENET_CIFAR10_URL"):
        gu.load_images("cifar10", folder)


def test_an_unknown_source_is_refused(refuses):
    with refuses(ValueError, "'imagenet'", "auto", "cifar10", "shapes"):
        gu.load_images("imagenet")
