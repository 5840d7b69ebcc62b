"""Write the tables of results into the documents.

They come from results/*.json, and stand between `<!-- table: NAME -->` and `<!-- end of table -->`. A test
(tests/test_documents.py) fails where a document says something else.

usage: python benchmarks/tables.py
"""
import json
import re
from pathlib import Path

from comparisons import TABLES as COMPARED
from comparisons import is_kept

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = [ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "benchmarks" / "README.md"]
CHINESE = {"recipe": "训练方案", "profile": "配置", "image size": "图像尺寸", "epochs": "轮次", "minutes": "分钟",
           "precision": "精度", "test accuracy": "测试准确率", "the article's, as printed": "原文的，照原样",
           "ours (notebook 4)": "我们的（第 4 课）"}


def load(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def machine_of(row):
    processes = f", processes: {row['processes']}" if row.get("processes", 1) > 1 else ""
    return f"{row['machine']['hardware']}{processes}, torch {row['machine']['torch']}"


# Each table is a list of rows, and a row says what stands in which column.

def accuracy():
    """The article's recipe and ours."""
    article = load("article_recipe")
    epochs = article["epochs"]
    rows = [{"recipe": "the article's, as printed", "profile": "–", "images": f"{article['images']:,}",
             "image size": f"{article['image_size']} px", "epochs": len(epochs),
             "minutes": f"{sum(epoch['seconds'] for epoch in epochs) / 60:.0f}", "seed": article["seed"],
             "precision": "float32", "test accuracy": f"{epochs[-1]['test_acc']:.3f}", "machine": machine_of(article)}]
    for row in sorted(load("train_cifar10")["rows"], key=lambda row: (row["profile"], row["seed"])):
        sizes = " to ".join(str(size) for size in dict.fromkeys((row["image_sizes"][0], row["image_sizes"][-1])))
        rows.append({"recipe": "ours (notebook 4)", "profile": f"`{row['profile']}`",
                     "images": f"{row['images']:,}", "image size": f"{sizes} px",
                     "epochs": len(row["image_sizes"]), "minutes": f"{row['seconds'] / 60:.0f}", "seed": row["seed"],
                     "precision": row["precision"],
                     "test accuracy": "stopped" if row["stopped"] else f"**{row['test_accuracy']:.3f}**",
                     "machine": machine_of(row)})
    return rows


def results():
    """README's, in short."""
    columns = ("recipe", "profile", "image size", "epochs", "minutes", "precision", "test accuracy")
    return [{column: row[column] for column in columns} for row in accuracy()]


def results_zh():
    """README.zh-CN's."""
    return [{CHINESE[column]: CHINESE.get(value, str(value).replace(" to ", " 到 ").replace(" px", " 像素"))
             for column, value in row.items()} for row in results()]


def steps():
    """From the article's recipe to ours, a change a row, on validation images."""
    def mean_and_seeds(runs, precision):
        runs = {run["seed"]: run["val_accuracy"] for run in runs if run["precision"] == precision}
        if not runs:
            return "not measured"
        mean, seeds = f"{sum(runs.values()) / len(runs):.3f}", ", ".join(map(str, runs))
        each = ", ".join(f"{accuracy:.3f}" for accuracy in runs.values())
        return f"{mean} (seed {seeds})" if len(runs) == 1 else f"{mean} (seeds {seeds}: {each})"

    measured, rows = load("recipe_steps")["rows"], []
    for change in COMPARED["recipe_steps"]:
        runs = [run for run in measured if run["change"] == change]
        rows.append({"change": change, "kept": "yes" if is_kept(change) else "no",
                     "validation accuracy, bfloat16": mean_and_seeds(runs, "bfloat16"),
                     "validation accuracy, float32": mean_and_seeds(runs, "float32"),
                     "images × epochs": f"{runs[0]['images']:,} × {runs[0]['epochs']}" if runs else "–",
                     "minutes": ", ".join(f"{run['seconds'] / 60:.0f}" for run in runs) or "–"})
    return rows


def search():
    """Recipes for the narrow network, on validation images; "flipped": the mean with the horizontal flip's logits."""
    measured = load("recipe_search")["rows"] if (RESULTS / "recipe_search.json").exists() else []
    rows = [{"recipe": row["change"], "seed": row["seed"], "precision": row["precision"],
             "images × epochs": f"{row['images']:,} × {len(row['image_sizes'])}",
             "training accuracy, augmented": f"{row['history']['train_acc'][-1]:.3f}",
             "validation accuracy": f"**{row['val_accuracy']:.3f}**", "flipped": f"{row['val_accuracy_flip']:.3f}",
             "minutes": f"{row['seconds'] / 60:.0f}"} for row in measured]
    columns = ("seed", "precision", "images × epochs", "training accuracy, augmented", "validation accuracy", "flipped",
               "minutes")
    missing = [name for name in COMPARED["recipe_search"] if name not in [row["recipe"] for row in rows]]
    return rows + [{"recipe": name, **dict.fromkeys(columns, "not measured")} for name in missing]


def speed():
    """Images a second: the article's loop in float32 and in the precision of ours, ours, and the ceiling."""
    rows = []
    for row in load("training_speed")["rows"]:
        rates, same = row["images_per_second"], row["precision"] == "float32"
        autocast = rates["article"] if same else rates.get("article_autocast")
        ratio = row["times_the_article"] if same else row.get("times_the_article_autocast")
        rows.append({"image size": f"{row['size']} px", "batch": row["batch_size"],
                     "precision of ours": row["precision"],
                     "article's loop, float32": f"{rates['article']:.0f}",
                     "article's loop, precision of ours": f"{autocast:.0f}" if autocast else "not measured",
                     "ours": f"{rates['ours']:.0f}", "ceiling": f"{rates['ceiling']:.0f}",
                     "ours : article's, float32": f"**{row['times_the_article']:.1f}**",
                     "ours : article's, precision of ours": f"**{ratio:.1f}**" if ratio else "not measured",
                     "ours : ceiling": f"{row['share_of_ceiling']:.0%}", "turns": row["turns"],
                     "machine": machine_of(row)})
    return rows


TABLES = {table.__name__: table for table in (results, results_zh, accuracy, steps, search, speed)}


def markdown(rows):
    lines = [rows[0], ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def filled(text):
    """A document's text with every marked table made anew."""
    return re.sub(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)",
                  lambda match: f"{match[1]}{markdown(TABLES[match[2]]())}\n{match[3]}", text, flags=re.S)


if __name__ == "__main__":
    for path in DOCUMENTS:
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
        print("written:", path.relative_to(ROOT).as_posix())
