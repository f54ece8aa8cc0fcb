"""Labelling one image after the other: what is suggested against a random choice."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from medmeta.data.source import Source
from medmeta.episode import LabelledSet, Target
from medmeta.evaluation.metrics import softmax
from medmeta.trust.suggest import suggest
from trust_measuring import Sources

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
POOL = 200
BATCH = 5
ROUNDS = 6
LEAST = 20  # images of a class


def compared_areas(data: Sources, name: str, n: int, seed: int) -> Array:
    """``(n,)``: mean balanced accuracy over the rounds of labelling, suggested less random.

    Each starts from one labelled image of every class; five are labelled in each of six rounds, of
    200. Both are tested on the same other images, and no group is on both sides.
    """
    source = data.sources[name]
    found = []
    for number in range(n):
        random = np.random.default_rng([seed, number])
        rows, labels, test, truth = _parted(source, random)
        start = np.array([random.choice(np.flatnonzero(labels == k)) for k in np.unique(labels)])
        curves = [
            _curve(data, name, (rows, labels), (test, truth), start, chosen, random)
            for chosen in ("suggested", "random")
        ]
        found.append(np.mean(curves[0]) - np.mean(curves[1]))
    return np.array(found)


def _parted(
    source: Source, random: np.random.Generator
) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """A pool to label and the images to test on, with the labels of both."""
    codes = source.index.labels.codes if source.index.labels is not None else np.zeros(0, int)
    large = np.flatnonzero(np.bincount(codes) >= LEAST)
    groups = source.groups
    side = random.permutation(int(groups.max()) + 1) % 2
    able = np.isin(codes, large)
    pool = np.flatnonzero(able & (side[groups] == 0))
    test = np.flatnonzero(able & (side[groups] == 1))
    pool = random.permutation(pool)[:POOL]
    first = [
        random.choice(np.flatnonzero(able & (side[groups] == 0) & (codes == k))) for k in large
    ]
    pool = np.unique(np.concatenate([pool, first]))
    number = np.full(int(codes.max()) + 1, -1)
    number[large] = np.arange(len(large))
    return pool, number[codes[pool]], test, number[codes[test]]


def _curve(
    data: Sources,
    name: str,
    pool: tuple[Numbers, Numbers],
    test: tuple[Numbers, Numbers],
    start: Numbers,
    chosen: str,
    random: np.random.Generator,
) -> list[float]:
    """Balanced accuracy after each round."""
    (rows, labels), (asked, truth) = pool, test
    embeddings, others = data.embeddings(name, rows), data.embeddings(name, asked)
    held = list(start)
    found = []
    for _ in range(ROUNDS):
        head = data.learner.head.adapt(
            LabelledSet(
                embeddings[:, held], torch.from_numpy(labels[held])[None], torch.tensor([0])
            ),
            Target("classes", int(labels.max()) + 1),
        )
        with torch.no_grad():
            free = np.setdiff1d(np.arange(len(rows)), held)
            probabilities = softmax(head(embeddings[:, free])[0].numpy().astype(float))
            answers = head(others)[0].argmax(1).numpy()
        found.append(float(np.mean([(answers == k)[truth == k].mean() for k in np.unique(truth)])))
        if chosen == "random":
            held += random.choice(free, BATCH, replace=False).tolist()
        else:
            points = embeddings[0].numpy().astype(float)
            picked = suggest(points[held], points[free], probabilities, BATCH).images
            held += free[list(picked)].tolist()
    return found
