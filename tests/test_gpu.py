"""benchmarks/gpu.py, rehearsed without a GPU: what it writes, that it goes on, and what it says of what it left."""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import comparisons
import experiment
import googlenet_utils as gu
import gpu
import tables

ROOT = Path(__file__).parent.parent
MISSING = ("matplotlib", "d2l", "accelerate", "pandas", "scipy", "IPython")     # on the machine that is rented
WITHOUT = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({MISSING!r}))
sys.argv = sys.argv[1:]
sys.path.insert(0, {str(ROOT / 'benchmarks')!r})
runpy.run_path({str(ROOT / 'benchmarks' / 'gpu.py')!r}, run_name="__main__")
"""


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """The folder of results, that of checkpoints, and what was printed."""
    out, work = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("work")
    done = subprocess.run([sys.executable, "-c", WITHOUT, "gpu.py", "--rehearsal", f"--out={out}", f"--work={work}"],
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out, work, done.stdout


def call(monkeypatch, capsys, *arguments):
    """What a call in this process prints."""
    with monkeypatch.context() as patch:
        for name in ("RESULTS", "CHECKPOINTS"):
            patch.setattr(experiment, name, getattr(experiment, name))
        patch.setattr(sys, "argv", ["gpu.py", *map(str, arguments)])
        gpu.main()
    return capsys.readouterr().out


def test_its_rows_are_those_that_the_tables_read(rehearsed, monkeypatch):
    out, _, printed = rehearsed
    monkeypatch.setattr(tables, "load", lambda name: json.loads((out / f"{name}.json").read_text(encoding="utf-8")))
    (speed,) = tables.speed()
    assert speed["image size"] == "32 px"
    rows = tables.load("train_cifar10")["rows"]
    assert {"gpu", "cpu on a GPU"} < {row["profile"] for row in rows} <= set(comparisons.TABLES["train_cifar10"])
    for row in rows:
        assert row["fingerprint"] == experiment.fingerprint(row["settings"], row["seed"])
        assert 0 <= row["test_accuracy"] <= 1
    assert printed.endswith("not measured (python benchmarks/gpu.py goes on):\nscaling: needs two GPUs\n")


def test_the_weights_are_those_of_the_card(rehearsed):
    out, _, _ = rehearsed
    (path,) = out.glob("*.safetensors")
    card, weights = json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), load_file(path)
    net = eval(card["network"], {"GoogLeNet": gu.GoogLeNet})
    net.load_state_dict(weights)
    assert all(value.dtype == torch.float16 for value in weights.values() if value.is_floating_point())
    assert card["bytes"] == path.stat().st_size
    assert card["settings"]["label_smoothing"] == comparisons.BEST["label_smoothing"]


def test_a_second_call_measures_nothing_twice(rehearsed, monkeypatch, capsys):
    out, work, _ = rehearsed
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    printed = call(monkeypatch, capsys, "--rehearsal", f"--out={out}", f"--work={work}")
    assert printed.strip().splitlines()[1:] == ["scaling: needs two GPUs"]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_nothing_is_begun_without_time(tmp_path, monkeypatch, capsys):
    printed = call(monkeypatch, capsys, "--rehearsal", f"--out={tmp_path}", f"--work={tmp_path}", "--minutes=0")
    assert not list(tmp_path.glob("*.json"))
    for name in ("speed at 32 px", "profile best", "profile gpu", "profile cpu on a GPU"):
        assert f"\n{name}: no time was left" in printed


def test_a_training_stops_when_the_time_is_over_and_a_second_call_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "RESULTS", tmp_path)
    monkeypatch.setattr(experiment, "CHECKPOINTS", tmp_path / "work")
    data = gu.load_images("shapes")
    rows = {"best": experiment.complete({
        **comparisons.BEST, "network": {"batch_norm": True, "small_images": True, "width": 0.125}, "images": 40,
        "batch_size": 20, "image_sizes": [16] * 3, "validation": [40, 60], "test": False})}
    save = gu._save_checkpoint

    def save_and_ring(*arguments):
        save(*arguments)
        gpu._thread.interrupt_main()

    work = [("best", lambda: list(experiment.run_table("train_cifar10", rows, label="profile", data=data)))]
    with monkeypatch.context() as patch:
        patch.setattr(gu, "_save_checkpoint", save_and_ring)
        assert gpu.measure_all(work, time.monotonic() + 60) == ["best: the time was over"]
    assert experiment.stored_rows("train_cifar10") == []
    assert gpu.measure_all(work, time.monotonic() + 60) == []
    (row,) = experiment.stored_rows("train_cifar10")
    assert len(row["history"]["loss"]) == 3
    assert row["cpu_seconds"] is None                       # it went on


def test_a_failure_does_not_stop_what_comes_after_it():
    def fail():
        raise torch.OutOfMemoryError("no memory\nin detail")

    done = []
    missing = gpu.measure_all([("one", fail), ("two", lambda: done.append(2))], time.monotonic() + 60)
    assert missing == ["one: failed (no memory)"]
    assert done == [2]


def test_the_end_of_the_time_ends_a_measurement_and_all_after_it():
    def measure_too_long():
        for _ in range(1_000):
            time.sleep(0.01)

    missing = gpu.measure_all([("one", measure_too_long), ("two", measure_too_long)], time.monotonic() + 0.1)
    assert missing == ["one: the time was over", "two: no time was left"]


@pytest.mark.parametrize("wrong", [["--only", "typo"], ["--minutes=-5"], ["--rehearsal", f"--out={__file__}"],
                                   ["--rehearsal", f"--out={os.path.relpath(experiment.RESULTS)}"]], ids=str)
def test_what_it_cannot_do_is_refused_in_a_sentence(wrong, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="--out"):
        call(monkeypatch, capsys, *wrong)
