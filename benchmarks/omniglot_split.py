"""Omniglot's split as sources: characters to train on, those held out of them, those to test."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np

from medmeta.data.source import Source
from medmeta.episode import InputSpec

SPEC = InputSpec(1, (28, 28))

Split = Literal["alphabets", "characters"]
"""Omniglot's own, by alphabets; or 1,200 characters at random and the others, as in the papers."""
SPLITS: tuple[Split, ...] = get_args(Split)
PAPERS_SHARE = 1200 / 1623
"""Of the characters, those that the papers on MAML and Reptile train on."""


def load_split(
    path: Path, held_out: int, split: Split = "alphabets"
) -> tuple[Source, Source | None, Source]:
    """Characters to train on, those held out of them, and the characters of the test.

    By ``alphabets`` the test's are of alphabets that no training character comes from; by
    ``characters`` most alphabets are on both sides.
    """
    with np.load(path, allow_pickle=False) as archive:
        ink = 255 - archive["images"]
        labels = archive["labels"]
        is_test = archive["class_is_evaluation"].astype(bool)
    if split == "characters":
        drawn = np.random.Generator(np.random.Philox(key=[0, 2])).permutation(len(is_test))
        is_test = np.isin(np.arange(len(is_test)), drawn[round(PAPERS_SHARE * len(is_test)) :])
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
