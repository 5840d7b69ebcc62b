"""Figures: PNG with a text alternative and a caption, showing what they were given, in colours that can be read on."""
import io

import IPython
import matplotlib as mpl
import nbformat
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib import pyplot as plt
from PIL import Image
from test_notebooks import NOTEBOOKS
from traitlets.config import Config

import googlenet_utils as gu

HISTORY = {"loss": [2.0, 1.5, 1.25], "train_acc": [0.25, 0.5, 0.625], "val_acc": [0.375, 0.5, 0.75],
           "seconds": [1.0, 1.0, 1.0]}


@pytest.fixture(autouse=True)
def matplotlib_as_before():
    """No window opens, and neither settings nor figures stay behind."""
    plt.close("all")
    plt.switch_backend("Agg")
    with mpl.rc_context():
        yield
    plt.close("all")


@pytest.fixture
def shell():
    """A running IPython, as in a notebook, that writes no history to the disk."""
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    yield shell
    InteractiveShell.clear_instance()


def contrast(color, other):
    """WCAG 2's contrast between two colours, 1 to 21."""
    def luminance(color):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(color)]
        return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    dark, light = sorted((luminance(color), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


# show

def test_show_gives_a_png_with_its_text_alternative_and_then_the_caption(shell):
    fig, axis = gu.new_figure(width=4, height=2)
    axis.plot([1, 2])
    with capture_output() as captured:
        gu.show(fig, alt="a line that rises", caption="It rises.")
    picture, caption = captured.outputs
    assert set(picture.data) == {"image/png", "text/plain"}
    assert picture.metadata == {"image/png": {"alt": "a line that rises"}}
    assert picture.data["text/plain"] == "a line that rises"
    png = Image.open(io.BytesIO(picture.data["image/png"]))
    assert (png.format, png.size) == ("PNG", (480, 240))
    assert len(png.convert("RGB").getcolors(480 * 240)) > 10                # something is drawn
    assert png.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)     # on white, in a dark theme too
    assert set(caption.data) == {"text/markdown", "text/plain"}
    assert caption.data["text/markdown"] == "*It rises.*"
    assert captured.stdout + captured.stderr == ""


def test_show_closes_its_figure_and_no_other(shell):
    kept, _ = gu.new_figure()
    fig, _ = gu.new_figure()
    with capture_output():
        gu.show(fig, alt="nothing", caption="Nothing.")
    assert plt.get_fignums() == [kept.number]


def test_show_opens_a_window_in_a_plain_script(monkeypatch):
    calls = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: None)
    monkeypatch.setattr(plt, "show", lambda: calls.append(plt.get_fignums()))
    fig, _ = gu.new_figure()
    number = fig.number
    gu.show(fig, alt="nothing", caption="Nothing.")
    assert calls == [[number]]
    assert plt.get_fignums() == []


# new_figure, plot_images, plot_history

def test_a_new_figure_has_large_letters_and_our_colours():
    fig, axes = gu.new_figure(2, 3, width=6, height=3)
    assert axes.shape == (2, 3)
    assert tuple(fig.get_size_inches()) == (6, 3)
    axis = axes[0, 0]
    lines = [axis.plot([0, index], label="a line")[0] for index in range(5)]
    assert [line.get_color() for line in lines] \
        == [*(gu.COLORS[name] for name in ("blue", "vermilion", "green", "purple")), "black"]
    axis.set(xlabel="x", ylabel="y", title="title")
    texts = [axis.title, axis.xaxis.label, axis.yaxis.label, *axis.legend().get_texts(), *axis.get_xticklabels()]
    assert min(text.get_fontsize() for text in texts) >= 12


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 3, 8, 10), dtype=torch.uint8)


def drawn(fig):
    """What stands on the axes of `fig`, as uint8 N x H x W x channels (or N x H x W where it is grey)."""
    shown = np.stack([axis.images[0].get_array().data for axis in fig.axes if axis.images])
    return shown if shown.dtype == np.uint8 else (255 * shown).round().astype(np.uint8)


