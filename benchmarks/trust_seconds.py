"""How long the whole trust pass takes after start-up: 5 classes of 5 images, Conv-4, 64×64.

python benchmarks/trust_seconds.py --run runs/medical-prototypical

What counts is processor time, since other programs may share the machine; the clock stands beside.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

from medical_measuring import IMAGES
from medmeta.app.models import load_model
from medmeta.data.preprocess import as_float
from medmeta.data.sources import open_source
from medmeta.episode import LabelledSet, Target
from medmeta.learner import adapt_task
from medmeta.trust.assess import About, assess
from trust_table import write_rows

ROOT = Path(__file__).resolve().parents[1]
SOURCE, WAY, SHOT = "pbc_blood", 5, 5


def main() -> None:
    """Measure, and write the median of seven passes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "medical-prototypical")
    data = ROOT.parent / "shared" / "data" / "classification"
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    source = open_source(given.data / f"{SOURCE}.npz", preprocessing=IMAGES)
    assert source.index.labels is not None
    codes = source.index.labels.codes
    rows = np.concatenate([np.flatnonzero(codes == k)[:SHOT] for k in range(WAY)])
    images = as_float(torch.from_numpy(source.gather(rows)))[None]
    labels = torch.from_numpy(codes[rows].astype(np.int64))[None]
    learner = load_model(given.run).learner
    support = LabelledSet(images, labels, torch.tensor([0]))
    about = About(source.index.class_names[:WAY], np.arange(len(rows)))
    seconds, worked = [], []
    for _ in range(8):
        started, before = time.perf_counter(), time.process_time()
        with torch.no_grad():
            task = adapt_task(learner, support, Target("classes", WAY))
        assess(task, about)
        seconds.append(time.perf_counter() - started)
        worked.append(time.process_time() - before)
    clock = [round(float(np.quantile(seconds[1:], q)), 3) for q in (0.5, 0, 1)]
    middle, low, high = (round(float(np.quantile(worked[1:], q)), 3) for q in (0.5, 0, 1))
    print(f"processor {middle} s ({low} to {high}), by the clock {clock[0]} s")
    print(f"the first: processor {worked[0]:.2f} s, by the clock {seconds[0]:.2f} s")
    row = {
        "measure": "processor seconds of the whole pass",
        "source": SOURCE,
        "shot": SHOT,
        "tasks": 7,
        "value": middle,
        "low": low,
        "high": high,
        "goal": [None, 3.0],
        "first": round(worked[0], 3),
        "clock": clock,
        "threads": given.threads,
        "load": round(os.getloadavg()[0], 1),
        "command": "python benchmarks/trust_seconds.py",
    }
    write_rows(ROOT / "docs" / "trust.json", ROOT / "docs" / "results.md", [row])


if __name__ == "__main__":
    main()
