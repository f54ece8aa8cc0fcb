"""The geometry of a report's drawings; the templates draw them as SVG, so all text is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medmeta.app.report.content import ReportContent
from medmeta.app.report.evaluations import number
from medmeta.app.report.numbers import answers_of
from medmeta.app.report.words import Words

# Okabe and Ito's colours for all kinds of colour vision, without the yellow that white swallows.
# Seven colours and six shapes have no common factor, so 42 classes differ in one or the other.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#222222")
SHAPES = ("circle", "square", "triangle", "diamond", "wedge", "star")
MAX_POINTS = 2000
MAX_KNOTS = 150
WIDTH = 560
MARGIN = 22
MAX_HEIGHT = 460


@dataclass(frozen=True)
class Marker:
    """How a class is drawn."""

    colour: str
    shape: str


def marker(class_index: int) -> Marker:
    """The colour and shape of a class; -1 is a class that is not known.

    >>> marker(8)
    Marker(colour='#d55e00', shape='triangle')
    """
    if class_index < 0:
        return Marker("#6b7280", "circle")
    return Marker(COLOURS[class_index % len(COLOURS)], SHAPES[class_index % len(SHAPES)])


@dataclass(frozen=True)
class Point:
    """One image on the map; ``text`` is what shows under the pointer."""

    x: float
    y: float
    marker: Marker
    wrong: bool
    text: str


@dataclass(frozen=True)
class EmbeddingMap:
    """Where the images lie; ``explained`` are the two axes' shares of the variance."""

    width: int
    height: int
    support: list[Point]
    query: list[Point]
    explained: tuple[float, float]
    left_out: int

    @property
    def wrong(self) -> bool:
        """Whether any answer is marked as wrong."""
        return any(point.wrong for point in self.query)


@dataclass(frozen=True)
class _Image:
    """What the map says of one image, in the order of the embeddings."""

    class_index: int
    wrong: bool
    text: str


def embedding_map(content: ReportContent, words: Words) -> EmbeddingMap | None:
    """The first two principal components of all embeddings; None where nothing could be seen.

    Both axes have one scale, so near on the page is near in the plane. Of very many query images
    ``MAX_POINTS`` evenly spaced ones are drawn.
    """
    support, query = content.support, content.query
    n_query = 0 if query is None else len(query.labels)
    kept = np.unique(np.linspace(0, n_query - 1, min(n_query, MAX_POINTS)).astype(int))
    parts = [] if support is None else [support.embeddings]
    images = _support_images(content, words)
    if query is not None:
        parts.append(query.embeddings[kept])
        images += _query_images(content, kept, words)
    if not parts:
        return None
    embeddings = np.concatenate(parts).astype(np.float64)
    finite = np.asarray(np.isfinite(embeddings).all(1))
    plane = _principal_plane(embeddings[finite])
    if plane is None:
        return None
    places, height = _to_page(plane[0])
    n_support = 0 if support is None else int(finite[: len(support.labels)].sum())
    points = [
        Point(round(float(x), 1), round(float(y), 1), marker(i.class_index), i.wrong, i.text)
        for (x, y), i in zip(places, np.array(images, dtype=object)[finite], strict=True)
    ]
    left_out = n_query - len(kept) + int((~finite).sum())
    return EmbeddingMap(WIDTH, height, points[:n_support], points[n_support:], plane[1], left_out)


def _support_images(content: ReportContent, words: Words) -> list[_Image]:
    support, names = content.support, content.class_names
    if support is None:
        return []
    pairs = zip(support.labels.tolist(), support.names, strict=True)
    return [
        _Image(k, False, words.plain("map.point_support", name=name, class_name=names[k]))
        for k, name in pairs
    ]


def _query_images(content: ReportContent, rows: NDArray[Any], words: Words) -> list[_Image]:
    """Coloured by the true class where it is known, else by the answer."""
    query, names = content.query, content.class_names
    if query is None:
        return []
    answers, _ = answers_of(query)
    images = []
    for row in rows.tolist():
        truth, answer = int(query.labels[row]), int(answers[row])
        key = "map.point_query" if answer >= 0 else "map.point_none"
        text = words.plain(key, name=query.names[row], answer=names[answer])
        if truth >= 0:
            text = words.plain("map.point_true", text=text, class_name=names[truth])
        shown = truth if truth >= 0 else answer
        wrong = truth >= 0 and truth != answer
        images.append(_Image(shown, wrong, text))
    return images


