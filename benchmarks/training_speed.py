"""Images a second: the article's loop, ours, and the ceiling. Writes results/training_speed.json.

The same GoogLeNet (no batch norm, 10 classes) is trained by each of LOOPS in turn, several times; the medians count.

    article             torchvision's transforms on Pillow images, a DataLoader with two workers, float32, the loss and
                        the accuracy read from the device after every batch
    article_autocast    the same in our precision
    ours                `gu.train` with `gu.Batches`, in the precision that `gu.choose_precision` finds
    ceiling             the network alone in our precision and layout, on one batch that is on the device: no data

float32 is PyTorch's: on NVIDIA's GPUs, convolutions multiply in TF32. The images are shapes, of CIFAR-10's size: what
an image shows makes no difference. The first steps, in which workers start and memory is found, are not timed.

usage: python benchmarks/training_speed.py [--sizes 224 96 32] [--turns 5] [--missing] [--rehearsal]
"""
import contextlib
import functools
import itertools
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import nn
from torch.utils.data import DataLoader, default_collate
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from experiment import command_line, describe_machine, gu, share, stored_rows, write_result

LOOPS = ("article", "article_autocast", "ours", "ceiling")
BATCH = {224: 32, 96: 32, 32: 128}
STEPS, STEPS_ON_A_GPU = {224: 4, 96: 12, 32: 12}, 150       # on a CPU, by size
WARM_UP = 2
HALF = (0.5, 0.5, 0.5)                                      # the article's Normalize


def timed(batches, steps, device, seconds):
    """The first batches; puts into `seconds` the time from the end of the warm-up to the end of the last step."""
    iterator = iter(batches)                                # held, or its workers would end within the time
    for step, batch in enumerate(itertools.islice(iterator, WARM_UP + steps), start=1):
        yield batch
        if step == WARM_UP:                                 # asked for the next batch, which is the first to be timed
            start = now(device)
    seconds.append(now(device) - start)


def now(device):
    """The time when the device has done all that it was asked to."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def transformed(transform, pictures):
    """What a worker makes of a batch of Pillow images with labels, one by one."""
    return default_collate([(transform(picture), label) for picture, label in pictures])


def train_as_the_article(net, batches, loss, optimizer, device, precision="float32", *, reading=True):
    """The article's epoch: the mean loss of a batch, and the share of images that were right."""
    losses, right, count = [], 0, 0
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
    for X, y in batches:
        X, y = X.to(device), y.to(device)
        with torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32"):
            y_hat = net(X)
        l = loss(y_hat.float(), y)
        optimizer.zero_grad()
        scaler.scale(l).backward()
        scaler.step(optimizer)
        scaler.update()
        if reading:                                         # the program waits for the device
            losses.append(l.item())
            right += (y_hat.argmax(dim=1) == y).sum().item()
            count += len(y)
    return (statistics.fmean(losses), right / count) if reading else None


def seconds_of(loop, images, labels, batch_size, size, steps, device, **network):
    """How long `steps` training steps take in one of LOOPS."""
    torch.manual_seed(0)
    net, loss, seconds = gu.GoogLeNet(num_classes=10, **network).to(device), nn.CrossEntropyLoss(), []
    if loop.startswith("article"):
        transform = transforms.Compose([transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(),
                                        transforms.ToTensor(), transforms.Normalize(HALF, HALF)])
        pictures = list(zip(map(to_pil_image, images), labels.tolist(), strict=True))
        batches = DataLoader(pictures, batch_size, shuffle=True, num_workers=2,
                             collate_fn=functools.partial(transformed, transform))
    else:
        net = share(net, device)
        batches = gu.Batches(images, labels, batch_size, size, True, device, mean=HALF, std=HALF)
        gu._keep_freed_memory(device)
    if loop == "ceiling":
        X, y = next(iter(batches))
        batches = itertools.repeat((X.to(memory_format=torch.channels_last), y))
    batches = timed(batches, steps, device, seconds)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    if loop == "ours":
        few = gu.Batches(images[:1], labels[:1], batch_size, size, False, device)
        with contextlib.redirect_stdout(None):
            gu.train(net, batches, few, loss, optimizer, device, 1, progress=False)
    else:
        precision = "float32" if loop == "article" else gu.choose_precision(device)
        train_as_the_article(net, batches, loss, optimizer, device, precision, reading=loop != "ceiling")
    return seconds[0]


@contextlib.contextmanager
def own_processes():
    """`seconds_of`, with a process for each loop, so that none works with memory that another made ready."""
    with contextlib.ExitStack() as stack:
        spawn = multiprocessing.get_context("spawn")
        pools = {loop: stack.enter_context(ProcessPoolExecutor(1, spawn)) for loop in LOOPS}
        yield lambda loop, *arguments: pools[loop].submit(seconds_of, loop, *arguments).result()


def measure(size, batch_size, turns, steps, device, take):
    """Add a row to the result file: images a second of each loop (medians), and our ratios to the others', turn by
    turn. take: `seconds_of`, or a function that calls it elsewhere."""
    precision = gu.choose_precision(device)
    images, labels = gu.make_shapes(batch_size * (WARM_UP + steps), seed=0)
    rates = {loop: [] for loop in LOOPS if loop != "article_autocast" or precision != "float32"}
    for _, loop in itertools.product(range(turns), rates):
        rates[loop].append(batch_size * steps / take(loop, images, labels, batch_size, size, steps, device))
    medians = {loop: statistics.median(rates[loop]) for loop in rates}
    ratios = {loop: statistics.median(ours / other for ours, other in zip(rates["ours"], rates[loop], strict=True))
              for loop in rates}
    row = {"size": size, "batch_size": batch_size, "turns": turns, "steps": steps, "precision": precision,
           "images_per_second": medians, "all_turns": rates, "times_the_article": ratios["article"],
           "times_the_article_autocast": ratios.get("article_autocast"), "share_of_ceiling": ratios["ceiling"],
           "machine": describe_machine(device)}
    print(f"{size} px, images a second:", ", ".join(f"{loop} {rate:.1f}" for loop, rate in medians.items()), flush=True)
    others = [old for old in stored_rows("training_speed") if key(old) != key(row)]
    write_result("training_speed", {"rows": sorted([*others, row], key=key)})


def key(row):
    """What a row is of, in the order of the table."""
    return row["machine"]["hardware"], row["precision"], -row["size"]


def main():
    options = command_line(__doc__, {"--sizes": list(BATCH), "--turns": 5, "--missing": False, "--rehearsal": False})
    device = gu.choose_device()
    here = {"machine": describe_machine(device), "precision": gu.choose_precision(device)}
    done = {key(row) for row in stored_rows("training_speed")} if options.missing else set()
    with own_processes() as take:
        for size in [32] if options.rehearsal else options.sizes:
            if key({**here, "size": size}) in done:
                continue
            if options.rehearsal:
                measure(size, 4, 1, 1, device, seconds_of)
            else:
                steps = STEPS[size] if device.type == "cpu" else STEPS_ON_A_GPU
                measure(size, BATCH[size], options.turns, steps, device, take)


if __name__ == "__main__":
    main()