@pytest.mark.parametrize("count", [1, 4, 5, 7])
def test_plot_images_draws_each_image_with_its_title(count):
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8)
    titles = [f"image {index}" for index in range(count)]
    fig = gu.plot_images(images, titles, columns=4)
    assert len(fig.axes) == -(-count // 4) * 4
    assert [axis.get_title() for axis in fig.axes[:count]] == titles
    assert np.array_equal(drawn(fig), images.permute(0, 2, 3, 1))
    assert not any(axis.axison for axis in fig.axes)
    for axis in fig.axes[count:]:
        assert (len(axis.images), axis.get_title()) == (0, "")


def test_plot_images_takes_images_without_titles_and_has_an_older_name():
    fig = gu.show_images(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), columns=3, size=2.0)
    assert [axis.get_title() for axis in fig.axes] == [""] * 3
    assert tuple(fig.get_size_inches()) == (6, 2)


@pytest.mark.parametrize("form", [
    lambda X: X.numpy(), lambda X: X.permute(0, 2, 3, 1), lambda X: X.permute(0, 2, 3, 1).numpy(), list,
    lambda X: [Image.fromarray(image) for image in X.permute(0, 2, 3, 1).numpy()], lambda X: X.long(),
    lambda X: X / 255, lambda X: (X / 255).double().numpy(), lambda X: (X / 255).requires_grad_(),
    lambda X: (X / 255 - 0.5) / 0.25 * 0.25 + 0.5],
    ids=["array", "channels last", "array, channels last", "list", "PIL", "int64", "floats", "float64 array",
         "with a gradient", "normalised and back"])
def test_plot_images_draws_the_same_whatever_form_the_images_have(images, form):
    assert np.array_equal(drawn(gu.plot_images(form(images))), images.permute(0, 2, 3, 1))


@pytest.mark.parametrize("form", [lambda X: X, lambda X: X.permute(1, 2, 0), lambda X: X.numpy(), lambda X: X / 255],
                         ids=["tensor", "channels last", "array", "floats"])
def test_plot_images_draws_one_image_without_a_batch(images, form):
    fig = gu.plot_images(form(images[0]), "dog", columns=1)
    assert np.array_equal(drawn(fig), images[:1].permute(0, 2, 3, 1))
    assert [axis.get_title() for axis in fig.axes] == ["dog"]


@pytest.mark.parametrize("form", [lambda X: X, lambda X: X.permute(0, 2, 3, 1), lambda X: X / 255],
                         ids=["tensor", "channels last", "floats"])
def test_plot_images_draws_grey_images_from_black_to_white(images, form):
    fig = gu.plot_images(form(images[:, :1]))
    assert np.array_equal(drawn(fig), images[:, 0])
    for axis in fig.axes[:3]:
        (grey,) = axis.images
        assert grey.cmap(0.0)[:3] == (0, 0, 0) and grey.cmap(1.0)[:3] == (1, 1, 1)
        assert grey.get_clim() in ((0, 255), (0, 1)), "not stretched: two images can be compared"


def test_plot_images_draws_a_mask_in_black_and_white(images):
    assert set(np.unique(drawn(gu.plot_images(images[:, :1] > 127)))) == {0, 255}


@pytest.mark.parametrize("change", [
    lambda X: X.float(), lambda X: X / 255 - 0.5, lambda X: X * float("nan"), lambda X: X.long() + 256, lambda X: X[:0],
    lambda X: X[:, :2], lambda X: X[0, 0], lambda X: X[None], lambda X: X[:, :, :0]],
    ids=["floats to 255", "normalised", "nan", "too large", "none", "two channels", "no channels", "five dimensions",
         "no pixels"])
def test_plot_images_refuses_what_is_no_image(images, change, refuses):
    given = change(images)
    with refuses(ValueError, "N x 3 x height x width", "0 to 255", "0 to 1", f"{given.dtype} of shape"):
        gu.plot_images(given)


