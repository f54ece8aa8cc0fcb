"""Images to be asked about: files and folders, with their labels where folders tell them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medmeta.app.asked import find_asked
from medmeta.app.pooling import pooled
from medmeta.app.predictor import Answers, Beside, SavedPredictor, joined
from medmeta.app.reading import AskedFiles, Progressed, Reading
from medmeta.data.preprocess import Preprocessing, as_pictures
from medmeta.episode import Inputs
from medmeta.storage import write_bytes
from medmeta.trust.novelty import ALL_REASONS


@dataclass(frozen=True)
class AskedImages(AskedFiles):
    """Files with their images, prepared: uint8 ``(q, C, H, W)``, of a volume its slices.

    ``beside`` float32 ``(q, D)`` by name is what is known of each besides.
    """

    pixels: NDArray[np.uint8] = field(kw_only=True)
    beside: Beside = field(kw_only=True, default_factory=dict)

    @property
    def shown(self) -> NDArray[np.uint8]:
        """``(Q, C, H, W)``: the picture, or the middle one of the slices or of a volume."""
        middles: NDArray[np.uint8] = self.pixels[np.cumsum(self.counts) - self.counts // 2 - 1]
        return as_pictures(middles)


def read_images(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    class_names: Sequence[str] = (),
    *,
    skip_bad: bool = False,
    grey_table: NDArray[np.uint8] | None = None,
    progress: Progressed | None = None,
) -> AskedImages:
    """Read and prepare images; raises ``UnreadableImageError`` that names those it cannot read.

    With ``skip_bad`` these are left out and listed in ``problems``. ``grey_table`` ``(256,)`` is
    what their grey levels become.
    """
    reading = _reading(paths, preprocessing, skip_bad=skip_bad, progress=progress)
    with closing(reading.parts(lambda pixels: pixels)) as parts:
        pixels = np.concatenate(list(parts))
    files = reading.files(class_names)
    return AskedImages(**vars(files), pixels=_levelled(pixels, grey_table))


def _levelled(pixels: NDArray[np.uint8], grey_table: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    return pixels if grey_table is None else grey_table[pixels]


def _reading(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    *,
    skip_bad: bool,
    progress: Progressed | None,
) -> Reading:
    found = find_asked(paths, signals=bool(preprocessing.samples), tiled=preprocessing.tiled)
    return Reading(
        found.asked,
        preprocessing,
        skip_bad=skip_bad,
        problems=found.problems,
        progress=progress,
    )


def answer_images(
    predictor: SavedPredictor,
    paths: Sequence[Path],
    *,
    skip_bad: bool = False,
    group: str | None = None,
    progress: Progressed | None = None,
) -> tuple[AskedFiles, Answers]:
    """Read images and answer them; raises as ``read_images`` does, once all were read.

    ``group`` is that of the images, for a predictor that brings groups' grey levels together.

    A volume has one answer, pooled from those of its slices. Files are read and embedded side by
    side, a core for each part of some images, and no more parts than a few are in memory. (Of a
    transductive learner's all, for they answer together.)
    """
    names, prepared = predictor.class_names, predictor.preprocessing
    table = predictor.grey_table(group)
    if predictor.task.learner.traits.transductive:
        images = read_images(
            paths, prepared, names, skip_bad=skip_bad, grey_table=table, progress=progress
        )
        return images, pooled(predictor.predict(images.pixels), images.counts)
    reading = _reading(paths, prepared, skip_bad=skip_bad, progress=progress)
    answers: list[Answers] = []

    def embedded_by(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Inputs]:
        shown = _levelled(pixels, table)
        return shown, predictor.embed(shown)

    parts = reading.parts(
        embedded_by,
        predictor.batch_size,
        light=predictor.task.head_predictor is not None,
    )
    with closing(parts):
        for pixels, embedded in parts:
            whole = predictor.answer(pixels, embedded)
            answers.append(joined(Answers, [whole]))  # without the embeddings
    files = reading.files(names)
    return files, pooled(joined(Answers, answers), files.counts)


def predictions_csv(predictor: SavedPredictor, files: AskedFiles, answers: Answers) -> str:
    """The table that ``medmeta predict`` writes: one row per image, those unread at the end.

    A volume is one row; where there are any, the column ``slices`` says how many were averaged.
    """
    names, support = predictor.class_names, predictor.support_names
    n_near = answers.nearest.shape[1]
    header = ["path", "predicted", *(f"probability_{name}" for name in names)]
    for place in range(1, n_near + 1):
        header += [f"nearest_{place}", f"similarity_{place}"]
    outputs = answers.outputs.tolist()  # plain numbers, which are formatted several times faster
    if names:
        predicted = [names[i] for i in answers.outputs.argmax(1).tolist()]
        given = [[f"{p:.6f}" for p in row] for row in outputs]
    else:
        predicted = [f"{row[0]:.6g}" for row in outputs]
        given = [[] for _ in outputs]
    near = [
        [cell for i, s in zip(*pair, strict=True) for cell in (support[i], f"{s:.4f}")]
        for pair in zip(answers.nearest.tolist(), answers.similarity.tolist(), strict=True)
    ]
    trusted, columns_of_trust = trust_cells(answers, names)
    header += columns_of_trust
    counted = [[str(n)] if files.volumes else [] for n in files.counts.tolist()]
    header += ["slices"] if files.volumes else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, "problem"])
    columns = zip(files.paths, predicted, given, near, trusted, counted, strict=True)
    writer.writerows([str(path), said, *p, *n, *t, *c, ""] for path, said, p, n, t, c in columns)
    for path, problem in files.problems:
        writer.writerow([str(path), *[""] * (len(header) - 1), problem])
    return text.getvalue()


def trust_cells(answers: Answers, names: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Cells of each answer's novelty and set, and the names of their columns."""
    cells: list[list[str]] = [[] for _ in range(len(answers.outputs))]
    header: list[str] = []
    if answers.novelty is not None and answers.reason is not None:
        header += ["novelty", "novel_because"]
        found = zip(cells, answers.novelty.tolist(), answers.reason.tolist(), strict=True)
        for row, novelty, reason in found:
            row += [f"{novelty:.3f}", ALL_REASONS[reason]]
    if answers.sets is not None:
        header += ["set"]
        for row, inside in zip(cells, answers.sets.tolist(), strict=True):
            row.append(" | ".join(n for n, held in zip(names, inside, strict=True) if held))
    return cells, header


def write_predictions(
    out: Path, predictor: SavedPredictor, files: AskedFiles, answers: Answers
) -> None:
    """Write the table as a whole or not at all."""
    text = predictions_csv(predictor, files, answers)
    write_bytes(out, text.encode("utf-8", "backslashreplace"))  # a name may hold any bytes
