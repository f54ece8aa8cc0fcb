"""Images to be asked about: files and folders, with their labels where folders tell them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medmeta.app.workbench import Predictions, SavedPredictor
from medmeta.data.folder import is_litter
from medmeta.data.manifest import MANIFEST_SUFFIXES
from medmeta.data.preprocess import Preprocessing, prepare
from medmeta.data.readers import read_image
from medmeta.errors import DataError, UnreadableImageError
from medmeta.storage import write_bytes

SHOWN = 10


@dataclass(frozen=True)
class AskedImages:
    """Prepared images uint8 ``(Q, C, H, W)``, their paths, and what could not be read.

    ``labels`` ``(Q,)``: the class that the image's folder is called by, else -1.
    """

    paths: tuple[Path, ...]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    problems: tuple[tuple[Path, str], ...]


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
    progress: Callable[[int, int], None] | None = None,
) -> AskedImages:
    """Read and prepare images; raises ``UnreadableImageError`` that names those it cannot read.

    With ``skip_bad`` these are left out and listed in ``problems``.
    """
    files = find_images(paths)
    good, pictures, problems = [], [], []
    for number, file in enumerate(files):
        try:
            pictures.append(prepare(read_image(file).pixels, preprocessing))
            good.append(file)
        except UnreadableImageError as error:
            problems.append((file, str(error)))
        if progress is not None:
            progress(number + 1, len(files))
    if problems and (not skip_bad or not good):
        listed = "".join(f"\n  {text}" for _, text in problems[:SHOWN])
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        advice = "Mend or remove them, or leave them out with --skip-bad."
        raise UnreadableImageError(
            f"{len(problems)} of {len(files)} images cannot be read:{listed}{more}\n"
            f"{advice if good else 'None is left; check that these are images.'}"
        )
    code = {name: i for i, name in enumerate(class_names)}
    labels = np.array([code.get(file.parent.name, -1) for file in good], dtype=np.int64)
    return AskedImages(tuple(good), np.stack(pictures), labels, tuple(problems))


def predictions_csv(
    predictor: SavedPredictor, images: AskedImages, predictions: Predictions
) -> str:
    """The table that ``medmeta predict`` writes: one row per image, those unread at the end."""
    names, support = predictor.class_names, predictor.support_names
    m = predictions.nearest.shape[1]
    answers = [f"probability_{name}" for name in names] if names else []
    header = ["path", "predicted", *answers]
    for place in range(1, m + 1):
        header += [f"nearest_{place}", f"similarity_{place}"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, "problem"])
    for row, path in enumerate(images.paths):
        outputs = predictions.outputs[row]
        if names:
            cells = [names[int(outputs.argmax())], *(f"{p:.6f}" for p in outputs)]
        else:
            cells = [f"{outputs[0]:.6g}"]
        for place in range(m):
            cells.append(support[predictions.nearest[row, place]])
            cells.append(f"{predictions.similarity[row, place]:.4f}")
        writer.writerow([str(path), *cells, ""])
    for path, problem in images.problems:
        writer.writerow([str(path), *[""] * (len(header) - 1), problem])
    return text.getvalue()


def write_predictions(
    out: Path, predictor: SavedPredictor, images: AskedImages, predictions: Predictions
) -> None:
    """Write the table as a whole or not at all."""
    text = predictions_csv(predictor, images, predictions)
    write_bytes(out, text.encode("utf-8", "backslashreplace"))  # a name may hold any bytes
