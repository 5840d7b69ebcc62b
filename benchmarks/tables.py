"""Write the tables of results, and the numbers in sentences about them, into the documents.

They come from results/*.json. A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`, a number
between `<!-- value: NAME -->` and `<!-- end -->`. tests/test_documents.py fails where a document says something else.

usage: python benchmarks/tables.py [--pictures]         (README's drawings of GoogLeNet too)
"""
import io
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "benchmarks" / "README.md"]
# Result files that were written before version 0.2.0 have other names for the same.
BEFORE = {"val_accuracy": "held_out_accuracy", "val_acc": "test_acc", "cpu_seconds": "processor_seconds"}


def load(name):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def field(row, name):
    return row[name] if name in row else row[BEFORE[name]]


def markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def machine_of(row):
    return f"{row['machine']['hardware']}, torch {row['machine']['torch']}"


def trainings():
    """The article's recipe and ours, a dictionary of columns a row."""
    article = load("article_recipe")
    epochs = article["epochs"]
    yield {"recipe": "the article's, as printed", "profile": "–", "images": f"{article['images']:,}",
           "image size": f"{article['image_size']} px", "epochs": len(epochs),
           "minutes": f"{sum(epoch['seconds'] for epoch in epochs) / 60:.0f}", "seed": article["seed"],
           "precision": "float32", "test accuracy": f"{epochs[-1]['test_acc']:.3f}", "machine": machine_of(article)}
    for row in sorted(load("train_cifar10")["rows"], key=lambda row: (row["profile"], row["seed"])):
        sizes = " to ".join(str(size) for size in dict.fromkeys(row["image_sizes"]))
        yield {"recipe": "ours (notebook 4)", "profile": f"`{row['profile']}`", "images": f"{row['train_images']:,}",
               "image size": f"{sizes} px", "epochs": row["epochs"], "minutes": f"{row['seconds'] / 60:.0f}",
               "seed": row["seed"], "precision": row["precision"], "test accuracy": f"**{row['test_accuracy']:.3f}**",
               "machine": machine_of(row)}


def accuracy_table():
    rows = list(trainings())
    return markdown(list(rows[0]), [row.values() for row in rows])


def short_accuracy_table():
    columns = ["recipe", "profile", "image size", "epochs", "minutes", "test accuracy"]
    return markdown(columns, [[row[column] for column in columns] for row in trainings()])


def steps_table():
    """From the article's recipe to ours, a change a row, on validation images."""
    header = ["change", "kept", "validation accuracy, bfloat16", "validation accuracy, float32", "images × epochs",
              "CPU minutes"]
    rows = []
    for row in load("recipe_steps")["rows"]:
        runs = row["runs"]
        rows.append([row["change"], "yes" if row["kept"] else "no",
                     *(mean_and_seeds(runs, precision) for precision in ("bfloat16", "float32")),
                     f"{runs[0]['images']:,} × {len(row['settings']['sizes'])}",
                     ", ".join(f"{field(run, 'cpu_seconds') / 60:.1f}" for run in runs)])
    return markdown(header, rows)


def mean_and_seeds(runs, precision):
    """The accuracy of the run in `precision`, or the mean and each of several, with their seeds."""
    runs = {run["seed"]: field(run, "val_accuracy") for run in runs if run["precision"] == precision}
    if not runs:
        return "not measured"
    seeds = ", ".join(map(str, runs))
    if len(runs) == 1:
        return f"{runs.popitem()[1]:.3f} (seed {seeds})"
    return f"{sum(runs.values()) / len(runs):.3f} (seeds {seeds}: {', '.join(f'{a:.3f}' for a in runs.values())})"


def speed_table():
    """Images a second: the article's loop, ours, and the ceiling."""
    header = ["image size", "batch", "article's loop, float32", "ours", "ceiling", "precision of ours and the ceiling",
              "ours : article's", "ours : ceiling", "turns", "machine"]
    rows = []
    for row in load("training_speed")["rows"]:
        rates = row["images_per_second"]
        rows.append([f"{row['size']} px", row["batch_size"],
                     *(f"{rates[name]:.0f}" for name in ("article", "ours", "ceiling")), row["precision"],
                     f"**{row['times_the_article']:.1f}**", f"{row['share_of_ceiling']:.0%}", row["turns"],
                     machine_of(row)])
    return markdown(header, rows)


TABLES = {"results": short_accuracy_table, "accuracy": accuracy_table, "steps": steps_table, "speed": speed_table}


def values():
    """The numbers that stand in sentences, by name."""
    (long,) = [row for row in load("train_cifar10")["rows"] if row["profile"] == "long"]
    before = field(long["history"], "val_acc")[-1 - len(long["closing"]["image_sizes"])]
    plain, clipped = (field(row, "val_accuracy") for row in load("gradient_norms")["rows"])
    return {"before_closing": f"{before:.3f}", "after_closing": f"{field(long, 'val_accuracy'):.3f}",
            "one_step": f"{100 * (clipped - plain):.1f}"}


def filled(text):
    """A document's text with every marked table and number made anew."""
    numbers = values()
    text = re.sub(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)",
                  lambda match: f"{match[1]}{TABLES[match[2]]()}\n{match[3]}", text, flags=re.S)
    return re.sub(r"(<!-- value: (\w+) -->).*?(<!-- end -->)",
                  lambda match: f"{match[1]}{numbers[match[2]]}{match[3]}", text)


def write_pictures():
    """Draw GoogLeNet for README, wide and tall, with twice the pixels that README shows, so that letters are sharp."""
    from PIL import Image

    sys.path.insert(0, str(ROOT))
    import googlenet_utils as gu

    for name, tall in (("googlenet", False), ("googlenet_tall", True)):
        fig, _ = gu.draw_googlenet(gu.GoogLeNet(aux=True), tall=tall)
        buffer = io.BytesIO()
        fig.savefig(buffer, dpi=200, facecolor="white")
        path = ROOT / "notebooks" / "pictures" / f"{name}.png"
        Image.open(buffer).convert("RGB").quantize(128).save(path, optimize=True)       # half the bytes
        print("written:", path.relative_to(ROOT).as_posix())


def main():
    if "--pictures" in sys.argv:
        write_pictures()
    for path in DOCUMENTS:
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
        print("written:", path.relative_to(ROOT).as_posix())


if __name__ == "__main__":
    main()
