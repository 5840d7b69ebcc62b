"""Print the tables that README shows from benchmarks/results/*.json, write them between README's markers, and take
README's picture out of notebook 3.

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`; tests/test_readme.py fails when it differs.

usage: python benchmarks/tables.py
"""
import base64
import json
import re

from common import HERE, gu

README = HERE.parent / "README.md"
PICTURE = HERE.parent / "notebooks" / "pictures" / "printed_loss.png"


def markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def accuracy_table():
    """The article's recipe and ours, by profile."""
    header = ["recipe", "profile", "data", "images", "size", "epochs", "minutes", "seed", "test accuracy", "machine"]
    article = gu.load_result("article_recipe")
    epochs, machine = article["epochs"], article["machine"]
    rows = [["the article's, as printed", "–", article["data"], f"{article['images']:,}",
             f"{article['image_size']} px", len(epochs), f"{sum(e['seconds'] for e in epochs) / 60:.0f}",
             article["seed"], f"{epochs[-1]['test_acc']:.3f}", f"{machine['hardware']}, torch {machine['torch']}"]]
    trained = gu.load_result("train_cifar10")["rows"]
    for row in sorted(trained, key=lambda row: (row["profile"], row["seed"])):
        machine = row["machine"]
        rows.append(["ours (notebook 4)", f"`{row['profile']}`", row["data"], f"{row['train_images']:,}",
                     f"{' to '.join(map(str, dict.fromkeys(row['image_sizes'])))} px", row["epochs"],
                     f"{row['seconds'] / 60:.1f}", row["seed"], f"**{row['test_accuracy']:.3f}**",
                     f"{machine['hardware']}, torch {machine['torch']}"])
    for name in sorted({"cpu", "gpu"} - {row["profile"] for row in trained}):
        rows.append(["ours (notebook 4)", f"`{name}`", "CIFAR-10", f"{gu.PROFILES[name].train_images:,}", "–", "–", "–",
                     "–", "not measured", f"`python benchmarks/train_cifar10.py --profile {name}`"])
    return markdown(header, rows)


def steps_table():
    """From the article's recipe to ours, a change a row, on held-out training images."""
    header = ["change", "kept", "held out, in bfloat16", "held out, in float32", "images × epochs", "processor minutes"]
    rows = []
    for row in gu.load_result("recipe_steps")["rows"]:
        runs = row["runs"]
        minutes = ", ".join(f"{run['processor_seconds'] / 60:.1f}" for run in runs)
        rows.append([row["change"], "yes" if row["kept"] else "no",
                     *(mean_and_seeds(runs, precision) for precision in ("bfloat16", "float32")),
                     f"{runs[0]['images']:,} × {len(row['settings']['sizes'])}", minutes])
    return markdown(header, rows)


def mean_and_seeds(runs, precision):
    """The accuracy of the run in `precision`, or the mean and each of several, with their seeds."""
    runs = {run["seed"]: run["held_out_accuracy"] for run in runs if run["precision"] == precision}
    if not runs:
        return "not measured"
    seeds = ", ".join(map(str, runs))
    if len(runs) == 1:
        return f"{runs.popitem()[1]:.3f} (seed {seeds})"
    return f"{sum(runs.values()) / len(runs):.3f} (seeds {seeds}: {', '.join(f'{a:.3f}' for a in runs.values())})"


def speed_table():
    """Images a second: the article's loop, ours, and the ceiling."""
    header = ["size", "batch", "article, images/s", "ours", "ceiling", "ours : article", "ours : ceiling", "machine"]
    rows, measured = [], gu.load_result("training_speed")["rows"]
    for row in measured:
        rates = row["images_per_second"]
        rows.append([f"{row['size']} px", row["batch_size"], *(f"{rates[name]:.0f}" for name in rates),
                     f"**{row['times_the_article']:.1f}**", f"{row['share_of_ceiling']:.0%}",
                     f"{row['machine']['hardware']}, {row['precision']}, torch {row['machine']['torch']}"])
    if all("threads" in row["machine"]["hardware"] for row in measured):
        rows.append(["224 px", 32, "–", "–", "–", "not measured", "–", "a GPU: `python benchmarks/training_speed.py`"])
    return markdown(header, rows)


TABLES = {"accuracy": accuracy_table, "steps": steps_table, "speed": speed_table}


def with_tables(text):
    """README's text with every marked table made anew."""
    def replace(match):
        return f"<!-- table: {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end of table -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end of table -->", replace, text, flags=re.S)


def first_picture():
    """The bytes of notebook 3's first stored figure: README shows it."""
    notebook = json.loads((HERE.parent / "notebooks" / "03_why_it_does_not_learn.ipynb").read_text(encoding="utf-8"))
    pictures = (output["data"]["image/png"] for cell in notebook["cells"] for output in cell.get("outputs", [])
                if "image/png" in output.get("data", {}))
    return base64.b64decode("".join(next(pictures)))


def main():
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(first_picture())
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
    for name, table in TABLES.items():
        print(f"{name}\n{table()}\n")


if __name__ == "__main__":
    main()
