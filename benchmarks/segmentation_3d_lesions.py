"""Changed lesions of four patients, each marked by what the other three teach: whole volumes.

    python benchmarks/segmentation_3d_lesions.py --data shared/data \
        --run runs/segmentation_3d/conditioned_unet-24 --flat runs/segmentation/conditioned_unet-64

By the application: volumes as NIfTI are learned in four blocks each, or in eight slices each, and
marked block by block, or slice by slice. Adds to ``docs/segmentation_3d.json``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medmeta.app.mask_answers import mark_images
from medmeta.app.mask_workbench import adapt_masks
from medmeta.app.models import LoadedModel, load_model
from medmeta.data.mask_sources import open_mask_source
from medmeta.evaluation.mask_metrics import overlap
from medmeta.learners import build_learner
from medmeta.storage import write_json
from page_tables import kept_rows
from segmentation_3d import RESULTS, TARGET, figures, write_table
from segmentation_3d_sources import lesions, write_nifti

SET = "lesions"


def models(run: Path, flat: Path) -> dict[str, LoadedModel]:
    """By the name of a row; each with how it reads volumes."""
    in_space = load_model(run).reading(patches=4)
    ridge = build_learner("pixel_ridge", None, in_space.preprocessing.input_spec, TARGET).eval()
    return {
        "3-D conditioned U-Net": in_space,
        "2-D conditioned U-Net, slice by slice": load_model(flat).reading(slices=8),
        "3-D ridge on pixels, filters": replace(in_space, learner=ridge),
    }


def main() -> None:
    """Leave out each patient in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--flat", type=Path, required=True)
    given = parser.parse_args()
    volumes, rows = lesions(given.data), kept_rows(RESULTS)
    for name, model in models(given.run, given.flat).items():
        if any(row["learner"] == name and row["set"] == SET for row in rows):
            continue
        started, scores = time.perf_counter(), []
        for left in range(len(volumes)):
            scores.append(_marked(model, volumes, left))
            print(
                name, left, round(scores[-1], 3), round(time.perf_counter() - started), flush=True
            )
        found = figures(scores, time.perf_counter() - started)
        rows.append({"learner": name, "set": SET, "shot": 3, **found})
        write_json(RESULTS, rows)
    write_table(rows)


def _marked(model: LoadedModel, volumes: list[tuple[Any, Any]], left: int) -> float:
    """The Dice of one patient, marked by the others."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_nifti(folder / "known", [v for n, v in enumerate(volumes) if n != left])
        write_nifti(folder / "asked", [volumes[left]])
        source = open_mask_source(
            folder / "known", preprocessing=model.preprocessing, cache=folder / "cache"
        )
        predictor = adapt_masks(model, source)
        (one,) = mark_images(predictor, [folder / "asked" / "images"])
    given, truth = one.mask.astype(np.int64), volumes[left][1].astype(np.int64)
    assert given.shape == truth.shape
    return float(overlap(given[None], truth[None], 2, axes=3)["dice"][0, 0])


if __name__ == "__main__":
    main()