@pytest.mark.parametrize(("titles", "shown"), [
    (torch.tensor([3, 0, 8]), ["3", "0", "8"]), (torch.zeros(3), ["0.0"] * 3), (np.array([3, 0, 8]), ["3", "0", "8"]),
    ([torch.tensor(3), torch.tensor(0), torch.tensor(8)], ["3", "0", "8"]), (range(3), ["0", "1", "2"]),
    (torch.tensor([[3], [0], [8]]), ["3", "0", "8"]), (("a", "", "b\nc"), ["a", "", "b\nc"]),
    (np.array(["a", "b", "c"]), ["a", "b", "c"])],
    ids=["labels", "all zero", "array", "list of tensors", "range", "column", "words", "array of words"])
def test_titles_may_be_what_labels_are(images, titles, shown):
    assert [axis.get_title() for axis in gu.plot_images(images, titles, columns=3).axes] == shown


@pytest.mark.parametrize(("titles", "count"), [
    (["a", "b"], 2), (["a", "b", "c", "d"], 4), (torch.tensor([1, 2]), 2), (torch.arange(4), 4), ([], 0),
    ("dog", 1), (3, 1)], ids=["fewer", "more", "fewer labels", "more labels", "none", "a word", "a number"])
def test_more_titles_than_images_and_fewer_are_refused(images, titles, count, refuses):
    with refuses(ValueError, "3 images need as many titles", f"not {count}"):
        gu.plot_images(images, titles)


def test_plot_history_draws_the_loss_and_beside_it_both_accuracies():
    fig = gu.plot_history(HISTORY, title="three epochs")
    assert fig.get_suptitle() == "three epochs"
    left, right = fig.axes
    (loss,) = left.lines
    assert list(loss.get_xdata()) == [1, 2, 3]
    assert list(loss.get_ydata()) == HISTORY["loss"]
    assert (left.get_xlabel(), left.get_ylabel()) == ("epoch", "training loss")
    assert left.get_ylim()[0] == 0                          # so that a small fall looks small
    assert (right.get_xlabel(), right.get_ylabel(), right.get_ylim()) == ("epoch", "accuracy", (0, 1))
    lines = {line.get_label(): line for line in right.lines}
    assert [text.get_text() for text in right.get_legend().get_texts()] == list(lines)
    for words, name in (("training images", "train_acc"), ("validation images", "val_acc")):
        (label,) = [label for label in lines if words in label]
        assert list(lines[label].get_xdata()) == [1, 2, 3]
        assert list(lines[label].get_ydata()) == HISTORY[name]
    # Not by colour alone.
    assert len({(line.get_marker(), line.get_linestyle()) for line in right.lines}) == 2


@pytest.mark.parametrize("epochs", [0, 1, 2, 3, 30])
def test_a_history_of_any_length_has_whole_numbers_of_epochs_on_its_axis(epochs):
    fig = gu.plot_history({name: [values[0]] * epochs for name, values in HISTORY.items()})
    fig.canvas.draw()
    for axis in fig.axes:
        assert all(tick == int(tick) for tick in axis.get_xticks())
        assert {len(line.get_xdata()) for line in axis.lines} == {epochs}
        low, high = axis.get_xlim()
        assert epochs == 0 or any(low <= tick <= high for tick in axis.get_xticks())


# Colours

def test_colours_are_okabe_and_itos():
    assert {name: gu.COLORS[name] for name in gu.COLORS if name != "grey"} == {
        "blue": "#0072B2", "orange": "#E69F00", "green": "#009E73", "vermilion": "#D55E00", "sky": "#56B4E9",
        "purple": "#CC79A7", "yellow": "#F0E442"}


@pytest.mark.parametrize("name", gu.COLORS)
def test_text_can_be_read_on_every_colour(name):
    text = "white" if name in ("blue", "grey") else "black"
    assert contrast(gu.COLORS[name], text) > 4.5


def test_lines_and_grey_words_stand_out_on_white():
    gu.new_figure()
    lines = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    assert min(contrast(color, "white") for color in lines) >= 3
    assert contrast(gu.COLORS["grey"], "white") >= 4.5


# Drawings of ours, in folded cells of the notebooks

