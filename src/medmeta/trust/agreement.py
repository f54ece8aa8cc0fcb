"""Several readers' labels of the same images: how far they agree, and what they say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medmeta.trust.results import Agreement, defined

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
PREFIX = "reader"


def reader_columns(names: Sequence[str]) -> list[str]:
    """Columns that hold a reader's labels: ``reader``, ``reader_1``, ``reader b`` and so on.

    >>> reader_columns(["site", "reader_1", "reader_2", "readership"])
    ['reader_1', 'reader_2']
    """
    found = [n for n in names if n == PREFIX or n.startswith((f"{PREFIX}_", f"{PREFIX} "))]
    numbered = [n for n in names if n.startswith(PREFIX) and n[len(PREFIX) :].isdigit()]
    return sorted({*found, *numbered})


def codes_of(readings: Mapping[str, Sequence[str | None]], class_names: Sequence[str]) -> Numbers:
    """Classes ``(readers, n)`` by number; -1 where a reader said nothing.

    What a reader calls by another name is a further class.
    """
    names = [*class_names]
    for texts in readings.values():
        names += sorted({t for t in texts if t is not None} - set(names))
    code = {name: i for i, name in enumerate(names)}
    return np.array(
        [[-1 if t is None else code[t] for t in texts] for texts in readings.values()],
        dtype=np.int64,
    )


def vote_shares(codes: Numbers, n_classes: int) -> Array:
    """``(n, K)``: the share of an image's readers for each class; zeros where none has read it.

    >>> vote_shares(np.array([[0], [0], [1], [-1]]), 2).round(2).tolist()
    [[0.67, 0.33]]
    """
    votes = np.stack([(codes == k).sum(0) for k in range(n_classes)], axis=1).astype(np.float64)
    return np.asarray(votes / np.maximum((codes >= 0).sum(0), 1)[:, None])


def majority(codes: Numbers, given: Numbers, n_classes: int) -> Numbers:
    """The class that most readers name, ``(n,)``; the given one where there is a tie or nobody.

    >>> majority(np.array([[1, 0], [1, 1]]), np.array([0, 0]), 2).tolist()
    [1, 0]
    """
    shares = vote_shares(codes, n_classes)
    best = shares.max(1)
    clear = (np.isclose(shares, best[:, None]).sum(1) == 1) & (best > 0)
    return np.where(clear, shares.argmax(1), given)


def agreement(
    readings: Mapping[str, Sequence[str | None]], given: Numbers, class_names: Sequence[str]
) -> Agreement:
    """Cohen's kappa of each pair of readers (scikit-learn), Fleiss' of all, and disputed images.

    An image is disputed where its given label has not more than half of its readers.
    """
    from sklearn.metrics import cohen_kappa_score

    codes, readers = codes_of(readings, class_names), tuple(readings)
    kappas: dict[str, float | None] = {}
    for i, first in enumerate(readers):
        for j in range(i + 1, len(readers)):
            both = (codes[i] >= 0) & (codes[j] >= 0)
            a, b = codes[i][both], codes[j][both]
            varied = len(np.unique(np.concatenate([a, b]))) > 1
            kappa = defined(cohen_kappa_score(a, b)) if varied else None
            kappas[f"{first}, {readers[j]}"] = kappa
    read = (codes >= 0).any(0)
    shares = vote_shares(codes, int(codes.max(initial=-1)) + 1 or 1)
    width = max(shares.shape[1], int(given.max(initial=0)) + 1)
    padded = np.zeros((len(shares), width))
    padded[:, : shares.shape[1]] = shares
    disputed = read & (padded[np.arange(len(given)), given] <= 0.5)
    return Agreement(
        readers,
        int(read.sum()),
        kappas,
        fleiss_kappa(codes),
        tuple(np.flatnonzero(disputed).tolist()),
    )


def fleiss_kappa(codes: Numbers) -> float | None:
    """Fleiss 1971, of the images that all readers have read; None where it is not defined."""
    whole = codes[:, (codes >= 0).all(0)]
    readers, n = whole.shape
    if readers < 2 or n < 1:
        return None
    votes = np.stack([(whole == k).sum(0) for k in np.unique(whole)], axis=1)
    agreed = float(((votes**2).sum(1) - readers).mean() / (readers * (readers - 1)))
    by_chance = float(np.square(votes.sum(0) / votes.sum()).sum())
    return None if by_chance >= 1 - 1e-12 else (agreed - by_chance) / (1 - by_chance)
