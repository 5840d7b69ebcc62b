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

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
MISSING = ("matplotlib", "d2l", "accelerate", "pandas", "scipy", "IPython")     # on the machine that is rented


@pytest.fixture(scope="module")
def rented(tmp_path_factory):
    """The environment of a machine that has not these packages."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({MISSING!r}))\n")
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def call(environment, *arguments):
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def rehearsed(rented, tmp_path_factory):
    """The folder of results, and the two calls that filled it: the first only with what was worth most."""
    out, work = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("work")
    calls = [call(rented, "--rehearsal", f"--out={out}", f"--work={work}", *only)
             for only in (["--only", "speed", "best"], [])]
    assert [done.returncode for done in calls] == [0, 0], calls[0].stderr + calls[1].stderr
    return out, *calls


def test_its_rows_are_those_that_the_tables_read(rehearsed, monkeypatch):
    out, _, _ = rehearsed
    monkeypatch.setattr(tables, "load", lambda name: json.loads((out / f"{name}.json").read_text(encoding="utf-8")))
    (speed,) = tables.speed()
    assert speed["image size"] == "32 px"
    rows = tables.load("train_cifar10")["rows"]
    assert [row["profile"] for row in rows] == ["gpu", "cpu on a GPU", "best"]
    for row in rows:
        assert row["fingerprint"] == experiment.fingerprint(row["settings"], row["seed"])
        assert 0 <= row["test_accuracy"] <= 1


def test_the_weights_are_those_of_the_card(rehearsed):
    out, _, _ = rehearsed
    (path,) = out.glob("*.safetensors")
    card, weights = json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), load_file(path)
    net = eval(card["network"], {"GoogLeNet": gu.GoogLeNet})
    net.load_state_dict(weights)
    assert all(value.dtype == torch.float16 for value in weights.values() if value.is_floating_point())
    assert card["bytes"] == path.stat().st_size
    assert card["settings"]["label_smoothing"] == comparisons.BEST["label_smoothing"]


def test_a_second_call_measures_what_is_missing(rehearsed):
    _, first, second = rehearsed
    assert "written: training_speed.json" in first.stdout and "best, seed 0" in first.stdout
    assert first.stdout.endswith("all is measured\n")
    assert "training_speed" not in second.stdout and "best, seed" not in second.stdout
    assert "gpu, seed 0" in second.stdout and "cpu on a GPU, seed 0" in second.stdout
    assert second.stdout.endswith("not measured (python benchmarks/gpu.py goes on):\nscaling: needs two GPUs\n")


def test_two_processes_write_the_weights_once_and_nowhere_else(rented, tmp_path):
    """The long run is made so. Both count the accuracies, each its share; the row comes after the weights."""
    shipped = BENCHMARKS.parent / "notebooks" / "weights" / "googlenet_cifar10.safetensors"
    before = shipped.stat()
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2",
               str(BENCHMARKS / "train_cifar10.py"), "--profile=long", "--rehearsal"]
    environment = {**rented, "GOOGLENET_RESULTS": str(tmp_path), "GOOGLENET_CHECKPOINTS": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = [line.split()[1].strip(",") for line in done.stdout.splitlines() if line.startswith("written: ")]
    assert written == ["googlenet_cifar10.safetensors", "train_cifar10.json"]
    card = json.loads((tmp_path / "googlenet_cifar10.json").read_text(encoding="utf-8"))
    assert card["command"].startswith("torchrun --nproc-per-node 2 ")
    assert shipped.stat() == before


def test_a_rehearsal_leaves_the_results_alone_however_their_folder_is_written(rented):
    """It would take the place of what was measured, since its settings are others."""
    for name in ("results", str(BENCHMARKS / "results"), str(BENCHMARKS / "checkpoints" / ".." / "results")):
        done = subprocess.run([sys.executable, "train_cifar10.py", "--rehearsal"], cwd=BENCHMARKS, text=True,
                              env={**rented, "GOOGLENET_RESULTS": name}, capture_output=True, check=False)
        assert done.returncode == 1
        assert done.stderr.endswith("has to name another folder, since its rows are no results\n")


def test_nothing_is_begun_without_time(rented, tmp_path):
    done = call(rented, "--rehearsal", f"--out={tmp_path}", f"--work={tmp_path}", "--minutes=0")
    assert not list(tmp_path.glob("*.json"))
    for name in ("speed", "best", "gpu", "cpu"):
        assert f"\n{name}: no time was left" in done.stdout


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="where Linux tells of other processes")
def test_the_end_of_the_time_ends_a_command_with_all_its_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "HERE", tmp_path)
    (tmp_path / "long.py").write_text("""
import subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.PIPE)
print(grandchild.pid, file=open(sys.argv[1], "w"), flush=True)
grandchild.wait()
""")
    start, pid = time.monotonic(), tmp_path / "pid"
    assert gpu.run("long.py", str(pid), seconds=3, environment=None) == "the time was over"
    assert time.monotonic() - start < 30
    for _ in range(100):
        state = Path(f"/proc/{int(pid.read_text())}/stat")
        if not state.exists() or state.read_text().split(")")[1].split()[0] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("a process of it lives on")


def test_a_failure_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "HERE", tmp_path)
    (tmp_path / "fails.py").write_text("raise SystemExit(3)")
    (tmp_path / "works.py").write_text("")
    assert gpu.run("fails.py", seconds=60, environment=None) == "failed (exit code 3)"
    assert gpu.run("works.py", seconds=60, environment=None) is None


def test_neither_a_failure_nor_the_end_of_the_time_is_passed_over(tmp_path, monkeypatch, capsys):
    (tmp_path / "fails.py").write_text("raise SystemExit(3)")
    (tmp_path / "works.py").write_text("import pathlib, sys; pathlib.Path(sys.argv[1]).touch()")
    (tmp_path / "long.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(gpu, "HERE", tmp_path)
    done = [str(tmp_path / name) for name in ("done", "never")]
    monkeypatch.setattr(gpu, "COMMANDS", {"one": ("fails.py",), "two": ("works.py", done[0]), "three": ("long.py",),
                                          "four": ("works.py", done[1])})
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--rehearsal", f"--out={tmp_path}", "--minutes=0.05"])
    gpu.main()
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "one: failed (exit code 3)", "three: the time was over", "four: no time was left"]
    assert [Path(path).exists() for path in done] == [True, False]


@pytest.mark.parametrize("wrong", [["--only", "typo"], ["--minutes=-5"], ["--rehearsal", f"--out={__file__}"],
                                   ["--rehearsal", f"--out={os.path.relpath(experiment.RESULTS)}"]], ids=str)
def test_what_it_cannot_do_is_refused_in_a_sentence(wrong, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gpu.py", *wrong])
    with pytest.raises(SystemExit, match="--out"):
        gpu.main()
