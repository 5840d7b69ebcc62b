"""What each table compares, as data: {name: settings that differ from experiment.DEFAULTS}."""
from experiment import gu, networks


def spend(images, size, **options):
    """The multiply-adds of so many images in the whole GoogLeNet."""
    return images * networks.training_macs(gu.GoogLeNet(num_classes=10, **options).to("meta"), size)


# From the article's recipe to ours: in words, what changes, and whether it stays changed in the rows after it. Each run
# spends as much as three epochs of 48,000 images at 32 x 32 with the article's network.
ARTICLE = {"network": {"initialization": "pytorch"}, "learning_rate": 0.001, "nesterov": False, "one_cycle": False,
           "weight_decay": 0.0, "crop_scale": [0.08, 1.0], "batch_size": 32, "image_sizes": [32] * 3,
           "spend": spend(3 * 48_000, 32)}
STEPS = [
    ("the article's recipe", {}, True),
    ("weights drawn for ReLUs (Kaiming)", {"network": {}}, True),
    ("batch norm", {"network": {"batch_norm": True}}, True),
    ("learning rate up to 0.1 and down, Nesterov, batches of 128",
     {"learning_rate": 0.1, "one_cycle": True, "nesterov": True, "batch_size": 128}, True),
    ("weight decay 0.0005", {"weight_decay": 5e-4}, True),
    ("crops of 80 to 100 % instead of 8 to 100 %", {"crop_scale": [0.8, 1.0]}, True),
    ("label smoothing 0.1", {"label_smoothing": 0.1}, False),
    ("batches of 64, learning rate 0.05", {"batch_size": 64, "learning_rate": 0.05}, False),
    ("images that grow: 32, 32, 48 pixels", {"image_sizes": [32, 32, 48]}, False),
    ("an exponential moving average of the weights instead of the last ones", {"ema": 0.99}, False),
    ("the first stage for small images, one epoch", {"network": {"batch_norm": True, "small_images": True},
                                                     "image_sizes": [32]}, False),
    ("gradients clipped to a norm of 5", {"max_norm": 5.0}, True),
]


def recipe_steps():
    kept, rows = dict(ARTICLE), {}
    for text, change, stays in STEPS:
        rows[text] = {**kept, **change}
        kept = rows[text] if stays else kept
    return rows


# Which recipe suits the network that fits its images, a quarter as wide and with the stem for small ones: each run
# costs as many multiply-adds as 14 epochs of it at 32 pixels.
SHIFTED = {"padding": 4, "crop_scale": [1, 1], "crop_ratio": [1, 1], "label_smoothing": 0.1, "max_norm": 5.0}
FITS = {**SHIFTED, "network": {"batch_norm": True, "small_images": True, "width": 0.25}, "image_sizes": [32] * 14}


def recipe_search():
    wider = {"batch_norm": True, "small_images": True, "width": 0.375}
    changes = {"crops shifted by 4, label smoothing": {},
               "9 epochs at 24, 9 at 32": {"image_sizes": [24] * 9 + [32] * 9},
               "three eighths wide, 4 epochs at 24, 4 at 32": {"network": wider, "image_sizes": [24] * 4 + [32] * 4}}
    return {name: {**FITS, **change} for name, change in changes.items()}


# GoogLeNet with one part changed, made wider or narrower until an image costs the same, early in training: 15,000
# images at 40 x 40 pixels. Judged on 10,000 images: with 2,000, the choice of these would hide two points.
EARLY = {"images": 40_000, "image_sizes": [40], "batch_size": 64, "learning_rate": 0.05, "validation": [40_000, 50_000],
         "watched": 500, "spend": spend(15_000, 40, batch_norm=True), "precision": "float32"}
