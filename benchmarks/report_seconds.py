"""How long a report of 200 answers with the model in the box takes, from start to the page.

    python benchmarks/report_seconds.py --other OLD/src

200 pictures of ``wbc1`` are answered by a predictor of five of each class; each time is that of a
whole ``medmeta report``, its start included. ``--other`` is the source of another version, which is
timed in turn with this one. Processor time is what counts, since other programs may share the
machine; the clock stands beside. Writes ``docs/report_seconds.json``.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medmeta.storage import write_json

ROOT = Path(__file__).resolve().parents[1]
SOURCE, SHOT, ASKED, SEED = "wbc1", 5, 200, 0
MEDMETA = "import sys; from medmeta.app.cli import main; sys.exit(main())"


def write_pictures(archive: Path, folder: Path) -> None:
    """``support`` and ``asked``, a folder per class in each."""
    with np.load(archive, allow_pickle=False) as held:
        images, labels, names = held["images"], held["labels"], held["class_names"].tolist()
    chance = np.random.default_rng(SEED)
    order = chance.permutation(len(labels))
    able = [k for k in range(len(names)) if (labels == k).sum() > 2 * SHOT]
    support = np.concatenate([order[labels[order] == k][:SHOT] for k in able])
    rest = [row for row in order if labels[row] in able and row not in support]
    for part, rows in (("support", support), ("asked", rest[:ASKED])):
        for row in rows:
            place = folder / part / names[labels[row]]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[row]).save(place / f"{row}.png")


def timed(words: list[str], source: Path, threads: int) -> tuple[float, float]:
    """Processor seconds and seconds by the clock of one command."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": str(threads)}
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", MEDMETA, *words], env=environment, check=True, capture_output=True
    )
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - wall
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, wall


def main() -> None:
    """Time each version in turn, with each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--other", type=Path, help="source of another version, timed in turn")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    data = ROOT.parent / "shared" / "data" / "classification"
    parser.add_argument("--data", type=Path, default=data)
    given = parser.parse_args()
    versions = {"this": ROOT / "src"} | ({} if given.other is None else {"other": given.other})
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        write_pictures(given.data / f"{SOURCE}.npz", work)
        timed(["adapt", f"{work}/support", "--out", f"{work}/predictor"], ROOT / "src", 1)
        for threads in given.threads:
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in versions}
            for number in range(given.times):
                for name, source in versions.items():
                    page = work / f"{name}-{threads}-{number}.html"
                    words = ["report", f"{work}/predictor", "--query", f"{work}/asked"]
                    found[name].append(timed([*words, "--out", str(page)], source, threads))
            for name, times in found.items():
                used, wall = np.median(times, axis=0)
                size = (work / f"{name}-{threads}-0.html").stat().st_size
                rows.append(
                    {
                        "version": name, "threads": threads, "processor": round(float(used), 1),
                        "clock": round(float(wall), 1), "times": given.times,
                        "bytes": size, "load": round(os.getloadavg()[0], 1),
                    }
                )  # fmt: skip
                print(rows[-1], flush=True)
    write_json(ROOT / "docs" / "report_seconds.json", rows)


if __name__ == "__main__":
    main()