def figure_of(notebook, cell_id, **names):
    """The figure that a cell shows, run with nothing but the imports of the set-up cell, and `names`."""
    (path,) = NOTEBOOKS.glob(f"{notebook}_*.ipynb")
    (cell,) = [cell for cell in nbformat.read(path, as_version=4).cells if cell.id == cell_id]
    figures = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gu, "show", lambda fig, alt, caption: figures.append(fig))
        exec(cell.source, {"gu": gu, "torch": torch, **names})
    (fig,) = figures
    return fig


DRAWINGS = {"history": lambda: gu.plot_history(HISTORY), "block": lambda: figure_of("01", "opening-picture"),
            "costs": lambda: figure_of("02", "costs"), "padding": lambda: figure_of("02", "kernel-over-padding"),
            "googlenet": lambda: gu.draw_googlenet(gu.GoogLeNet())[0],
            "googlenet tall": lambda: gu.draw_googlenet(gu.GoogLeNet(aux=True), tall=True)[0]}


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=list(DRAWINGS))
def test_every_word_and_every_shape_stands_out_from_what_is_behind_it(draw):
    """Words 4.5 to 1, lines and the outlines or fillings of boxes 3 to 1, as WCAG 2 asks."""
    fig = draw()
    fig.canvas.draw()
    for axis in fig.axes:
        for word in axis.findobj(mpl.text.Text):
            x, y = word.get_window_extent().get_points().mean(axis=0)
            behind = [patch.get_facecolor() for patch in axis.patches if patch.get_window_extent().contains(x, y)]
            assert contrast(word.get_color(), behind[-1] if behind else "white") >= 4.5, word.get_text()
        for line in axis.lines:
            assert contrast(line.get_color(), "white") >= 3
        for patch in axis.patches:
            drawn = [color for color in (patch.get_facecolor(), patch.get_edgecolor()) if color[3] > 0]
            assert max(contrast(color, "white") for color in drawn) >= 3


def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_the_drawing_of_a_block_says_what_count_cost_says():
    """The real block's lines hold the multiply-adds that are counted; the naive block lets every channel out."""
    naive, real = figure_of("01", "opening-picture").axes
    macs = gu.count_cost(gu.Inception(192, 64, (96, 128), (16, 32), 32), 28).macs
    assert real.get_title() == f"the real block\n{macs / 1e6:.0f} M multiply-adds, 256 channels out"
    assert "416 channels out" in naive.get_title()
    assert {"64 ch", "128 ch", "32 ch", "192 ch"} <= set(texts(naive))      # the pooling passes its 192 on
    assert {"out\n256", "3×3\n128", "1×1\n96", "max\npool"} <= set(texts(real))
    widths = [line.get_linewidth() for line in real.lines if line.get_linestyle() == "-"]
    assert sum(widths) == pytest.approx(0.2 * macs / 1e6)
    assert max(widths) == pytest.approx(0.2 * 96 * 128 * 9 * 28**2 / 1e6)      # the 3x3 convolution's


def test_the_bars_of_the_stages_say_what_count_cost_says():
    (bars,) = figure_of("02", "costs").axes
    cost = gu.count_cost(gu.GoogLeNet(), 224)
    assert [text.get_text() for text in bars.get_legend().get_texts()] == [
        f"parameters: {cost.parameters / 1e6:,.1f} M", f"multiply-adds: {cost.macs / 1e6:,.1f} M"]
    for series in bars.containers:
        assert sum(bar.get_height() for bar in series) == pytest.approx(100)
    parameters, macs = ([bar.get_height() for bar in series] for series in bars.containers)
    assert round(sum(parameters[3:5])) in range(74, 77)     # "three quarters"
    assert sum(macs[3:5]) < 50                              # "less than half"


def test_the_kernel_lies_over_pixels_at_224_and_over_padding_at_32():
    sides = {}
    for axis in figure_of("02", "kernel-over-padding").axes:
        (frame,) = axis.lines
        low, high = min(frame.get_xdata()), max(frame.get_xdata())
        assert high - low == 5
        under = [patch for patch in axis.patches if low <= min(patch.get_xy()) and max(patch.get_xy()) < high]
        pixels = [patch for patch in under if mpl.colors.to_hex(patch.get_facecolor()).upper() == gu.COLORS["sky"]]
        sides[axis.get_title()] = len(under), len(pixels)
    assert list(sides.values()) == [(25, 25), (25, 1)]


