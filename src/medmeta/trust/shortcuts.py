"""What classes can be told by that is not the finding: border, grey levels, files."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medmeta.trust.bounds import share_interval
from medmeta.trust.looks import border, histograms
from medmeta.trust.results import Figure, Shortcut, Shortcuts

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
REPEATS = 3
NEAR = 2 / 3  # of what the real figure has above chance
WORDS = {
    "border": "the image border alone",
    "histogram": "a histogram of 16 grey levels alone",
    "files": "properties of the files alone",
}


def plain_right(features: Array, labels: Numbers, folds: Numbers) -> Array:
    """``(n,)``: how often a ridge classifier on plain features was right, over repeats.

    ``folds`` ``(R, n)``. (In NumPy, for scikit-learn's checks of its input take a hundred times as
    long as the few images do; the tests compare the two.)
    """
    right = np.zeros(len(labels))
    for numbers in folds:
        for fold in np.unique(numbers):
            held = numbers == fold
            answers = ridge_answers(features[~held], labels[~held], features[held])
            right[held] += answers == labels[held]
    return np.asarray(right / len(folds))


def ridge_answers(known: Array, labels: Numbers, asked: Array) -> Numbers:
    """Classes ``(q,)`` by ridge regression on one-hot labels, features standardised.

    The penalty is a tenth of the number of features, at least 1.
    """
    centre, scale = known.mean(0), known.std(0)
    kept = scale > 1e-9 * np.maximum(1.0, np.abs(centre))
    x, q = ((part[:, kept] - centre[kept]) / scale[kept] for part in (known, asked))
    classes = np.unique(labels)
    truth = (labels[:, None] == classes) * 2.0 - 1.0
    penalty = max(1.0, known.shape[1] / 10)
    weights = np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), truth - truth.mean(0))
    return np.asarray(classes[(q @ x.T @ weights + truth.mean(0)).argmax(1)])


def shortcuts(
    pixels: NDArray[np.float32],
    labels: Numbers,
    groups: Numbers,
    folds: Numbers,
    *,
    accuracy: float | None,
    chance: float,
    files: Array | None = None,
) -> Shortcuts:
    """What each shortcut gets on the same folds ``(R, n)`` as the real figure ``accuracy``.

    ``pixels`` are grey levels 0 to 255, ``(n, C, H, W)``; ``files`` ``(n, p)`` what is known of the
    files. One is near where it has two thirds of what the real figure has above chance, and its
    interval lies above chance.
    """
    given: dict[str, Array] = {
        "border": border(pixels).astype(np.float64),
        "histogram": histograms(pixels),
    }
    if files is not None and files.shape[1]:
        given["files"] = files
    tried = []
    for name, features in given.items():
        varied = features[:, np.ptp(features, axis=0) > 0]
        if varied.shape[1]:
            figure, _ = share_interval(plain_right(varied, labels, folds[:REPEATS]), groups)
        else:
            figure = Figure(chance, None, None)  # the same for all: nothing can be told
        tried.append(Shortcut(name, figure, _near(figure, accuracy, chance)))
    near = {s.name: s.accuracy for s in tried if s.near}
    return Shortcuts(accuracy, tuple(tried), bool(near), _text(near, accuracy))


def _near(figure: Figure, accuracy: float | None, chance: float) -> bool:
    if figure.value is None or figure.low is None or figure.low <= chance:
        return False
    if accuracy is None or accuracy <= chance:
        return True
    return (figure.value - chance) >= NEAR * (accuracy - chance)


def _text(near: Mapping[str, Figure], accuracy: float | None) -> str:
    if not near:
        return ""
    found = " and ".join(
        f"{WORDS[name]} gives {100 * (figure.value or 0):.0f} %" for name, figure in near.items()
    )
    beside = "" if accuracy is None else f", beside {100 * accuracy:.0f} % for the whole image"
    return (
        f"The images may tell the classes apart by their source: {found}{beside}. Compare how the "
        "images of each class were taken, cropped and saved before trusting any figure."
    )
