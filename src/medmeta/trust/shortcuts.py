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

    ``folds`` ``(R, n)``; features are standardised within each fold.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    right = np.zeros(len(labels))
    for numbers in folds:
        for fold in np.unique(numbers):
            held = numbers == fold
            strength = max(1.0, features.shape[1] / 10)
            plain = make_pipeline(StandardScaler(), RidgeClassifier(alpha=strength))
            plain.fit(features[~held], labels[~held])
            right[held] += plain.predict(features[held]) == labels[held]
    return np.asarray(right / len(folds))


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
