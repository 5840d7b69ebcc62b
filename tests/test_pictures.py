"""Figures: PNG with a text alternative and a caption, showing what they were given, in colours that can be read on."""
import io

import IPython
import matplotlib as mpl
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib import pyplot as plt
from PIL import Image
from traitlets.config import Config

import googlenet_utils as gu

HISTORY = {"loss": [2.0, 1.5, 1.25], "train_acc": [0.25, 0.5, 0.625], "test_acc": [0.375, 0.5, 0.75],
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


# new_figure, show_images, plot_history

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


@pytest.mark.parametrize("count", [1, 4, 5, 7])
def test_show_images_draws_each_image_with_its_title(count):
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8)
    titles = [f"picture {index}" for index in range(count)]
    fig = gu.show_images(images, titles, columns=4)
    rows = -(-count // 4)
    assert len(fig.axes) == rows * 4
    for axis, image, title in zip(fig.axes[:count], images, titles, strict=True):
        assert axis.get_title() == title
        (drawn,) = axis.images
        assert torch.equal(torch.from_numpy(drawn.get_array().data), image.permute(1, 2, 0))
    for axis in fig.axes:
        assert not axis.axison
    for axis in fig.axes[count:]:
        assert (len(axis.images), axis.get_title()) == (0, "")


def test_show_images_takes_images_without_titles():
    fig = gu.show_images(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), columns=3, size=2.0)
    assert [axis.get_title() for axis in fig.axes] == [""] * 3
    assert tuple(fig.get_size_inches()) == (6, 2)


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
    drawn = {line.get_label(): line for line in right.lines}
    assert [text.get_text() for text in right.get_legend().get_texts()] == list(drawn)
    for words, name in (("training images", "train_acc"), ("held-out images", "test_acc")):
        (label,) = [label for label in drawn if words in label]
        assert list(drawn[label].get_xdata()) == [1, 2, 3]
        assert list(drawn[label].get_ydata()) == HISTORY[name]
    # Not by colour alone.
    assert len({(line.get_marker(), line.get_linestyle()) for line in right.lines}) == 2


def test_epochs_are_whole_numbers_on_the_axis():
    fig = gu.plot_history(HISTORY)
    fig.canvas.draw()
    for axis in fig.axes:
        assert all(tick == int(tick) for tick in axis.get_xticks())


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


@pytest.mark.parametrize("draw", [
    lambda: gu.plot_history(HISTORY), lambda: gu.draw_network(gu.GoogLeNet(num_classes=10), 224),
    lambda: gu.draw_inception(192, 64, (96, 128), (16, 32), 32, side=28)],
    ids=["plot_history", "draw_network", "draw_inception"])
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


def test_the_dog_stands_out_from_sky_and_ground():
    _, axis = gu.new_figure()
    gu.draw_dog(axis)
    sky, ground, *dog = (patch.get_facecolor() for patch in axis.patches)
    assert min(contrast(part, behind) for part in dog for behind in (sky, ground)) >= 3


# Drawings

def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_the_drawing_of_a_block_says_what_count_cost_says():
    """The real block's lines hold the multiply-adds that are counted; the plain block lets every channel out."""
    fig = gu.draw_inception(192, 64, (96, 128), (16, 32), 32, side=28)
    plain, real = fig.axes
    macs = gu.count_cost(gu.Inception(192, 64, (96, 128), (16, 32), 32), 28).macs
    assert real.get_title() == f"the real block\n{macs / 1e6:.0f} M multiply-adds, 256 channels out"
    assert "416 channels out" in plain.get_title()          # 64 + 128 + 32, and the 192 that the pooling passes on
    assert {"out\n256", "3×3\n128", "1×1\n96"} <= set(texts(real))
    widths = [line.get_linewidth() for line in real.lines if line.get_linestyle() == "-"]
    thickest = 96 * 128 * 9 * 28**2 / 1e6                   # the 3x3 convolution's
    assert max(widths) == pytest.approx(0.2 * thickest)


def test_the_drawing_of_the_network_says_what_trace_shapes_says():
    net = gu.GoogLeNet(num_classes=10)
    maps, bars = gu.draw_network(net, 224).axes
    assert {"3 ×\n224×224", "64 ×\n56×56", "480 ×\n14×14", "832 ×\n7×7", "10"} <= set(texts(maps))
    cost = gu.count_cost(net, 224)
    assert [text.get_text() for text in bars.get_legend().get_texts()] == [
        f"weights: {cost.parameters / 1e6:,.1f} M", f"multiply-adds: {cost.macs / 1e6:,.1f} M"]
    for series in bars.containers:
        assert sum(bar.get_height() for bar in series) == pytest.approx(100)
    assert {(mpl.colors.to_hex(patch.get_facecolor()).upper(), bool(patch.get_hatch())) for patch in maps.patches} \
        == {(gu.COLORS["sky"], False), (gu.COLORS["grey"], True)}              # not by colour alone
    heights = sorted({patch.get_height() for patch in maps.patches}, reverse=True)
    assert heights[:3] == [224, 112, 56]


def test_the_dog_is_as_wide_and_its_eye_where_its_docstring_says():
    fig, axis = gu.new_figure(width=4, height=4)
    gu.draw_dog(axis)
    canvas = fig.canvas
    canvas.draw()
    to_pixels = axis.transData.inverted()
    ground, sky = axis.patches[1], axis.patches[0]
    boxes = [to_pixels.transform_bbox(patch.get_window_extent()) for patch in axis.patches
             if patch not in (ground, sky)]
    assert max(box.x1 for box in boxes) - min(box.x0 for box in boxes) == pytest.approx(185, abs=3)
    assert axis.patches[-1].center == (56, 72)
