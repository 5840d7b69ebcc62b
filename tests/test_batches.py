"""`Batches` against torchvision's transforms; order, tails and seeds; what it refuses."""
import inspect

import numpy as np
import pytest
import torch
from torchvision import transforms
from torchvision.transforms import v2

import googlenet_utils as gu

RAW = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}     # leaves the pixels on a scale of 0 to 1
MANY = 20_000
CROPS = [
    pytest.param((32, 32), (0.08, 1.0), (3 / 4, 4 / 3), id="as in the article"),
    pytest.param((32, 32), (0.6, 1.0), (3 / 4, 4 / 3), id="crops of 60 to 100 %"),
    pytest.param((32, 40), (0.2, 0.5), (1 / 2, 2.0), id="a wide image and long crops"),
    pytest.param((32, 32), (0.2, 0.5), (3 / 2, 2.0), id="wide crops only"),
]


def ramps(count, height=32, width=32):
    """Images that tell where a crop of theirs was cut: x in the first channel, y in the second; noise in the third."""
    images = torch.zeros(count, 3, height, width, dtype=torch.uint8)
    images[:, 0] = torch.arange(width) * 6
    images[:, 1] = torch.arange(height).view(-1, 1) * 6
    images[:, 2] = torch.randint(0, 256, (height, width))
    return images