def _principal_plane(
    embeddings: NDArray[np.float64],
) -> tuple[NDArray[np.float64], tuple[float, float]] | None:
    """Places ``(n, 2)`` and each axis's share of the variance, as of a full decomposition.

    By eigenvectors of the smaller of both products, without the second and more that scikit-learn
    takes to import. The largest weight of a component is above zero.
    """
    if len(embeddings) < 3 or not np.ptp(embeddings, axis=0).any():
        return None
    centred = embeddings - embeddings.mean(0)
    wide = centred.shape[1] > len(centred)
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    values = np.maximum(values[::-1][:2], 0)
    vectors = vectors[:, ::-1][:, :2]
    places = vectors * np.sqrt(values) if wide else centred @ vectors
    weights = centred.T @ places
    signs = np.sign(weights[np.abs(weights).argmax(0), range(len(values))])
    shares = [*(values / np.square(centred).sum()).tolist(), 0.0]
    return np.pad(places * signs, ((0, 0), (0, 2 - len(values)))), (shares[0], shares[1])


def _to_page(plane: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Places in the drawing with one scale for both axes, and the height they need."""
    low, size = plane.min(0), np.ptp(plane, axis=0)
    scale = (WIDTH - 2 * MARGIN) / size[0]
    if size[1] * scale > MAX_HEIGHT - 2 * MARGIN:
        scale = (MAX_HEIGHT - 2 * MARGIN) / size[1]
    height = int(max(size[1] * scale, 120)) + 2 * MARGIN
    centre = low + size / 2
    x = WIDTH / 2 + (plane[:, 0] - centre[0]) * scale
    y = height / 2 - (plane[:, 1] - centre[1]) * scale
    return np.stack([x, y], 1), height


@dataclass(frozen=True)
class Panel:
    """One curve: ``line`` as SVG points, ticks as ``(place, text)``, ``best`` as a place."""

    title: str
    line: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    best: tuple[float, float] | None
    note: str
    left: ClassVar[int] = 52
    right: ClassVar[int] = WIDTH - 28
    top: ClassVar[int] = 12
    bottom: ClassVar[int] = 168


def learning_curve(curve: Sequence[Mapping[str, Any]], words: Words) -> list[Panel]:
    """Panels of the training loss and of the validation score, each where it was logged."""
    panels = []
    for name in ("loss", "validation"):
        pairs = [(number(line.get("step")), number(line.get(name))) for line in curve]
        known = np.array([pair for pair in pairs if all(map(math.isfinite, pair))])
        if len(known) >= 2 and np.ptp(known[:, 0]) > 0:
            known = known[known[:, 0].argsort(kind="stable")]
            panels.append(_panel(name, known, words))
    return panels


def _panel(name: str, known: NDArray[np.float64], words: Words) -> Panel:
    marks_best = name == "validation"
    knots = known if marks_best else _binned(known)
    (x_low, y_low), (x_high, y_high) = knots.min(0), knots.max(0)
    pad = 0.08 * (y_high - y_low) or 0.5
    y_low, y_high = y_low - pad, y_high + pad

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low)
        up = (y - y_low) / (y_high - y_low)
        return (
            round(Panel.left + across * (Panel.right - Panel.left), 1),
            round(Panel.bottom - up * (Panel.bottom - Panel.top), 1),
        )

    best, note = None, ""
    if marks_best:
        top = knots[knots[:, 1].argmax()]
        best = place(*top)
        note = words.plain("training.best", value=f"{top[1]:.3g}", step=f"{int(top[0]):,}")
    return Panel(
        title=words.plain(f"training.{name}"),
        line=" ".join(f"{x},{y}" for x, y in (place(*knot) for knot in knots)),
        x_ticks=[(place(x, y_low)[0], f"{x:,.0f}") for x in nice_ticks(x_low, x_high)],
        y_ticks=[(place(x_low, y)[1], f"{y:.6g}") for y in nice_ticks(y_low, y_high)],
        best=best,
        note=note,
    )


def _binned(known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over runs of neighbouring steps: a loss per step is mostly noise."""
    if len(known) <= MAX_KNOTS:
        return known
    return np.array([part.mean(0) for part in np.array_split(known, MAX_KNOTS)])


def nice_ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Round numbers between two ends, about ``n`` of them.

    >>> nice_ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    raw = (high - low) / n
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]