CHANGES = {
    "baseline": {},
    **{f"without path {path}": {"changes": {"without": path}} for path in (1, 2, 3, 4)},
    "one 3x3 for the 5x5": {"changes": {"path3": "3x3"}},
    "two 3x3 for the 5x5": {"changes": {"path3": "3x3 3x3"}},
    "without the reductions": {"changes": {"reductions": False}},
    "fully connected head": {"changes": {"head": "fully connected"}},
    "auxiliary heads": {"aux": True, "changes": {}},
    "without batch norm": {"batch_norm": False},
    "without batch norm, a tenth of the learning rate": {"batch_norm": False},
    "dropout 0.4": {"dropout": 0.4},
    "half width": {"changes": {"width": 0.5, "stem_width": 0.5}},       # cheaper: it sees more images
    "one 3x3 convolution for each block": {"changes": {"plain": True}},
}
FEW = ("baseline", "fully connected head", "dropout 0.4", "auxiliary heads")    # ten passes over a tenth of the images


def ablations():
    rows = {name: {**EARLY, "network": {"batch_norm": True, **network}} for name, network in CHANGES.items()}
    rows["without batch norm, a tenth of the learning rate"]["learning_rate"] = 0.005
    rows["half width"]["image_sizes"] = [40, 40]            # more than there are: twice over half of them
    for name in FEW:
        few = "few images" + (f", {name}" if name != "baseline" else "")
        rows[few] = {**rows[name], "image_sizes": [40] * 10}
    return rows


# GoogLeNet and other networks at 96 x 96 pixels, each as many images as the multiply-adds of 6,000 in GoogLeNet pay
# for. Learning rate: the recipe's with batch norm; without, the better of two lower ones, tried on other images.
RACE = {"images": 46_000, "random_images": True, "image_sizes": [96], "batch_size": 32, "precision": "float32",
        "spend": spend(6_000, 96)}
RATES = {"AlexNet": 0.01, "NiN": 0.03, "VGG-16": 0.03, "GoogLeNet": 0.01}


def neighbours():
    return {name: {**RACE, "network": {"neighbour": name}, "learning_rate": RATES.get(name, 0.1) * 32 / 128}
            for name in networks.NEIGHBOURS}


def neighbour_rates():
    tried = {**RACE, "validation": [46_000, 47_000]}
    return {f"{name}, learning rate {rate}": {**tried, "network": {"neighbour": name}, "learning_rate": rate * 32 / 128}
            for name in RATES for rate in (0.03, 0.01)}


# One long gradient can spoil a run: the same run, from the same weights and with the same batches, as it came and with
# this one gradient clipped.
def gradient_norms():
    watched = {**recipe_steps()["crops of 80 to 100 % instead of 8 to 100 %"], "watch": True}
    return {"as it came": watched, "one gradient clipped": {**watched, "clip_only": 388}}


# Our best: the whole network, with the stem for small images. gpu.py takes as many of these epochs as the time allows.
BEST = {**SHIFTED, "network": {"batch_norm": True, "small_images": True}, "batch_size": 512, "learning_rate": 0.4,
        "test": True}
BEST_EPOCHS = range(60, 121, 10)


# Profiles of googlenet_utils, the long run whose weights are shipped, and our best.
def train_cifar10():
    recipe = {"max_norm": gu.RECIPE.max_norm, "test": True}
    rows = {name: {**recipe, "network": {"batch_norm": True, "small_images": profile.small_images},
                   "image_sizes": list(profile.image_sizes), "batch_size": profile.batch_size,
                   "learning_rate": gu.RECIPE.learning_rate * profile.batch_size / 128}
            for name, profile in gu.PROFILES.items() if name != "ci"}
    rows["long"] = {**recipe, "image_sizes": [32] * 4 + [48] * 3 + [64] * 3,
                    "closing": {"image_sizes": [96, 193], "learning_rate": 0.05}}
    rows["cpu on a GPU"] = rows["cpu"]
    return rows | {f"best{epochs}": {**BEST, "image_sizes": [32] * epochs} for epochs in BEST_EPOCHS}


TABLES = {make.__name__: make() for make in (recipe_steps, recipe_search, ablations, neighbours, neighbour_rates,
                                             gradient_norms, train_cifar10)}