def test_the_dog_stands_out_and_is_as_wide_and_its_eye_where_the_notebook_says():
    fields = [torch.zeros(224, 224, dtype=torch.bool) for _ in range(4)]
    for mask, width in zip(fields, (27, 43, 59, 43), strict=True):
        mask[72 - width // 2:73 + width // 2, 56 - width // 2:57 + width // 2] = True
    fig = figure_of("01", "dog-draw", fields=fields)
    fig.canvas.draw()
    for axis in fig.axes:
        sky, ground, *dog = axis.patches
        assert min(contrast(part.get_facecolor(), behind.get_facecolor())
                   for part in dog for behind in (sky, ground)) >= 3
        to_pixels = axis.transData.inverted()
        boxes = [to_pixels.transform_bbox(part.get_window_extent()) for part in dog]
        assert max(box.x1 for box in boxes) - min(box.x0 for box in boxes) == pytest.approx(185, abs=3)
        assert dog[-1].center == (56, 72)
        squares = {int(np.ptp(line.get_xdata())) for line in axis.lines}
        assert squares == {27, 43, 59}, "one square for each size"
    assert texts(fig.axes[1]) == ["path 1: 27 px", "paths 2 and 4: 43 px", "path 3: 59 px"]


# draw_googlenet

BLOCKS = ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]


