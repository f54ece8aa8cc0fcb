"""Trains the learner of masks that comes with the package, on what may be passed on alone.

    python benchmarks/mask_box.py --data shared/data --out runs/mask-box

Nuclei (dsb2018, CC0), membranes (MIT) and masses in mammograms (MIAS, CC BY), made-up anatomies,
and superpixels of blood cells, CT, MRI and X-rays (CC BY, CC BY-SA) and of made-up pictures of six
modalities. None of the structures of ``docs/segmentation.json`` is among them, nor any other
picture of their collections. First at 64×64, then, for less long, at 128×128; each phase goes on
where it was stopped. ``mask_box_pack.py`` makes the folder that comes with the package of it.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from medmeta.app.models import load_model
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.data.superpixel_structures import superpixel_structures
from medmeta.data.synthetic import synthetic_sources
from medmeta.data.synthetic_structures import synthetic_structures
from medmeta.episode import InputSpec
from medmeta.learners import build_learner, configuration
from medmeta.training.checkpoint import newest_checkpoint_card
from segmentation_sources import COLLECTION, Folders, of_family
from segmentation_training import TARGET, Schedule, fit

LEARNER, SIZES, SHOTS, QUERIES = "conditioned_unet", (64, 128), (1, 6), 1
MARKED = ("dsb2018_nuclei", "em_membrane")
OF_COLLECTION = "MIAS-Mammogram"
UNMARKED = ("pbc_blood", "mednist", "pneumonia_cxr")
PICTURES, MADE_PICTURES, COPIES = 600, 240, 8
ANATOMIES, SEEDS = 200, (11, 12, 13, 14)


def sources_of(data: Path, cache: Path, size: int) -> list[Source]:
    """What is learned from; nothing else may be."""
    found = marked(data, cache, size)
    with ProcessPoolExecutor() as pool:
        draw = partial(synthetic_structures, ANATOMIES, images=COPIES, size=size)
        jobs = [pool.submit(superpixels, data, size), pool.submit(superpixels_of_made, size)]
        jobs += [pool.submit(draw, seed=seed) for seed in SEEDS]
        names = ["superpixels", "superpixels-made", *(f"anatomies-{seed}" for seed in SEEDS)]
        return found + [_named(job.result(), n) for job, n in zip(jobs, names, strict=True)]


def marked(data: Path, cache: Path, size: int) -> list[Source]:
    """Real pictures with masks."""
    folders = Folders(data, cache)
    masses = of_family(folders.opened(COLLECTION, size), OF_COLLECTION)
    return [*(folders.opened(name, size) for name in MARKED), _named(masses, OF_COLLECTION)]


def unmarked(data: Path, size: int) -> list[Source]:
    """Real pictures that have classes, and no masks."""
    images = Preprocessing(channels=3, size=size)
    paths = (data / "classification" / f"{name}.npz" for name in UNMARKED)
    return [open_source(path, preprocessing=images) for path in paths]


def superpixels(data: Path, size: int) -> Source:
    """Of pictures without masks."""
    return superpixel_structures(unmarked(data, size), PICTURES, images=COPIES, seed=1)


def superpixels_of_made(size: int) -> Source:
    """Of made-up pictures of six modalities."""
    made = synthetic_sources(images_per_class=10, size=size, channels=3, seed=1)
    return superpixel_structures(made, MADE_PICTURES, images=COPIES, seed=2)


def _named(source: Source, name: str) -> Source:
    return replace(source, index=replace(source.index, name=name))


def main() -> None:
    """Train, or go on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, nargs=2, default=[20000, 3500])
    parser.add_argument("--rate", type=float, nargs=2, default=[2e-3, 1e-3])
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    config = configuration(LEARNER, {}, kind="masks")
    before: Path | None = None
    for size, steps, rate in zip(SIZES, given.steps, given.rate, strict=True):
        run = given.out / f"mask-box-{size}"
        torch.manual_seed(0)
        learner = build_learner(LEARNER, config, InputSpec(3, (size, size)), TARGET)
        if before is not None and newest_checkpoint_card(run) is None:
            learner.load_state_dict(load_model(before).learner.state_dict())
        sources = sources_of(given.data, given.out / "cache", size)
        schedule = Schedule(steps, rate, SHOTS, QUERIES, given.device)
        fit(learner.to(given.device), config, run, size, sources, schedule)
        before = run


if __name__ == "__main__":
    main()
