"""Images a second: the article's loop, ours, and the ceiling. Writes results/training_speed.json.

Three loops train the same GoogLeNet (no batch norm, 10 classes) in one run, in turns, several times; the medians count.

    article   torchvision's transforms on Pillow images, a DataLoader with two workers, float32, the loss and the
              accuracy read from the device after every batch
    ours      `gu.train` with `gu.Batches`, in the precision that `gu.choose_precision` finds
    ceiling   the network alone in our precision and layout, on one batch that is on the device already: no data

Each loop has a process of its own, so that none works with memory that another made ready. The pictures are the
built-in shapes, of CIFAR-10's size: what a picture shows makes no difference to these times. The first steps of every
turn, in which workers start and memory is found, are not timed.

usage: python benchmarks/training_speed.py [--sizes 224 96 32] [--turns 5]
"""
import argparse
import contextlib
import io
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import nn
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from experiment import describe_machine, gu, stored_rows, write_result

BATCH = {224: 32, 96: 32, 32: 128}
STEPS = {"cpu": {224: 4, 96: 12, 32: 12}, "cuda": {224: 150, 96: 150, 32: 150}}
WARM_UP = 2
HALF = (0.5, 0.5, 0.5)                                      # the article's Normalize


class Clock:
    """Gives the batches of `batches` and measures the seconds from the end of the warm-up to the last step's end."""

    def __init__(self, batches, device, steps):
        self.batches, self.device, self.steps, self.seconds = batches, device, steps, None

    def __iter__(self):
        iterator = iter(self.batches)
        for step in range(WARM_UP + self.steps):
            if step == WARM_UP:
                synchronize(self.device)
                start = time.perf_counter()
            yield next(iterator)
        synchronize(self.device)
        self.seconds = time.perf_counter() - start


def synchronize(device):
    """Wait until the device has done all that it was asked to."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def build(device):
    torch.manual_seed(0)
    net = gu.GoogLeNet(num_classes=10).to(device)
    return net, nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)


class PillowImages(torch.utils.data.Dataset):
    """Images and labels as torchvision.datasets.CIFAR10 gives them: Pillow, then the transforms, one by one."""

    def __init__(self, images, labels, transform):
        self.pictures, self.labels = [to_pil_image(image) for image in images], labels.tolist()
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(self.pictures[index]), self.labels[index]


def article_seconds(images, labels, batch_size, size, device, steps):
    net, loss, optimizer = build(device)
    transform = transforms.Compose([transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(),
                                    transforms.ToTensor(), transforms.Normalize(HALF, HALF)])
    loader = torch.utils.data.DataLoader(PillowImages(images, labels, transform), batch_size, shuffle=True,
                                         num_workers=2)
    clock, loss_sum, right = Clock(loader, device, steps), 0.0, 0
    for X, y in clock:
        X, y = X.to(device), y.to(device)
        y_hat = net(X)
        l = loss(y_hat, y)
        optimizer.zero_grad()
        l.backward()
        optimizer.step()
        loss_sum += l.item()
        right += (y_hat.argmax(dim=1) == y).sum().item()
    return clock.seconds


def our_seconds(images, labels, batch_size, size, device, steps):
    net, loss, optimizer = build(device)
    clock = Clock(gu.Batches(images, labels, batch_size, size, True, device, mean=HALF, std=HALF), device, steps)
    test_iter = gu.Batches(images[:1], labels[:1], 1, size, False, device)
    with contextlib.redirect_stdout(io.StringIO()):
        gu.train(net, clock, test_iter, loss, optimizer, device, epochs=1)
    return clock.seconds


def ceiling_seconds(images, labels, batch_size, size, device, steps):
    net, loss, optimizer = build(device)
    net = net.to(memory_format=torch.channels_last)
    X, y = next(iter(gu.Batches(images, labels, batch_size, size, True, device)))
    X, precision = X.to(memory_format=torch.channels_last), gu.choose_precision(device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
    clock = Clock([(X, y)] * (WARM_UP + steps), device, steps)
    gu._keep_freed_memory(device)
    for X, y in clock:
        with torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32"):
            y_hat = net(X)
        l = loss(y_hat.float(), y)
        optimizer.zero_grad()
        scaler.scale(l).backward()
        scaler.step(optimizer)
        scaler.update()
    return clock.seconds


LOOPS = {"article": article_seconds, "ours": our_seconds, "ceiling": ceiling_seconds}


def measure(size, turns, device):
    """A row of the table: images a second of each loop (medians), and our ratios to the other two, turn by turn."""
    batch_size, steps = BATCH[size], STEPS["cpu" if device.type == "cpu" else "cuda"][size]
    needed = batch_size * (WARM_UP + steps)
    images, labels = gu.make_shapes(needed, seed=0)
    rates = {name: [] for name in LOOPS}
    with contextlib.ExitStack() as stack:
        processes = {name: stack.enter_context(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
                     for name in LOOPS}
        for _ in range(turns):
            for name, loop in LOOPS.items():
                turn = processes[name].submit(loop, images, labels, batch_size, size, device, steps)
                rates[name].append(batch_size * steps / turn.result())
    medians = {name: statistics.median(values) for name, values in rates.items()}

    def ratio(other):
        return statistics.median(ours / theirs for ours, theirs in zip(rates["ours"], rates[other], strict=True))

    return {"size": size, "batch_size": batch_size, "turns": turns, "steps": steps,
            "precision": gu.choose_precision(device), "images_per_second": medians, "all_turns": rates,
            "times_the_article": ratio("article"), "share_of_ceiling": ratio("ceiling"),
            "machine": describe_machine(device)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", choices=BATCH, default=list(BATCH))
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    device, rows = gu.choose_device(), stored_rows("training_speed")
    for size in options.sizes:
        row = measure(size, options.turns, device)
        rates = row["images_per_second"]
        print(f"{size} px, batch {row['batch_size']}: article {rates['article']:.1f}, ours {rates['ours']:.1f}, "
              f"ceiling {rates['ceiling']:.1f} images/s: {row['times_the_article']:.2f} times the article's loop, "
              f"{row['share_of_ceiling']:.1%} of the ceiling", flush=True)

        def key(row):
            return row["size"], row["precision"], row["machine"]["hardware"]

        rows = [old for old in rows if key(old) != key(row)] + [row]
        rows.sort(key=lambda row: (row["machine"]["hardware"], row["precision"], -row["size"]))
        write_result("training_speed", {"rows": rows})


if __name__ == "__main__":
    main()
