"""Images to be asked about: files and folders, with their labels where folders tell them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medmeta.app.predictor import Answers, SavedPredictor, joined
from medmeta.app.reading import AskedFiles, Progressed, Reading
from medmeta.data.folder import is_litter
from medmeta.data.manifest import MANIFEST_SUFFIXES
from medmeta.data.preprocess import Preprocessing
from medmeta.errors import DataError
from medmeta.storage import write_bytes


@dataclass(frozen=True)
class AskedImages(AskedFiles):
    """Files with their images, prepared: uint8 ``(Q, C, H, W)``."""

    pixels: NDArray[np.uint8]


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files given, and all files below the folders given, in order, each once.

    Tables in folders are passed over: manifests, and what an earlier call may have written.

    Raises ``DataError`` for a path that is not there, or where no file is left.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = (p for p in sorted(path.rglob("*")) if p.is_file())
            kept = (p for p in inside if not _passed_over(p.relative_to(path)))
            found.update({p: None for p in kept})
        elif path.exists():
            found[path] = None
        else:
            raise DataError(f"{path}: there is no such file or folder; check the name.")
    if not found:
        raise DataError(f"{', '.join(map(str, paths))}: there is no image in it.")
    return list(found)


def _passed_over(path: Path) -> bool:
    """What operating systems leave behind, and the table that may lie beside the images."""
    return path.suffix.lower() in MANIFEST_SUFFIXES or any(is_litter(p) for p in path.parts)


def read_images(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    class_names: Sequence[str] = (),
    *,
    skip_bad: bool = False,
    progress: Progressed | None = None,
) -> AskedImages:
    """Read and prepare images; raises ``UnreadableImageError`` that names those it cannot read.

    With ``skip_bad`` these are left out and listed in ``problems``.
    """
    reading = Reading(find_images(paths), preprocessing, skip_bad=skip_bad, progress=progress)
    with closing(reading.parts(lambda pixels: pixels)) as parts:
        pixels = np.concatenate(list(parts))
    files = reading.files(class_names)
    return AskedImages(files.paths, files.labels, files.problems, pixels)


def answer_images(
    predictor: SavedPredictor,
    paths: Sequence[Path],
    *,
    skip_bad: bool = False,
    progress: Progressed | None = None,
) -> tuple[AskedFiles, Answers]:
    """Read images and answer them; raises as ``read_images`` does, once all were read.

    Files are read and embedded side by side, a core for each part of some images, and no more
    parts than a few are in memory. (Of a transductive learner's all, for they answer together.)
    """
    names, prepared = predictor.class_names, predictor.preprocessing
    if predictor.task.learner.traits.transductive:
        images = read_images(paths, prepared, names, skip_bad=skip_bad, progress=progress)
        return images, predictor.predict(images.pixels)
    reading = Reading(find_images(paths), prepared, skip_bad=skip_bad, progress=progress)
    answers: list[Answers] = []
    parts = reading.parts(
        lambda pixels: (pixels, predictor.embed(pixels)),
        predictor.batch_size,
        light=predictor.task.head_predictor is not None,
    )
    with closing(parts):
        for pixels, embedded in parts:
            whole = predictor.answer(pixels, embedded)
            answers.append(joined(Answers, [whole]))  # without the embeddings
    return reading.files(names), joined(Answers, answers)


def predictions_csv(predictor: SavedPredictor, files: AskedFiles, answers: Answers) -> str:
    """The table that ``medmeta predict`` writes: one row per image, those unread at the end."""
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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, "problem"])
    columns = zip(files.paths, predicted, given, near, strict=True)
    writer.writerows([str(path), said, *p, *n, ""] for path, said, p, n in columns)
    for path, problem in files.problems:
        writer.writerow([str(path), *[""] * (len(header) - 1), problem])
    return text.getvalue()


def write_predictions(
    out: Path, predictor: SavedPredictor, files: AskedFiles, answers: Answers
) -> None:
    """Write the table as a whole or not at all."""
    text = predictions_csv(predictor, files, answers)
    write_bytes(out, text.encode("utf-8", "backslashreplace"))  # a name may hold any bytes
