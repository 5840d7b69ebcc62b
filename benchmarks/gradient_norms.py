"""One step that spoils a run: every step's loss and the length of its gradient. Writes results/gradient_norms.json.

The runs are those of the row "crops" of benchmarks/recipe_steps.py: three epochs at 32 x 32 pixels. One seed after the
other is tried until a run has a gradient longer than 20 after its first 300 steps; the file keeps what every try
reached. Then the run is made again, from the same weights and with the same batches, and this one gradient is
shortened. Up to that step the two are equal, number for number. The length (norm) is that of the gradients of all
weights together, before it is shortened.

usage: python benchmarks/gradient_norms.py [--seeds 0 1 2 3]         (five minutes of one CPU core a run)
"""
import argparse
import math

from torch import nn

from common import HELD_OUT, describe_machine, find_device, gu, write_result
from recipe_steps import build_run, settings_by_change

CHANGE = "crops of 80 to 100 % instead of 8 to 100 %"
START, LONG = 300, 20.0     # before START steps, the gradients of fresh weights are long


def train_and_watch(settings, seed, data, device, only_step=None):
    """One run: each step's loss and its gradient's length, and the accuracy on the held-out images at the end.

    only_step: the number, from 1 on, of the one step whose gradient is shortened to RECIPE's max_norm.
    """
    net, train_iter, held_out_iter, loss, optimizer, schedule = build_run(settings, seed, data, device)
    losses, norms, shorten = [], [], nn.utils.clip_grad_norm_

    def watched_loss(scores, labels):
        value = loss(scores, labels)
        losses.append(round(value.item(), 4))
        return value

    def watched_shorten(parameters, max_norm):
        longest = gu.RECIPE["max_norm"] if len(norms) + 1 == only_step else max_norm
        norms.append(round(shorten(parameters, longest).item(), 3))         # it returns the length from before

    nn.utils.clip_grad_norm_ = watched_shorten                              # `gu.train` calls it once a step
    try:
        history = gu.train(net, train_iter, held_out_iter, watched_loss, optimizer, device, len(settings["sizes"]),
                           schedule=schedule, max_norm=math.inf, progress=False)
    finally:
        nn.utils.clip_grad_norm_ = shorten
    return {"seed": seed, "shortened_step": only_step, "losses": losses, "norms": norms,
            "held_out_accuracy": history["test_acc"][-1], "machine": describe_machine(device)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    options = parser.parse_args()
    data, device, settings, tries = gu.load_images("cifar10"), find_device(), settings_by_change()[CHANGE], []
    for seed in options.seeds:
        first = train_and_watch(settings, seed, data, device)
        longest = max(first["norms"][START:])
        worst = first["norms"].index(longest, START) + 1
        tries.append({"seed": seed, "longest_gradient": longest, "step": worst,
                      "held_out_accuracy": first["held_out_accuracy"]})
        print(f"seed {seed}: a gradient of {longest} in step {worst}, {first['held_out_accuracy']}", flush=True)
        if longest > LONG:
            break
    second = train_and_watch(settings, seed, data, device, only_step=worst)
    if first["losses"][:worst] != second["losses"][:worst]:
        raise SystemExit("the two runs differ before that step: this machine does not compute the same twice")
    write_result("gradient_norms", {
        "data": data.name, "held_out": HELD_OUT, "settings": settings, "precision": gu.choose_precision(device),
        "start": START, "max_norm": gu.RECIPE["max_norm"], "tries": tries, "rows": [first, second]})


if __name__ == "__main__":
    main()
