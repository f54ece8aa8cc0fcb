"""Real images end to end: train on four collections, test on three others, adapt to PNG folders.

    python benchmarks/real_sources.py --data FOLDER_OF_NPZ

Runs the commands that it prints and writes ``docs/real_sources.json`` and, made from it, the table
of ``docs/results.md``. An interrupted training goes on when the script is called again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medmeta.storage import write_json
from page_tables import replace_between

ROOT = Path(__file__).resolve().parents[1]
DATA = "shared/data/classification"
TRAINED_ON = ("pbc_blood", "mednist", "malaria_cells_iml", "brain_tumor_mri")
TESTED_ON = ("busi_breast_us", "ph2", "wbc1")
RESULTS = ROOT / "docs" / "real_sources.json"
BEGIN, END = "<!-- real sources: begin -->", "<!-- real sources: end -->"
SUPPORT_PER_CLASS = 5
COMMON = (
    "--encoder conv4 --augment light --way 2-5 --shot 1-5 --query 8 --tasks-per-step 2 "
    "--schedule cosine --precision bfloat16 --learning-rate 0.001 --steps 3000 --validation none "
    "--seed 0 --drop-small"
)
TRAIN = {name: f"--learner {name} {COMMON}" for name in ("prototypical", "ridge")}
EVALUATE = "--shot 1 5 --episodes 600 --seed 2026 --drop-small"


def medmeta(arguments: str, places: dict[str, Path]) -> dict[str, Any]:
    """Run a command, its places filled in, and return what it says as JSON."""
    words = [word.format(**places) for word in shlex.split(arguments)]
    print("$ medmeta " + arguments.format(**{k: v.name for k, v in places.items()}), flush=True)
    binary = Path(sys.executable).with_name("medmeta")
    done = subprocess.run([binary, *words, "--json"], stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def write_folders(archive: Path, out: Path) -> tuple[Path, Path]:
    """A support and a query folder of PNG files from an archive; tiny classes are left out."""
    with np.load(archive, allow_pickle=False) as held:
        images, labels, names = held["images"], held["labels"], held["class_names"]
    random = np.random.Generator(np.random.Philox(key=[0, 7]))
    for code, name in enumerate(names):
        rows = random.permutation(np.flatnonzero(labels == code))
        if len(rows) <= SUPPORT_PER_CLASS:
            continue
        for place, row in enumerate(rows):
            part = "support" if place < SUPPORT_PER_CLASS else "query"
            folder = out / part / str(name)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[row]).save(folder / f"{place:03d}.png")
    return out / "support", out / "query"


def table(results: dict[str, Any]) -> str:
    """The evaluations of all learners as a Markdown table."""
    lines = [
        "| source | classes are | way | shot | learner | accuracy, % | worst tenth | AUROC "
        "| chance | ridge on raw pixels | difference to it |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows = [(row, name) for name, held in results.items() for row in held["evaluations"]]
    for row, name in sorted(rows, key=lambda pair: _order(*pair)):
        own, beside = row["summary"]["accuracy"], row["baselines"]
        raw = beside["ridge on raw pixels"]
        gap = raw["difference"]
        cells = [
            row["source"],
            row["novelty"],
            str(row["protocol"]["n_way"][1]),
            str(row["protocol"]["n_shot"][0]),
            name,
            f"{100 * own['mean']:.1f} ± {50 * (own['high'] - own['low']):.1f}",
            f"{100 * own['worst_tenth']:.1f}",
            f"{100 * row['summary']['auroc']['mean']:.1f}",
            f"{100 * beside['chance']['mean']:.1f}",
            f"{100 * raw['mean']:.1f} ± {50 * (raw['high'] - raw['low']):.1f}",
            f"{100 * gap['mean']:+.1f} [{100 * gap['low']:+.1f}, {100 * gap['high']:+.1f}]",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _order(row: dict[str, Any], name: str) -> tuple[str, int, str]:
    return row["source"], row["protocol"]["n_shot"][0], name


def sentence(name: str, held: dict[str, Any]) -> str:
    """What adapting to folders of PNG files came to."""
    adapted, predicted = held["adapted"], held["predicted"]
    share = predicted["right"] / predicted["labelled_by_folder"]
    return (
        f"Adapting `{name}` to {adapted['images']} PNG files of `wbc1` ({SUPPORT_PER_CLASS} per "
        f"class, {len(adapted['classes'])} classes) took {adapted['seconds']} s; of the other "
        f"{predicted['labelled_by_folder']}, {predicted['right']} were answered right "
        f"({100 * share:.1f} %)."
    )


def main() -> None:
    """Train, evaluate, adapt, predict; write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / DATA)
    parser.add_argument("--learner", choices=sorted(TRAIN), default="prototypical")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    arguments = parser.parse_args()
    runs, name = arguments.runs, arguments.learner
    stamp = time.time_ns()
    run = runs / f"real_sources_{name}"
    places = {source: arguments.data / f"{source}.npz" for source in (*TRAINED_ON, *TESTED_ON)}
    places |= {"run": run, "predictor": runs / f"wbc1_predictor_{stamp}"}
    trained_on = " ".join(f"{{{source}}}" for source in TRAINED_ON)
    tested_on = " ".join(f"{{{source}}}" for source in TESTED_ON)
    resume = " --resume" if run.exists() else ""
    trained = medmeta(f"train --source {trained_on} {TRAIN[name]} --out {{run}}{resume}", places)
    rows = medmeta(f"evaluate {{run}} --source {tested_on} {EVALUATE}", places)
    support, query = write_folders(places["wbc1"], runs / f"wbc1_folders_{stamp}")
    places |= {"support": support, "query": query, "csv": runs / f"wbc1_predictions_{stamp}.csv"}
    adapted = medmeta("adapt {support} --model {run} --out {predictor}", places)
    predicted = medmeta("predict {predictor} {query} --out {csv}", places)
    for answer in (trained, adapted, predicted):
        for key in ("run", "predictor", "predictions"):
            answer.pop(key, None)  # folders of the machine that this ran on
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[name] = {
        "trained_on": TRAINED_ON,
        "train": TRAIN[name],
        "evaluate": EVALUATE,
        "training": trained,
        "evaluations": rows,
        "adapted": adapted,
        "predicted": predicted,
    }
    write_json(RESULTS, results)
    text = "\n\n".join([table(results), *(sentence(n, results[n]) for n in sorted(results))])
    replace_between(ROOT / "docs" / "results.md", BEGIN, END, text)


if __name__ == "__main__":
    main()