def narrow_googlenet():
    """GoogLeNet with a quarter of the channels in its blocks, and five classes."""
    net, channels = gu.GoogLeNet(num_classes=5, aux=True), 192
    for stage in (net.stage3, net.stage4, net.stage5):
        for index, block in enumerate(stage):
            if isinstance(block, gu.Inception):
                convolutions = (layer for layer in block.children() if isinstance(layer, torch.nn.Conv2d))
                c1, *c2, c3, c3_out, c4 = (layer.out_channels // 4 for layer in convolutions)
                stage[index] = gu.Inception(channels, c1, c2, (c3, c3_out), c4)
                channels = c1 + c2[1] + c3_out + c4
    net.aux1, net.aux2, net.fc = gu.AuxiliaryHead(128, 5), gu.AuxiliaryHead(132, 5), torch.nn.Linear(channels, 5)
    return net


@pytest.fixture(scope="module", params=["plain", "heads", "small images", "narrow"])
def googlenet(request):
    """A network, the size of its images, whether it has auxiliary heads, and shapes that its parts put out."""
    return {"plain": lambda: (gu.GoogLeNet(num_classes=10), 224, False, {"64 × 112×112", "480 × 14×14", "10 logits"}),
            "heads": lambda: (gu.GoogLeNet(aux=True), 96, True, {"256 × 12×12", "832 × 3×3", "1000 logits"}),
            "small images": lambda: (gu.GoogLeNet(1, 10, small_images=True, batch_norm=True), 32, False,
                                     {"1 × 32×32", "256 × 16×16", "1024 × 4×4", "10 logits"}),
            "narrow": lambda: (narrow_googlenet(), 224, True, {"64 × 28×28", "128 × 14×14", "256 × 7×7", "5 logits"}),
            }[request.param]()


@pytest.mark.parametrize("tall", [False, True], ids=["wide", "tall"])
def test_googlenet_is_drawn_with_all_its_layers_and_told_in_words(googlenet, tall):
    net, size, has_heads, shapes = googlenet
    fig, alt = gu.draw_googlenet(net, size, tall=tall)
    words = [" ".join(text.split()) for text in texts(fig.axes[0]) if text]
    assert [word for word in words if word in BLOCKS] == BLOCKS
    assert [part.split(":")[0] for part in alt.split("Block ")[1:]] == BLOCKS
    convolutions = [layer for layer in net.modules() if isinstance(layer, torch.nn.Conv2d)]
    expected = [f"{layer.kernel_size[0]}×{layer.kernel_size[0]} {layer.out_channels}" for layer in convolutions]
    drawn = [word.removesuffix(" stride 2") for word in words if word[1:2] == "×"]
    assert sorted(drawn) == sorted(expected)
    pools = [layer for layer in net.modules() if isinstance(layer, torch.nn.MaxPool2d)]
    assert sum(word.startswith("pool 3×3") for word in words) == len(pools)
    assert sum(word.endswith("stride 2") for word in words) \
        == sum(layer.stride in (2, (2, 2)) for layer in (*pools, *convolutions))
    assert shapes <= set(words)
    for told in {*expected, *shapes, "average pool", f"linear {net.fc.out_features}"}:
        assert told in alt
    assert words.count("auxiliary head") == alt.count(", auxiliary head:") == 2 * has_heads
    assert words.count("no auxiliary head") == alt.count(", no auxiliary head.") == 2 * (not has_heads)


def test_other_norms_and_dropout_are_no_boxes_of_their_own():
    net = gu.GoogLeNet(num_classes=5, batch_norm=True)
    expected = gu.draw_googlenet(net)[1]
    for part in list(net.modules()):
        for name, layer in part.named_children():
            if isinstance(layer, torch.nn.BatchNorm2d):
                setattr(part, name, torch.nn.GroupNorm(8, layer.num_features))
    net.fc = torch.nn.Sequential(torch.nn.Dropout(0.4), net.fc)
    assert gu.draw_googlenet(net)[1] == expected


def test_a_drawn_block_has_its_four_paths_in_order():
    net = gu.GoogLeNet(num_classes=10)
    for tall in (False, True):
        fig, alt = gu.draw_googlenet(net, tall=tall)
        assert "Block 3a: 1×1 64; 1×1 96, 3×3 128; 1×1 16, 5×5 32; pool 3×3, 1×1 32: 256 × 28×28." in alt
        places = {}
        for text in fig.axes[0].texts:
            places.setdefault(text.get_text(), text.get_position()[::-1 if tall else 1])       # the first of this name
        along = {word: places[word][0] for word in ("1×1 96", "3×3 128", "1×1 16", "5×5 32")}
        assert along["1×1 96"] == along["1×1 16"] < along["3×3 128"] == along["5×5 32"]
        assert places["1×1 192"][0] == places["3×3 208"][0]             # a lone box stands where the channels leave
        across = [places[word][1] for word in ("3×3 128", "5×5 32", "1×1 32")]
        assert across == sorted(across)


@pytest.mark.parametrize("tall", [False, True], ids=["wide", "tall"])
def test_the_drawn_googlenet_can_be_read(googlenet, tall):
    """Every word is large enough, inside the figure, on no other word and on no line."""
    net, size, *_ = googlenet
    fig, _ = gu.draw_googlenet(net, size, tall=tall)
    assert fig.get_figwidth() == pytest.approx(390 / 96 if tall else 9, abs=0.05)       # a telephone: 96 pixels an inch
    fig.canvas.draw()
    (axis,) = fig.axes
    words = [text for text in axis.findobj(mpl.text.Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in words) >= 7
    extents = [text.get_window_extent() for text in words]
    boxes = [patch.get_window_extent() for patch in axis.patches if patch.get_zorder() >= 1]
    lines = [line.get_transform().transform_path(line.get_path()) for line in axis.lines]
    for index, (text, extent) in enumerate(zip(words, extents, strict=True)):
        assert fig.bbox.contains(*extent.min) and fig.bbox.contains(*extent.max), text
        assert not any(extent.overlaps(other) for other in extents[:index]), text
        around = [box for box in boxes if box.overlaps(extent)]
        if around:                                          # in its box: the box hides the lines
            assert len(around) == 1 and around[0].contains(*extent.min) and around[0].contains(*extent.max), text
        else:
            assert not any(line.intersects_bbox(extent, filled=False) for line in lines), text


def test_the_stored_pictures_of_googlenet_are_sharp_and_small():
    for name, width in (("googlenet", 2 * 830), ("googlenet_tall", 2 * 390)):
        path = gu.project_file(f"notebooks/pictures/{name}.png")
        with Image.open(path) as picture:
            assert picture.width >= width
        assert path.stat().st_size < 200_000


