"""Omniglot by its own split, as sources: background characters to train on, the others to test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medmeta.data.source import Source
from medmeta.episode import InputSpec

SPEC = InputSpec(1, (28, 28))


def load_split(path: Path, held_out: int) -> tuple[Source, Source | None, Source]:
    """Background characters to train on, those held out of them, and the evaluation characters."""
    with np.load(path, allow_pickle=False) as archive:
        ink = 255 - archive["images"]
        labels = archive["labels"]
        is_test = archive["class_is_evaluation"].astype(bool)
    background, evaluation = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    order = np.random.Generator(np.random.Philox(key=[0, 1])).permutation(background)
    kept, out = order[held_out:], order[:held_out]
    test = rotated("omniglot-evaluation", ink, labels, evaluation)
    validation = rotated("omniglot-held-out", ink, labels, out) if held_out else None
    return rotated("omniglot-background", ink, labels, kept), validation, test


def rotated(name: str, ink: np.ndarray, labels: np.ndarray, characters: np.ndarray) -> Source:
    """The characters given, in four rotations, each a class of its own."""
    rows = np.flatnonzero(np.isin(labels, characters))
    turned = np.concatenate([np.rot90(ink[rows], k, axes=(1, 2)) for k in range(4)])
    names = [f"{labels[r]:04d}-{90 * k}" for k in range(4) for r in rows]
    return Source.from_arrays(name, np.ascontiguousarray(turned[:, None]), names)
