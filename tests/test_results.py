"""The runner of experiments, what it compares, and the result files."""
import contextlib
import functools
import json
import multiprocessing
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock

import comparisons
import experiment
import googlenet_utils as gu
import networks

ROOT = Path(__file__).parent.parent
SMALL = {"images": 60, "validation": [60, 80], "batch_size": 20, "image_sizes": [32, 32], "precision": "float32"}
ROWS = {"plain": SMALL, "clipped": {**SMALL, "max_norm": 1.0}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    use(tmp_path, monkeypatch.setattr)
    return tmp_path


def use(folder, change):
    """Let the runner work in a folder, on a few shapes."""
    images, labels = gu.make_shapes(80, seed=0)
    data = SimpleNamespace(name="shapes", train_images=images, train_labels=labels, test_images=images[:20],
                           test_labels=labels[:20])
    change(experiment, "RESULTS", folder)
    change(experiment, "CHECKPOINTS", folder / "checkpoints")
    change(gu, "load_images", lambda *_: data)


def run_all(rows=ROWS, **options):
    with contextlib.redirect_stdout(None):
        return [row for _, row in experiment.run_table("small", rows, **options)]


def kept(folder):
    """The checkpoints of unfinished runs."""
    return [path for path in (folder / "checkpoints").iterdir() if path.suffix != ".lock"]


def numbers(row):
    return {name: row[name] for name in ("change", "seed", "fingerprint", "val_accuracy", "macs")} | {
        "loss": row["history"]["loss"]}


# The runner

def test_a_run_is_made_once_and_its_row_can_be_rebuilt(folder):
    made = run_all(seeds=[0, 1])
    assert [(row["change"], row["seed"]) for row in made] == [(n, s) for s in (0, 1) for n in ROWS]
    assert run_all(seeds=[0, 1]) == []
    for row in experiment.stored_rows("small"):
        assert row["fingerprint"] == experiment.fingerprint(row["settings"], row["seed"])
        net = networks.build(row["settings"]["network"], row["image_sizes"][-1])
        assert gu.count_cost(net, 32).parameters == row["parameters"]
        assert row["macs"] == row["images"] * sum(networks.training_macs(net, size) for size in row["image_sizes"])
        assert row["test_accuracy"] if row["settings"]["test"] else "test_accuracy" not in row
    assert kept(folder) == []


def test_runs_of_a_changed_recipe_never_pool_with_old_ones(folder):
    run_all()
    changed = {**ROWS, "plain": {**SMALL, "weight_decay": 0.0}}
    (made,) = run_all(changed)
    assert made["change"] == "plain"
    assert {(row["change"], row["settings"]["weight_decay"]) for row in experiment.stored_rows("small")} \
        == {("plain", 0.0), ("clipped", 5e-4)}


def test_a_row_that_no_table_has_is_refused_with_the_known_ones(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["experiment.py", "recipe_search", "--only", "no such row"])
    with pytest.raises(SystemExit, match="9 epochs at 24"):
        experiment.main()


@pytest.mark.parametrize("name", [name for name in experiment.DEFAULTS if name != "precision"])
def test_every_setting_is_in_the_fingerprint(name):
    settings = experiment.complete({})
    assert experiment.fingerprint({**settings, name: "another"}, 0) != experiment.fingerprint(settings, 0)
    assert experiment.fingerprint(settings, 1) != experiment.fingerprint(settings, 0)


def test_an_unknown_setting_is_refused():
    with pytest.raises(AssertionError, match="no such setting"):
        experiment.complete({"momentun": 0.9})


def test_a_run_that_was_killed_goes_on_to_the_same_numbers(folder, monkeypatch):
    expected = numbers(run_all({"plain": SMALL})[0])
    (folder / "small.json").unlink()
    save = gu._save_checkpoint

    def die(*arguments):
        save(*arguments)
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(gu, "_save_checkpoint", die)
        with pytest.raises(SystemExit):
            run_all({"plain": SMALL})
    assert len(kept(folder)) == 1
    assert numbers(run_all({"plain": SMALL})[0]) == expected


def run_in_two_processes(work, *arguments):
    """`work`, with arguments for each of the two."""
    context = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
    processes = [context.Process(target=work, args=own) for own in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        assert process.exitcode == 0


def share_the_work(folder):
    torch.set_num_threads(1)
    use(folder, setattr)
    run_all(seeds=[0, 1])


def run_together(rank, folder, meeting):
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    share_the_work(folder)


def test_torchruns_processes_leave_together_what_another_command_is_making(folder):
    """The first one looks: a process that went on alone would train another row."""
    word = experiment.fingerprint(experiment.complete(ROWS["plain"]), 0)
    (folder / "checkpoints").mkdir()
    with FileLock(folder / "checkpoints" / f"{word}.lock"):
        run_in_two_processes(run_together, *((rank, folder, (folder / "meeting").as_uri()) for rank in range(2)))
    rows = experiment.stored_rows("small")
    assert [(row["change"], row["seed"], row["processes"]) for row in rows] == [
        ("plain", 1, 2), ("clipped", 0, 2), ("clipped", 1, 2)]


def test_two_processes_that_run_one_table_at_once_lose_nothing_and_make_each_run_once(folder):
    run_in_two_processes(share_the_work, (folder,), (folder,))
    run_all(seeds=[0, 1])                       # what one of them had left to the other
    rows = experiment.stored_rows("small")
    assert sorted((row["change"], row["seed"]) for row in rows) == sorted((n, s) for n in ROWS for s in (0, 1))


# What is compared

def test_the_recipe_is_what_the_steps_kept():
    """The table that argues for the recipe was measured with the recipe's own numbers."""
    last = list(filter(comparisons.is_kept, comparisons.STEPS))[-1]
    ours = experiment.complete(comparisons.TABLES["recipe_steps"][last])
    profile = experiment.complete(comparisons.TABLES["train_cifar10"]["cpu"])
    assert {name for name in ours if ours[name] != profile[name]} == {"image_sizes", "spend", "test"}
    assert ours["nesterov"] and ours["one_cycle"] and ours["batch_size"] == gu.PROFILES["cpu"].batch_size == 128
    for name, value in vars(gu.RECIPE).items():
        assert ours[name] == value, name
    assert gu.RECIPE.crops == {"scale": tuple(ours["crop_scale"]), "ratio": tuple(ours["crop_ratio"]),
                               "padding": ours["padding"]}


@functools.cache
def count(network, size):
    """Multiply-adds of an image in training, and parameters, of the network with these settings (as JSON)."""
    with torch.device("meta"):
        net = networks.build(json.loads(network), size)
        return networks.training_macs(net, size), gu.count_cost(net, size).parameters


def cost_of(network, size):
    return count(network, size)[0]


@pytest.mark.parametrize("table", ["early", "decisive", "race"])
def test_rows_are_compared_at_equal_cost(table):
    for name, row in comparisons.TABLES[table].items():
        settings = experiment.complete(row)
        macs = sum(cost_of(json.dumps(settings["network"]), size) for size in settings["image_sizes"])
        count = settings["spend"] // macs
        assert 0 < count <= settings["images"], name
        assert settings["spend"] - count * macs < macs, name
        if "changes" in settings["network"]:
            unchanged = {name: settings["network"][name] for name in comparisons.FITS}
            assert macs / len(settings["image_sizes"]) == pytest.approx(
                cost_of(json.dumps(unchanged), 32), rel=0.015), name


def test_each_network_of_the_race_has_the_best_of_its_learning_rates():
    for name, row in comparisons.TABLES["race"].items():
        tried = [run for run in experiment.stored_rows("race_rates")
                 if run["settings"]["network"] == row["network"]]
        assert len(tried) >= 4, name
        best = max(tried, key=lambda run: run["val_accuracy"] or 0)
        assert row["learning_rate"] == best["settings"]["learning_rate"], name


# The files

def test_result_files_say_where_they_come_from():
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(root|home|tmp|work)/", text), path.name
        result = json.loads(text)
        rows = result.get("rows", [result])
        for part in [run for row in rows for run in row.get("runs", [row])]:
            machine = part.get("machine") or result["machine"]
            assert {"hardware", "python", "torch", "date"} <= set(machine), path.name


def test_rows_of_the_runner_hold_all_that_they_were_made_by():
    for table, rows in comparisons.TABLES.items():
        for row in experiment.stored_rows(table):
            assert row["fingerprint"] == experiment.fingerprint(row["settings"], row["seed"])
            _, parameters = count(json.dumps(row["settings"]["network"]), row["image_sizes"][-1])
            assert parameters == row["parameters"]
            assert row.get("change", row.get("profile")) in rows
