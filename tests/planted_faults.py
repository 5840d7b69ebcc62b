"""Does the suite notice? Plant one fault at a time in a copy of the project and run the quickest command that should see it.

Run by hand (about 15 minutes on two cores); the table that it prints stands in CONTRIBUTING.md.

usage: python tests/planted_faults.py [word ...]        (words: only the faults whose kind or text contains one)
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULE = "googlenet_utils.py"
FIRST, SECOND, THIRD, FOURTH = (f"notebooks/{name}.ipynb" for name in (
    "01_inception_block", "02_five_stages", "03_why_it_does_not_learn", "04_training_on_cifar10"))


def swap(path, old, new):
    """A fault that replaces the one place where `old` stands in the file."""
    def plant(folder):
        text = (folder / path).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{path} holds {text.count(old)} times: {old}"
        (folder / path).write_text(text.replace(old, new), encoding="utf-8")
    return path, plant


def edit(path, change):
    """A fault in a notebook: `change` gets its cells (code only) and its metadata."""
    def plant(folder):
        notebook = json.loads((folder / path).read_text(encoding="utf-8"))
        change([cell for cell in notebook["cells"] if cell["cell_type"] == "code"], notebook["metadata"])
        (folder / path).write_text(json.dumps(notebook), encoding="utf-8")
    return path, plant


def change_a_stored_number(cells, metadata):
    """Raise the last digit that a compared cell printed."""
    for cell in reversed(cells):
        if "nbval-ignore-output" in cell["metadata"].get("tags", []):
            continue
        for output in cell["outputs"]:
            text = "".join(output.get("text", ""))
            digits = [place for place, letter in enumerate(text) if letter.isdigit()]
            if output.get("name") == "stdout" and digits:
                place = digits[-1]
                output["text"] = text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1:]
                return
    raise AssertionError("no number found")


def strip_outputs(cells, metadata):
    for cell in cells:
        cell["outputs"] = []


def drop_text_alternatives(cells, metadata):
    for cell in cells:
        for output in cell["outputs"]:
            output.get("metadata", {}).pop("image/png", None)


def lengthen(cells, metadata):
    cells[-1]["source"] = ["# one more line\n"] * 30 + cells[-1]["source"]


def run_out_of_order(cells, metadata):
    cells[3]["execution_count"], cells[4]["execution_count"] = cells[4]["execution_count"], cells[3]["execution_count"]


def store_an_error(cells, metadata):
    cells[-1]["outputs"].append({"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []})


def pytest(*names):
    return [sys.executable, "-m", "pytest", "-q", "-x", *names]


MODEL, MEASURING, TRAINING, CHECKPOINTS, BATCHES, DATA, FETCHING, GUARD, PICTURES, README, ACTIVATION, WEIGHTS, PROCESSES = (
    pytest(f"tests/test_{name}.py")
    for name in ("model", "measuring", "training", "checkpoints", "batches", "data", "fetching", "notebooks",
                 "pictures", "readme", "activation_map", "weights", "processes"))

FAULTS = [
    ("structure", "4c: 128 channels become 120", swap(MODULE, "block(512, 128, (128, 256)", "block(512, 120, (128, 256)"), MODEL),
    ("structure", "path 2 loses its inner ReLU", swap(MODULE, "F.relu(self.p2_2(F.relu(self.p2_1(x))))", "F.relu(self.p2_2(self.p2_1(x)))"), MODEL),
    ("structure", "path 4 loses its outer ReLU", swap(MODULE, "F.relu(self.p4_2(self.p4_1(x)))", "self.p4_2(self.p4_1(x))"), MODEL),
    ("structure", "path 3 gets torchvision's 3x3", swap(MODULE, "c3[1], kernel_size=5, padding=2", "c3[1], kernel_size=3, padding=1"), MODEL),
    ("structure", "paths concatenated in another order", swap(MODULE, "return path1, path2, path3, path4", "return path1, path3, path2, path4"), MODEL),
    ("structure", "one ReLU of the stem is dropped", swap(MODULE, "conv(64, 64, kernel_size=1), nn.ReLU(),", "conv(64, 64, kernel_size=1), nn.Identity(),"), MODEL),
    ("structure", "the second head stands after 4e", swap(MODULE, 'elif name == "3":', 'elif name == "4":'), MODEL),
    ("structure", "the heads' pooling has stride 2", swap(MODULE, "F.avg_pool2d(x, 5, stride=3)", "F.avg_pool2d(x, 5, stride=2)[:, :, :4, :4]"), MODEL),
    ("structure", "dropout goes on at inference", swap(MODULE, "F.dropout(self.stage5(x), self.dropout, self.training)", "F.dropout(self.stage5(x), self.dropout)"), MODEL),
    ("training loop", "a head's loss counts in full", swap(MODULE, "(AUXILIARY_WEIGHT * loss(scores, y)", "(loss(scores, y)"), TRAINING),
    ("numerics", "default weights are Xavier's", swap(MODULE, 'small_images=False,\n                 initialization="kaiming"', 'small_images=False,\n                 initialization="xavier"'), MODEL),
    ("numerics", "pixels are not divided by 255", swap(MODULE, "(images / 255 - self.mean)", "(images - self.mean)"), BATCHES),
    ("numerics", "FLOPs are counted as multiply-adds", swap(MODULE, "counter.get_total_flops() // 2", "counter.get_total_flops()"), MEASURING),
    ("numerics", "Table 1: 5a has 320 filters in path 3", swap(MODULE, '"5a", 7, 832, (256, (160, 320), (32, 128)', '"5a", 7, 832, (256, (160, 320), (32, 320)'), MEASURING),
    ("training loop", "optimizer.step is skipped", swap(MODULE, "    run.scaler.step(run.optimizer)\n", ""), TRAINING),
    ("training loop", "gradients pile up", swap(MODULE, "        run.optimizer.zero_grad()\n", ""), TRAINING),
    ("training loop", "long gradients are not shortened", swap(MODULE, "        nn.utils.clip_grad_norm_(run.net.parameters(), run.max_norm)\n", ""), TRAINING),
    ("training loop", "gradients are shortened while float16 has them enlarged", swap(MODULE, "        run.scaler.unscale_(run.optimizer) ", "        pass #"), TRAINING),
    ("training loop", "the schedule stands still", swap(MODULE, "        run.schedule.step()", "        pass"), TRAINING),
    ("training loop", "the article's slip: the loss shrinks with the epoch", swap(MODULE, "run.history[name].append(value)", "run.history[name].append(value / (epoch + 1) if name == 'loss' else value)"), TRAINING),
    ("training loop", "the loss is a mean over batches, not images", swap(MODULE, "loss_sum += l * len(y)", "loss_sum += l * run.train_iter.batch_size"), TRAINING),
    ("training loop", "training goes on in eval mode", swap(MODULE, "    run.net.train()\n", "    run.net.eval()\n"), TRAINING),
    ("training loop", "each step asks the system for its memory again", swap(MODULE, ", _freed_memory_kept(device):", ":"), TRAINING),
    ("training loop", "memory does not go back after a training", swap(MODULE, "        libc.malloc_trim(0) ", "        pass #"), TRAINING),
    ("training loop", "a loss that is not a number goes on", swap(MODULE, "first_bad.clamp(max=step)", "first_bad"), CHECKPOINTS),
    ("processes", "shares of unlike size count alike", swap(MODULE, "return count * data_iter.world_size / total", "return 1"), PROCESSES),
    ("processes", "each process gets the whole batch", swap(MODULE, "share = slice(start + self.rank, stop, self.world_size)", "share = slice(start, stop)"), PROCESSES),
    ("processes", "the layout changes after wrapping", swap(MODULE, "    if net is _bare(net):       #", "    if True:       #"), PROCESSES),
    ("processes", "each keeps its own statistics", swap(MODULE, "            torch.distributed.broadcast(buffer, src=0)", "            pass"), PROCESSES),
    ("processes", "each reports its own accuracy", swap(MODULE, "    correct, count = _sum_over_processes(data_iter, correct, count)\n", "    correct = correct.item()\n"), PROCESSES),
    ("processes", "a lost process is reported by the engine", swap(MODULE, ' or "gloo" in str(error)', ""), PROCESSES),
    ("checkpoints", "random numbers are not restored", swap(MODULE, '    torch.set_rng_state(content["random"])\n', ""), CHECKPOINTS),
    ("checkpoints", "momentum is not restored", swap(MODULE, '("net", "optimizer", "schedule", "scaler", "train_iter")', '("net", "schedule", "scaler", "train_iter")'), CHECKPOINTS),
    ("checkpoints", "another data set's is taken", swap(MODULE, "        described |= run.train_iter.describe()", "        pass"), CHECKPOINTS),
    ("checkpoints", "damage is not noticed", swap(MODULE, "if hashlib.sha256(data).digest() != digest:", "if False:"), CHECKPOINTS),
    ("checkpoints", "it is written in place", swap(MODULE, 'partial = path.with_name(path.name + ".part")', "partial = path"), CHECKPOINTS),
    ("fetching", "the archive's MD5 is not compared", swap(MODULE, "if _md5(partial) == _ARCHIVE_MD5[archive.name]:", "if True:"), FETCHING),
    ("fetching", "a download starts again instead of going on", swap(MODULE, '**({"Range": f"bytes={have}-"} if have else {})', "**{}"), FETCHING),
    ("fetching", "a web page replaces what was there", swap(MODULE, 'piece[:2] not in (b"\\x1f", b"\\x1f\\x8b")', "False"), FETCHING),
    ("fetching", "links are unpacked", swap(MODULE, "if not member.isfile() or name in", "if name in"), FETCHING),
    ("fetching", "two notebooks fetch at once", swap(MODULE, "        with held:\n", "        lock.release()\n        if True:\n"), FETCHING),
    ("data", "cat and dog change places", swap(MODULE, '"cat", "deer", "dog"', '"dog", "deer", "cat"'), DATA),
    ("data", "damaged files are read", swap(MODULE, "!= _BINARY_SHA1[name]", "is None"), DATA),
    ("data", "red and blue change places", swap(MODULE, "records[:, 1:])).view(-1, 3, 32, 32)", "records[:, 1:])).view(-1, 3, 32, 32).flip(1)"), DATA),
    ("data", "two shapes change names", swap(MODULE, '"disc", "ring"', '"ring", "disc"'), DATA),
    ("data", "labels lose their pictures when shuffled", swap(MODULE, "self.labels[order[share]]", "self.labels[share]"), BATCHES),
    ("transforms", "every picture is flipped", swap(MODULE, "< 0.5 * self.flip", "< 1.5 * self.flip"), BATCHES),
    ("transforms", "crops ignore `scale`", swap(MODULE, "uniform(*self.scale, 10)", "uniform(0.5, 1.0, 10)"), BATCHES),
    ("transforms", "evaluation does not resize to 256/224", swap(MODULE, "round(self.image_size * 256 / 224)", "self.image_size"), BATCHES),
    ("transforms", "the whole epoch gets the first crop", swap(MODULE, "crops[share])", "crops[:1].expand(len(crops[share]), -1))"), BATCHES),
    ("transforms", "the mean of another data set", swap(MODULE, "CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)", "CIFAR10_MEAN = (0.4850, 0.4560, 0.4060)"), BATCHES),
    ("transforms", "the same order in every epoch", swap(MODULE, "        self.epoch += 1\n", ""), BATCHES),
    ("evaluation", "modes are not restored", swap(MODULE, "            layer.training = mode", "            layer.training = True"), TRAINING),
    ("evaluation", "batches count instead of images", swap(MODULE, "return correct / count", "return correct / (len(data_iter) * len(y))"), TRAINING),
    ("evaluation", "batch norm stays in train mode", swap(MODULE, "    net.eval()\n    try:", "    net.train()\n    try:"), TRAINING),
    ("stored outputs", "one digit changes in notebook 1", edit(FIRST, change_a_stored_number), pytest("--nbval", FIRST)),
    ("stored outputs", "one digit changes in notebook 2", edit(SECOND, change_a_stored_number), pytest("--nbval", SECOND)),
    ("stored outputs", "one digit changes in notebook 4's table", edit(FOURTH, change_a_stored_number), pytest("--nbval", FOURTH)),
    ("stored outputs", "notebook 3 is stripped", edit(THIRD, strip_outputs), GUARD),
    ("stored outputs", "README's accuracy is edited", swap("README.md", "| the article's, as printed | – | CIFAR-10 | 50,000 | 32 px | 10 |", "| the article's, as printed | – | CIFAR-10 | 50,000 | 32 px | 11 |"), README),
    ("looking inside", "the activation map is another class's", swap(MODULE, "detach()[classes.expand(len(images))]", "detach()[classes.expand(len(images)) - 1]"), ACTIVATION),
    ("looking inside", "the activation map is cut off at zero", swap(MODULE, 'torch.einsum("nk,nkhw->nhw", weights, maps[0])', 'torch.einsum("nk,nkhw->nhw", weights, maps[0]).relu()'), ACTIVATION),
    ("looking inside", "weights that are not the card's are used", swap(MODULE, 'if hashlib.sha256(content).hexdigest() != card["sha256"]:', "if False:"), WEIGHTS),
    ("guard", "a figure has no text alternative", edit(FIRST, drop_text_alternatives), GUARD),
    ("guard", "a notebook names another kernel", edit(SECOND, lambda cells, metadata: metadata["kernelspec"].update(name="my-env")), GUARD),
    ("guard", "a set-up cell differs", edit(THIRD, lambda cells, metadata: cells[0]["source"].append("\n# mine")), GUARD),
    ("guard", "a cell grows beyond 25 lines", edit(SECOND, lengthen), GUARD),
    ("guard", "two cells were run out of order", edit(FIRST, run_out_of_order), GUARD),
    ("guard", "a traceback is stored", edit(FOURTH, store_an_error), GUARD),
    ("guard", "the version moves on alone", swap(MODULE, '__version__ = "0.1.0"', '__version__ = "0.1.1"'), GUARD),
]


def copy_project(folder):
    names = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True,
                           capture_output=True, check=True).stdout.splitlines()
    for name in names:
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def main(words):
    faults = [fault for fault in FAULTS if not words or any(word in " ".join(fault[:2]) for word in words)]
    caught = 0
    environment = {**os.environ, "GOOGLENET_DATA_DIR": os.environ.get("GOOGLENET_DATA_DIR", str(ROOT / "data"))}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_project(folder)
        print("| kind | fault | caught by | seconds |\n|---|---|---|---|")
        for kind, text, (path, plant), command in faults:
            original = (folder / path).read_bytes()
            plant(folder)
            start = time.time()
            result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
            (folder / path).write_bytes(original)
            noticed = result.returncode == 1                # 1: a test failed; others: the run itself broke
            caught += noticed
            by = f"`{' '.join(command[2:]).replace('-q -x ', '')}`" if noticed else f"**escaped** (exit {result.returncode})"
            print(f"| {kind} | {text} | {by} | {time.time() - start:.0f} |", flush=True)
    print(f"\n{caught} of {len(faults)} caught")
    return 0 if caught == len(faults) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
