"""How fast masks come, and what memory they take, on the cores there are.

    python benchmarks/segmentation_speed.py --run runs/segmentation/conditioned_unet-64

Each row is a process of its own, whose peak memory is its own. Writes
``docs/segmentation_speed.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medmeta.app.mask_predictor import Point, SavedMaskPredictor
from medmeta.app.mask_workbench import adapt_masks
from medmeta.app.models import LoadedModel, load_model
from medmeta.app.tiles import tiled
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.synthetic_structures import synthetic_structures
from medmeta.episode import InputSpec, Target
from medmeta.learners import build_learner
from medmeta.storage import write_json

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "segmentation_speed.json"
N_SUPPORT, SLICES = 5, 100


Spent = tuple[float, float]
"""Seconds by the clock, and seconds of computing: on a busy machine the first is longer."""


def now() -> Spent:
    """Where both clocks stand."""
    return time.perf_counter(), time.process_time()


def since(started: Spent) -> Spent:
    """What has been spent."""
    return time.perf_counter() - started[0], time.process_time() - started[1]


def at_size(run: Path, size: int) -> LoadedModel:
    """The run's weights for pictures of another size: it is made of convolutions alone."""
    model = load_model(run)
    spec, target = InputSpec(3, (size, size)), Target("masks", 2)
    learner = build_learner(model.card["learner"], model.card["options"], spec, target)
    learner.load_state_dict(model.learner.state_dict())
    card = {
        **model.card,
        "input_spec": {"channels": 3, "size": [size, size]},
        "preprocessing": Preprocessing(size=size).model_dump(mode="json"),
    }
    return replace(model, learner=learner.eval(), card=card)


def task(size: int, n: int) -> Source:
    """One made-up structure."""
    source = synthetic_structures(1, images=n, size=size, seed=41, kinds=("organs",))
    assert source.masks is not None
    masks = (source.masks == 1).astype(np.uint8)
    index = replace(source.index, structures=("structure",), others={})
    return replace(source, index=index, masks=masks)


def adapted(run: Path, size: int) -> tuple[SavedMaskPredictor, Source, Spent]:
    """A predictor from five images, one more image, and what it took."""
    model, source = at_size(run, size), task(size, N_SUPPORT + 1)
    started = now()
    predictor = adapt_masks(model, source.take(np.arange(N_SUPPORT)))
    return predictor, source, since(started)


def first_mask(run: Path) -> Spent:
    """Adapt to five images of 128 pixels, and mark one."""
    predictor, source, spent = adapted(run, 128)
    started = now()
    predictor.answer(source.gather(np.array([N_SUPPORT])))
    more = since(started)
    return spent[0] + more[0], spent[1] + more[1]


def hundred_slices(run: Path) -> Spent:
    """Mark a hundred slices of 128 pixels from five."""
    predictor, source, _ = adapted(run, 128)
    asked = np.repeat(source.gather(np.array([N_SUPPORT])), SLICES, axis=0)
    started = now()
    for first in range(0, SLICES, 16):
        predictor.answer(asked[first : first + 16])
    return since(started)


def large_tiled(run: Path) -> Spent:
    """Mark a picture of 2048 pixels in tiles of 128."""
    predictor, source, _ = adapted(run, 128)
    picture = np.tile(source.gather(np.array([N_SUPPORT]))[0].transpose(1, 2, 0), (16, 16, 1))
    started = now()
    tiled(predictor, picture)
    return since(started)


def one_point(run: Path) -> Spent:
    """A point on a picture of 256 pixels, until its new mask is there."""
    predictor, source, _ = adapted(run, 256)
    image = source.gather(np.array([N_SUPPORT]))[0]
    started = now()
    predictor.refined(image, [Point(100, 120, 1)]).answer(image[None])
    return since(started)


ROWS: dict[str, Callable[[Path], Spent]] = {
    row.__name__: row for row in (first_mask, hundred_slices, large_tiled, one_point)
}


def main() -> None:
    """Run each row in a process of its own, or one of them here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--row", choices=ROWS)
    given = parser.parse_args()
    if given.row:
        clock, computing = ROWS[given.row](given.run)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"seconds": round(clock, 2), "cpu_seconds": round(computing, 2),
                          "peak_mb": peak, "threads": torch.get_num_threads()}))  # fmt: skip
        return
    found: list[dict[str, Any]] = []
    for name, row in ROWS.items():
        words = [sys.executable, __file__, "--run", str(given.run), "--row", name]
        done = subprocess.run(words, stdout=subprocess.PIPE, check=True)
        found.append({"row": name, "what": row.__doc__, **json.loads(done.stdout)})
        print(found[-1], flush=True)
        write_json(RESULTS, found)


if __name__ == "__main__":
    main()
