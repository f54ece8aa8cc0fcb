"""What ``medmeta adapt`` does without being told, beside everything else that could be done.

    python benchmarks/default_model.py                  all rows that are not there yet
    python benchmarks/default_model.py --tasks 20       a quick look; written nowhere

Six collections that the model in the box never saw, all classes with images enough, the same
tasks for every method, no patient or picture on both sides. ``default`` is ``auto`` on the model in the box;
``fixed: ...`` takes one of its candidates for every task; ``all images`` learns from all images but
the fold that is asked about. Written to ``docs/default_model.json`` as it goes on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from default_model_table import write_rows
from default_model_bound import accuracy_from_all_images
from medmeta.app.models import load_model
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.encoders import EncoderConfig
from medmeta.episode import InputSpec, Target
from medmeta.episodes.protocol import Protocol
from medmeta.evaluation.encoded import EncodedSource
from medmeta.evaluation.evaluate import Evaluation, evaluate
from medmeta.evaluation.intervals import paired_difference
from medmeta.learner import HeadedLearner
from medmeta.learners import build_learner, build_on
from page_tables import kept_rows

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "docs" / "default_model.json", ROOT / "docs" / "results.md"
SOURCES = ("busi_breast_us", "wbc1", "ph2", "brain_tumor_mri", "oct_dme", "malaria_cells_iml")
NOT_A_CLASS = {"malaria_cells_iml": "difficult"}
SHOTS = (1, 5, 10)
N_QUERY, TASKS, SEED = 8, 300, 2026
IMAGES = Preprocessing(channels=3, size=64)
SPEC = InputSpec(3, (64, 64))
REFERENCE, DEFAULT = "hog_colour_ridge", "default"
PENALTIES = (0.01, 0.1, 1.0, 10.0)
CHOSEN_ON = ("pbc_blood", "mednist", "pneumonia_cxr")
"""Collections on which ridge's penalty on features without training is chosen."""


@dataclass(frozen=True)
class Method:
    """A row of the table: learners that share an encoder share its embeddings too."""

    name: str
    encoder: str
    build: Callable[[], HeadedLearner]


def source(data: Path, name: str) -> Source:
    """One collection, without what is no class of it."""
    found = open_source(data / f"{name}.npz", preprocessing=IMAGES)
    if name in NOT_A_CLASS:
        kept = [c for c in found.index.class_names if c != NOT_A_CLASS[name]]
        found = found.with_classes(kept)
    return found


def protocol(given: Source, shot: int, tasks: int) -> Protocol:
    """All classes that have images enough for ten shots, so that all shots are of one task."""
    codes = given.index.labels.codes  # type: ignore[union-attr]
    enough = int((np.bincount(codes[codes >= 0]) >= max(SHOTS) + N_QUERY).sum())
    return Protocol(
        n_way=(enough, enough),
        n_shot=(shot, shot),
        n_query=N_QUERY,
        episodes=tasks,
        seed=SEED,
        small_classes="drop",
    )


def methods(data: Path) -> list[Method]:
    """All that are compared but the bound."""
    box = load_model(Path("medmeta-base"))
    classes = Target("classes", 5)

    def ridge(encoder: str) -> Callable[[], HeadedLearner]:
        def build() -> HeadedLearner:
            penalty = _penalty(data, encoder)
            options = {"encoder": {"name": encoder}, "regularisation": penalty}
            return build_learner("ridge", options, SPEC, classes)  # type: ignore[return-value]

        return build

    def on_box(options: dict[str, Any]) -> Callable[[], HeadedLearner]:
        return lambda: build_on(box.learner.encoder, "auto", options, SPEC, classes)  # type: ignore

    rows = [
        Method("border_only", "border", ridge("border")),
        Method("raw_ridge", "pixels", ridge("pixels")),
        Method(REFERENCE, "hog_colour", ridge("hog_colour")),
        Method(DEFAULT, "box", on_box({})),
    ]
    for name in fixed_candidates(box.learner):
        choice = {"members": [name], "temperatures": [1.0]}
        rows.append(Method(f"fixed: {name}", "box", on_box({"choice": choice})))
    return rows