def where(batch):
    """Top, left, height, width of the crops (whole pixels) and whether they are flipped, read from a batch of ramps."""
    side = batch.shape[-1]
    middle = batch[:, :2, side // 2 - 1:side // 2 + 1, side // 2 - 1:side // 2 + 1] * 255 / 6
    step_x, step_y = middle[:, 0, 0, 1] - middle[:, 0, 0, 0], middle[:, 1, 1, 0] - middle[:, 1, 0, 0]
    width, height = step_x.abs() * side, step_y * side
    centre_x, centre_y = middle[:, 0].mean(dim=(1, 2)), middle[:, 1].mean(dim=(1, 2))
    exact = torch.stack([centre_y + 0.5 - height / 2, centre_x + 0.5 - width / 2, height, width], dim=1)
    whole = exact.round()
    assert (exact - whole).abs().max() < 0.02               # crops are cut at whole pixels, as torchvision's are
    return whole.int(), step_x < 0


def drawn_crops(shape, count=MANY, **options):
    """The crops of one epoch, all from one batch."""
    batches = gu.Batches(ramps(1, *shape).expand(count, -1, -1, -1), torch.zeros(count, dtype=torch.int64), count, 8,
                         train=True, **RAW, **options)
    return where(next(iter(batches))[0])


def largest_gap(one, other):
    """Kolmogorov and Smirnov's distance between two samples: the largest gap between their distribution functions."""
    grid = torch.cat([one, other]).unique()
    return (torch.searchsorted(one.sort().values, grid, right=True) / len(one)
            - torch.searchsorted(other.sort().values, grid, right=True) / len(other)).abs().max().item()


def numbered(count, batch_size, train, **options):
    """Batches of images whose label, and whose every pixel, is their number."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    return gu.Batches(images, torch.arange(count), batch_size, 8, train, **{**RAW, **options})


def epoch(batches):
    """All images and all labels of an epoch."""
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


# Training: torchvision's RandomResizedCrop and RandomHorizontalFlip

def test_crops_and_flips_are_the_articles_unless_others_are_asked_for():
    parameters = inspect.signature(gu.Batches).parameters
    assert {name: parameters[name].default for name in ("scale", "ratio", "padding", "flip")} \
        == {"scale": (0.08, 1.0), "ratio": (3 / 4, 4 / 3), "padding": 0, "flip": True}


@pytest.mark.parametrize(("shape", "scale", "ratio"), CROPS)
def test_crops_are_distributed_as_torchvisions(shape, scale, ratio):
    ours, _ = drawn_crops(shape, scale=scale, ratio=ratio)
    image = torch.zeros(1, *shape)
    theirs = torch.tensor([transforms.RandomResizedCrop.get_params(image, list(scale), list(ratio))
                           for _ in range(MANY)])
    # Two samples of this size from one distribution differ by more than 0.0163 once in a hundred times.
    for name, measure in {"area": lambda c: c[:, 2] * c[:, 3], "aspect": lambda c: c[:, 3] / c[:, 2],
                          "top": lambda c: c[:, 0], "left": lambda c: c[:, 1],
                          "bottom": lambda c: c[:, 0] + c[:, 2], "right": lambda c: c[:, 1] + c[:, 3]}.items():
        assert largest_gap(measure(ours).double(), measure(theirs).double()) < 0.0163, name


def test_crops_lie_inside_the_image_and_keep_to_the_scale():
    crops, _ = drawn_crops((32, 32), scale=(0.6, 1.0))
    top, left, height, width = crops.unbind(dim=1)
    assert min(top.min(), left.min()) == 0
    assert max((top + height).max(), (left + width).max()) == 32
    area = (height * width).double() / 32**2                # sides are rounded to pixels: it may miss by a little
    assert 0.57 < area.min() < 0.61
    assert area.max() > 0.97


def test_a_scale_of_one_keeps_the_whole_image():
    crops, flipped = drawn_crops((32, 32), count=100, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert (crops == torch.tensor([0, 0, 32, 32])).all()
    assert flipped.any()
    assert not flipped.all()


def test_where_no_crop_fits_the_whole_image_is_taken():
    crops, _ = drawn_crops((32, 32), count=100, scale=(1.0, 1.0), ratio=(2.0, 2.0))
    assert (crops == torch.tensor([0, 0, 32, 32])).all()


def test_half_of_the_images_are_flipped_whatever_their_crop():
    crops, flipped = drawn_crops((32, 32))
    assert flipped.double().mean().item() == pytest.approx(0.5, abs=0.01)
    correlations = np.corrcoef(torch.cat([flipped[:, None], crops], dim=1).T.double().numpy())[0, 1:]
    assert abs(correlations).max() < 0.03


def test_flips_can_be_switched_off():
    assert not drawn_crops((32, 32), flip=False)[1].any()


def test_each_image_of_a_batch_has_a_crop_of_its_own():
    crops, flipped = drawn_crops((32, 32))
    area = (crops[:, 2] * crops[:, 3]).double()
    for neighbours in ((area[:-1], area[1:]), (flipped[:-1].double(), flipped[1:].double())):
        assert torch.corrcoef(torch.stack(neighbours))[0, 1].abs() < 0.03
    assert len(crops.unique(dim=0)) > MANY / 10


@pytest.mark.parametrize("side", [32, 64, 224])
def test_a_crop_is_torchvisions_crop_and_resize_away_from_the_border(side):
    images = ramps(40)
    images[:, 2] = torch.randint(0, 256, images[:, 2].shape)
    batch, labels = next(iter(gu.Batches(images, torch.arange(40), 40, side, train=True, **RAW)))
    crops, flipped = where(batch)
    for picture, label, (top, left, height, width), flip in zip(batch, labels, crops.tolist(), flipped, strict=True):
        expected = v2.functional.resized_crop(images[label].float(), top, left, height, width, [side, side])
        expected = expected.flip(-1) if flip else expected
        # Half a pixel from the crop's border torchvision repeats the last pixel, and ours looks at the one behind it.
        margin_y, margin_x = (-(-side // (2 * length)) for length in (height, width))
        inside = (slice(None), slice(margin_y, side - margin_y), slice(margin_x, side - margin_x))
        torch.testing.assert_close(picture[inside] * 255, expected[inside], rtol=0, atol=0.05)


def test_padding_shifts_crops_as_torchvisions_random_crop_and_mirrors_the_image_beyond_its_edge():
    images = torch.randint(0, 256, (300, 3, 32, 32), dtype=torch.uint8)
    batches = gu.Batches(images, torch.arange(300), 300, 32, True, scale=(1, 1), ratio=(1, 1), padding=4, **RAW)
    order, crops = batches.order_and_crops(0)
    batch, labels = next(iter(batches))
    assert torch.equal(labels, order)
    for axis in (0, 1):
        assert sorted(set(crops[:, axis].tolist())) == list(range(-4, 5))
    assert (crops[:, 2:4] == 32).all()
    for picture, label, (top, left, _, _, flipped) in zip(batch, labels, crops.int().tolist(), strict=True):
        padded = v2.functional.pad(images[label], 4, padding_mode="symmetric")
        expected = padded[:, top + 4:top + 36, left + 4:left + 36]
        assert torch.equal((picture * 255).round().byte(), expected.flip(-1) if flipped < 0 else expected)


def test_a_crop_that_ends_at_the_edge_repeats_the_last_pixel_there():
    images = torch.full((40, 3, 32, 32), 200, dtype=torch.uint8)
    batch, _ = next(iter(gu.Batches(images, torch.arange(40), 40, 64, True, **RAW)))
    torch.testing.assert_close(batch, torch.full_like(batch, 200 / 255))


@pytest.mark.parametrize("padding", [-1, 32, 2.5, None])
def test_a_padding_that_is_none_is_refused(padding, refuses):
    with refuses(ValueError, "padding must be a whole number"):
        gu.Batches(ramps(4), torch.zeros(4, dtype=torch.int64), 4, 32, True, padding=padding)


# Evaluation: torchvision's Resize and CenterCrop, which leaves a square image whole

@pytest.mark.parametrize("side", [224, 96, 56, 16, 8])
@pytest.mark.parametrize("shape", [(32, 32), (32, 45)], ids=str)
def test_evaluation_is_torchvisions_resize_and_centre_crop(side, shape):
    images = torch.randint(0, 256, (8, 3, *shape), dtype=torch.uint8)
    check_evaluation(images, side)


@pytest.mark.parametrize("side", [224, 96, 56])
def test_evaluation_is_torchvisions_on_cifar_10_too(side, cifar10):
    check_evaluation(cifar10.test_images[:32], side)


def check_evaluation(images, side):
    theirs = transforms.Compose([transforms.ToPILImage(), transforms.Resize(side), transforms.CenterCrop(side),
                                 transforms.ToTensor()])
    batches = gu.Batches(images, torch.zeros(len(images), dtype=torch.int64), 5, side, train=False, **RAW)
    gap = (epoch(batches)[0] - torch.stack([theirs(image) for image in images])).abs()
    assert gap.max() * 255 < 1.5                            # Pillow rounds to whole numbers, twice
    assert gap.mean() * 255 < 0.4


def test_nothing_is_resized_at_the_images_own_size():
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    batch, _ = next(iter(gu.Batches(images, torch.zeros(6, dtype=torch.int64), 6, 32, train=False, **RAW)))
    assert torch.equal((batch * 255).round().byte(), images)


@pytest.mark.parametrize("side", [32, 56, 224])
def test_an_evaluation_shows_images_as_large_as_training_with_the_recipes_crops_does(side, cifar10):
    numbers, crops = torch.arange(8), {**gu.RECIPE.crops, "padding": 0, "flip": False}
    (trained, order), (evaluated, _) = (
        next(iter(gu.Batches(cifar10.test_images[:8], numbers, 8, side, train, **RAW, **crops)))
        for train in (True, False))
    assert torch.allclose(trained, evaluated[order], atol=0.02)


def test_evaluation_gives_the_same_every_time():
    batches = numbered(7, 3, train=False)
    for one, other in zip(epoch(batches), epoch(batches), strict=True):
        assert torch.equal(one, other)


# Normalisation and devices

def test_mean_and_standard_deviation_are_cifar_10s_unless_others_are_given():
    assert gu.CIFAR10_MEAN == (0.4914, 0.4822, 0.4465)
    assert gu.CIFAR10_STD == (0.2470, 0.2435, 0.2616)
    parameters = inspect.signature(gu.Batches).parameters
    assert parameters["mean"].default == gu.CIFAR10_MEAN
    assert parameters["std"].default == gu.CIFAR10_STD


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("options", "expected"), [
    ({}, ((51 / 255 - 0.4914) / 0.2470, (102 / 255 - 0.4822) / 0.2435, (255 / 255 - 0.4465) / 0.2616)),
    ({"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}, (-0.6, -0.2, 1.0)),
], ids=["CIFAR-10's", "the article's"])
def test_each_channel_is_normalised_with_its_own_numbers(train, options, expected):
    images = torch.tensor([51, 102, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(4, 3, 32, 32)
    batch, _ = next(iter(gu.Batches(images, torch.zeros(4, dtype=torch.int64), 4, 48, train, **options)))
    torch.testing.assert_close(batch, torch.tensor(expected).view(1, 3, 1, 1).expand(4, 3, 48, 48), rtol=0, atol=1e-5)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("device", ["cpu", "meta", pytest.param("cuda", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="this machine has no NVIDIA GPU"))])
def test_batches_are_float32_and_on_the_device(train, device):
    images = torch.zeros(5, 3, 32, 32, dtype=torch.uint8)
    for labels in (torch.arange(5), torch.arange(5, dtype=torch.uint8)):
        for batch, batch_labels in gu.Batches(images, labels, 2, 40, train, device):
            assert (batch.device.type, batch.dtype) == (device, torch.float32)
            assert (batch_labels.device.type, batch_labels.dtype) == (device, torch.int64)
            assert batch.shape[1:] == (3, 40, 40)


# Order, tails, seeds

@pytest.mark.parametrize("train", [True, False])
def test_every_image_comes_once_an_epoch_together_with_its_label(train):
    batches = numbered(101, 7, train)
    for _ in range(3):
        images, labels = epoch(batches)
        assert torch.equal(labels.sort().values, torch.arange(101))
        numbers = labels.view(-1, 1, 1, 1).expand(-1, 3, 8, 8).float()
        torch.testing.assert_close(images * 255, numbers, rtol=0, atol=1e-3)


def test_orders_and_crops_differ_between_epochs():
    batches = gu.Batches(ramps(50), torch.arange(50), 50, 8, train=True, **RAW)
    (first, first_labels), (second, second_labels) = epoch(batches), epoch(batches)
    for labels in (first_labels, second_labels):
        assert not torch.equal(labels, torch.arange(50))
    assert (first_labels == second_labels).double().mean() < 0.2
    same_crop = (where(first)[0][first_labels.argsort()] == where(second)[0][second_labels.argsort()]).all(dim=1)
    assert same_crop.double().mean() < 0.2


def test_evaluation_keeps_the_order():
    assert torch.equal(epoch(numbered(10, 3, train=False))[1], torch.arange(10))


def test_the_same_seed_gives_the_same_epochs_and_another_seed_others():
    images = ramps(30)
    one, same, other = (gu.Batches(images, torch.arange(30), 8, 8, train=True, seed=seed) for seed in (3, 3, 4))
    for number in range(2):
        torch.manual_seed(number)                           # the global generator plays no part
        (images_one, labels_one), (images_same, labels_same), (_, labels_other) = epoch(one), epoch(same), epoch(other)
        assert torch.equal(images_one, images_same)
        assert torch.equal(labels_one, labels_same)
        assert not torch.equal(labels_one, labels_other)


def test_a_seed_does_not_begin_with_the_second_epoch_of_its_neighbour():
    zero, one = numbered(30, 30, train=True, seed=0), numbered(30, 30, train=True, seed=1)
    epoch(zero)
    assert not torch.equal(epoch(zero)[1], epoch(one)[1])


def test_making_batches_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    epoch(numbered(10, 3, train=True))
    assert torch.equal(torch.get_rng_state(), state)


def fingerprint(batches):
    """What a pass would give, without taking one: the images and labels of its first batch."""
    images, labels = next(iter(batches))
    return images.sum().item(), labels.tolist()


def test_any_epoch_can_be_chosen_and_is_the_same_however_one_came_to_it():
    images = ramps(30)
    walked, chosen = (gu.Batches(images, torch.arange(30), 8, 8, True, seed=5, **RAW) for _ in range(2))
    passes = [epoch(walked) for _ in range(4)]
    for number in (2, 0, 3, 3, 1):
        chosen.set_epoch(number)
        for ours, theirs in zip(epoch(chosen), passes[number], strict=True):
            assert torch.equal(ours, theirs)
    assert chosen.epoch == 2                                # the pass that was finished moved on


def stop_in_the_middle(batches):
    for _ in batches:
        break


def stop_by_an_error(batches):
    def fail(labels):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(map(fail, batches))


def two_at_once(batches):
    list(zip(batches, batches, strict=True))
    batches.set_epoch(0)


def all_but_one(batches):
    for _ in zip(range(len(batches) - 1), batches, strict=False):
        pass


@pytest.mark.parametrize("look", [
    pytest.param(lambda batches: next(iter(batches)), id="next(iter())"),
    pytest.param(len, id="len"),
    pytest.param(lambda batches: batches.image_size, id="image_size"),
    pytest.param(lambda batches: batches.describe(), id="describe"),
    pytest.param(lambda batches: gu.evaluate_accuracy(batches, torch.nn.Flatten(), "cpu"), id="evaluation"),
    pytest.param(stop_in_the_middle, id="stopped"),
    pytest.param(stop_by_an_error, id="failed"),
    pytest.param(all_but_one, id="all but one"),
    pytest.param(two_at_once, id="two at once"),
])
def test_looking_changes_nothing(look):
    images = ramps(30)
    batches, untouched = (gu.Batches(images, torch.arange(30) % 10, 8, [8, 12, 16], True, **RAW) for _ in range(2))
    look(batches)
    for _ in range(4):
        for seen, expected in zip(batches, untouched, strict=True):
            assert torch.equal(seen[0], expected[0])
            assert torch.equal(seen[1], expected[1])


def test_two_passes_at_once_see_the_same_and_count_once():
    batches, one = numbered(30, 8, True), numbered(30, 8, True)
    seen = [(first[1], second[1]) for first, second in zip(batches, batches, strict=True)]
    expected = [labels for _, labels in one]
    for (first, second), labels in zip(seen, expected, strict=True):
        assert torch.equal(first, labels)
        assert torch.equal(second, labels)
    assert batches.epoch == one.epoch == 1
    assert torch.equal(epoch(batches)[1], epoch(one)[1])


def test_an_epoch_that_was_chosen_during_a_pass_stays_chosen():
    batches = numbered(30, 8, True)
    for _ in batches:
        batches.set_epoch(5)
    assert batches.epoch == 5


def test_an_evaluation_after_the_training_leaves_the_epoch_too():
    batches = numbered(30, 8, True)
    batches.set_epoch(3)
    before = fingerprint(batches)
    gu.evaluate_accuracy(batches, torch.nn.Flatten(), "cpu")
    assert batches.epoch == 3
    assert fingerprint(batches) == before


@pytest.mark.parametrize(("count", "batch_size", "train", "sizes"), [
    (6, 3, True, [3, 3]), (6, 3, False, [3, 3]),
    (8, 3, True, [3, 3, 2]), (8, 3, False, [3, 3, 2]),
    (7, 3, True, [3, 4]), (7, 3, False, [3, 3, 1]),         # a tail of one would break batch norm in training
    (3, 2, True, [3]), (3, 2, False, [2, 1]),
    (1, 3, True, [1]), (1, 3, False, [1]),                  # there is no batch before
    (2, 1, True, [1, 1]), (2, 1, False, [1, 1]),            # one at a time was asked for
    (2, 5, True, [2]), (2, 5, False, [2]),
], ids=str)
def test_batches_have_these_sizes_and_len_is_their_number(count, batch_size, train, sizes):
    batches = numbered(count, batch_size, train)
    assert [len(labels) for _, labels in batches] == sizes
    assert len(batches) == len(sizes)


# What it refuses

IMAGES, LABELS = torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.arange(4)


@pytest.mark.parametrize(("change", "words"), [
    ({"images": IMAGES.float()}, ("uint8", "torch.float32")),
    ({"images": IMAGES[0]}, ("N x channels x height x width", "3 x 32 x 32")),
    ({"images": 3}, ("N x channels x height x width",)),
    ({"images": IMAGES[:0], "labels": LABELS[:0]}, ("at least one", "0 ")),
    ({"labels": LABELS[:3]}, ("as many labels as images", "4 ", "3 ")),
    ({"labels": LABELS - 1}, ("labels", "from 0 on", "-1")),
    ({"labels": LABELS.float()}, ("labels", "whole numbers", "torch.float32")),
    ({"batch_size": 0}, ("batch_size", "1 or more", "0")),
    ({"image_size": 0}, ("image_size", "1 or more", "0")),
    ({"seed": 2**62}, ("seed", "below 2**40", str(2**62))),
], ids=["floats", "one image", "a number", "empty", "fewer labels", "negative", "float labels", "no batch size",
        "no image size", "too large a seed"])
def test_what_makes_no_batches_is_refused(change, words, refuses):
    arguments = {"images": IMAGES, "labels": LABELS, "batch_size": 2, "image_size": 32, "train": True, **change}
    with refuses(ValueError, *words):
        gu.Batches(**arguments)


def test_labels_in_a_column_are_refused(refuses):
    # N x 1 labels against N predictions would compare all with all, without a word.
    with refuses(ValueError, "labels", "4 x 1"):
        gu.Batches(IMAGES, LABELS.view(-1, 1), 2, 32, True)


def test_a_mean_for_other_channels_than_the_images_have_is_refused(refuses):
    # Grey images would become coloured ones, without a word.
    with refuses(ValueError, "mean", "channel"):
        gu.Batches(IMAGES[:, :1], LABELS, 2, 32, True)
