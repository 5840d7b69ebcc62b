"""Which profile and which device a machine gets, and what is printed."""
from types import SimpleNamespace

import pytest
import torch

import googlenet_utils as gu


@pytest.fixture
def machine(monkeypatch):
    """`machine(cuda=..., mps=...)` makes the hardware look so; no environment variable is set."""
    def pretend(cuda=None, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.delenv("GOOGLENET_PROFILE", raising=False)
    return pretend


@pytest.mark.parametrize(("hardware", "name", "reason"), [
    ({}, "cpu", "no NVIDIA GPU was found"),
    ({"cuda": "NVIDIA A100-SXM4-40GB"}, "gpu", "this machine has a GPU, NVIDIA A100-SXM4-40GB"),
    ({"mps": True}, "cpu", "no NVIDIA GPU was found"),            # Apple's is there, on which 224 pixels were not timed
    ({"cuda": "NVIDIA A100-SXM4-40GB", "mps": True}, "gpu", "NVIDIA A100-SXM4-40GB"),
], ids=["nothing", "cuda", "mps", "both"])
def test_the_hardware_decides_where_nothing_is_said(machine, capsys, hardware, name, reason):
    machine(**hardware)
    assert gu.choose_profile() is gu.PROFILES[name]
    line = capsys.readouterr().out
    assert line.startswith(f"profile {name}, ")
    assert reason in line


def test_the_printed_line_is_english_for_colabs_gpu_too(machine, capsys):
    machine(cuda="Tesla T4")
    gu.choose_profile()
    line = capsys.readouterr().out
    assert "Tesla T4" in line
    assert "an Tesla" not in line


@pytest.mark.parametrize("name", ["ci", "cpu", "gpu"])
def test_the_environment_variable_overrides_the_hardware(machine, monkeypatch, capsys, name):
    machine(cuda="NVIDIA A100-SXM4-40GB" if name != "gpu" else None)
    monkeypatch.setenv("GOOGLENET_PROFILE", name)
    assert gu.choose_profile() is gu.PROFILES[name]
    assert f"profile {name}, as GOOGLENET_PROFILE says" in capsys.readouterr().out


def test_an_empty_environment_variable_is_none(machine, monkeypatch):
    machine()
    monkeypatch.setenv("GOOGLENET_PROFILE", "")
    assert gu.choose_profile() is gu.PROFILES["cpu"]


def test_the_line_says_what_and_how_much(monkeypatch, capsys):
    monkeypatch.setenv("GOOGLENET_PROFILE", "ci")
    gu.choose_profile()
    assert capsys.readouterr().out == ("profile ci, as GOOGLENET_PROFILE says: at most 1,000 training and 500 test "
                                       "images, 24 x 24 to 32 x 32 pixels\n")
    monkeypatch.setenv("GOOGLENET_PROFILE", "gpu")
    gu.choose_profile()
    assert capsys.readouterr().out.endswith("images, 224 x 224 pixels\n")


def test_an_unknown_profile_is_refused(monkeypatch, refuses, capsys):
    monkeypatch.setenv("GOOGLENET_PROFILE", "tpu")
    with refuses(ValueError, "GOOGLENET_PROFILE", "'tpu'", "ci, cpu, gpu"):
        gu.choose_profile()
    assert capsys.readouterr().out == ""


def test_the_ci_profile_needs_no_network_and_no_disk():
    profile = gu.PROFILES["ci"]
    assert profile.source == "shapes"
    assert (profile.train_images, profile.test_images) == (1_000, 500)      # of the 2,000 and 500 that there are


def test_the_other_profiles_use_cifar_10_where_it_can_be_had():
    assert {name: gu.PROFILES[name].source for name in ("cpu", "gpu")} == {"cpu": "auto", "gpu": "auto"}
    for name in ("cpu", "gpu"):                             # 2,000 training images are kept back, to choose by
        assert (gu.PROFILES[name].train_images, gu.PROFILES[name].test_images) == (48_000, 10_000)
    assert gu.PROFILES["gpu"].image_size == 224


@pytest.mark.parametrize("name", ["ci", "cpu", "gpu"])
def test_the_network_of_a_profile_takes_its_images(name):
    profile = gu.PROFILES[name]
    assert profile.name == name
    net = gu.GoogLeNet(num_classes=10, small_images=profile.small_images, width=profile.width)
    rows = gu.trace_shapes(net, profile.image_size)
    assert rows[-1].shape == (10,)
    assert 1 <= profile.batch_size <= profile.train_images
    assert profile.epochs == len(profile.image_sizes) >= 1
    assert profile.image_size == profile.image_sizes[-1]


# The device

def newest(found):
    """torch.accelerator as torch 2.7 and later have it, on a machine with this accelerator or with none."""
    def current_accelerator(check_available=False):
        return None if check_available and found is None else torch.device(found or "cuda")
    return SimpleNamespace(is_available=lambda: found is not None, current_accelerator=current_accelerator)


def torch_2_6(found):
    """The same without `check_available`, which came in 2.7. A build for CUDA names it even where there is no GPU."""
    return SimpleNamespace(is_available=lambda: found is not None,
                           current_accelerator=lambda: torch.device(found or "cuda"))


@pytest.mark.parametrize("version", [newest, torch_2_6])
@pytest.mark.parametrize("found", [None, "cuda", "mps", "xpu"])
def test_the_device_is_the_accelerator_or_else_the_cpu(monkeypatch, version, found):
    monkeypatch.setattr(torch, "accelerator", version(found))
    assert gu.choose_device() == torch.device(found or "cpu")


def test_the_device_of_this_machine_holds_a_tensor():
    assert torch.ones(2, device=gu.choose_device()).sum().item() == 2
