"""Patients to be asked about, named by a table: their modalities and records."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medmeta.app.images import AskedImages, read_images
from medmeta.app.predictor import Answers, SavedPredictor
from medmeta.app.reading import Progressed
from medmeta.data.manifest_table import MANIFEST_SUFFIXES
from medmeta.data.preprocess import Preprocessing
from medmeta.data.sources import open_source, row_name
from medmeta.errors import DataError, SettingsError
from medmeta.input_parts import RECORD

NO_GROUP = "--group goes with a predictor of single pictures."


def needs_table(preprocessing: Preprocessing) -> bool:
    """Whether inputs are more than a picture, so that only a table can name them."""
    return bool(preprocessing.modalities and preprocessing.has_picture) or preprocessing.has_record


def answer_table(
    predictor: SavedPredictor,
    paths: Sequence[Path],
    *,
    skip_bad: bool = False,
    group: str | None = None,
    progress: Progressed | None = None,
) -> tuple[AskedImages, Answers]:
    """Read the patients of a manifest and answer them; raises as ``read_table`` does."""
    if group is not None:
        raise SettingsError(NO_GROUP)
    asked = read_table(
        paths,
        predictor.preprocessing,
        predictor.class_names,
        skip_bad=skip_bad,
        progress=progress,
    )
    prepared = predictor.preprocessing
    if prepared.record is not None and prepared.has_record:
        new = prepared.record.without_example(predictor.beside[RECORD], asked.beside[RECORD])
        asked = replace(asked, notes=(*asked.notes, *new))
    return asked, predictor.predict(asked.pixels, asked.beside)


def read_table(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    class_names: Sequence[str],
    *,
    skip_bad: bool = False,
    progress: Progressed | None = None,
) -> AskedImages:
    """The patients of a manifest, whose labels need not be known; nothing is kept in the cache.

    Raises ``DataError`` where not one manifest is given, or as ``open_source`` does.
    """
    if len(paths) != 1 or paths[0].suffix.lower() not in MANIFEST_SUFFIXES:
        what = [*preprocessing.modalities] if preprocessing.has_picture else []
        what += (
            preprocessing.record.names if preprocessing.record and preprocessing.has_record else []
        )
        raise DataError(
            f"{', '.join(map(str, paths))}: this predictor learned from {', '.join(what)}; name "
            "one manifest (.csv, .tsv, .parquet) that has these columns, a row for each patient."
        )
    with tempfile.TemporaryDirectory(prefix="medmeta-") as nowhere:
        source = open_source(
            paths[0],
            preprocessing=preprocessing,
            cache=Path(nowhere),
            skip_bad=skip_bad,
            progress=progress,
            labelled=False,
        )
        pixels = source.gather(np.arange(len(source)))
    index = source.index
    code = {name: number for number, name in enumerate(class_names)}
    given = index.labels.texts() if index.labels is not None else [None] * len(index)
    names = [row_name(index, row) for row in range(len(index))]
    problems = [(paths[0], f"{p.where}: {p.what}") for p in index.problems if p.left_out]
    return AskedImages(
        paths=tuple(Path(name) for name in names),
        labels=np.array([-1 if t is None else code.get(t, -1) for t in given], dtype=np.int64),
        problems=tuple(problems),
        counts=np.ones(len(index), dtype=np.int64),
        notes=tuple(p.what for p in index.problems if not p.left_out),
        pixels=pixels,
        beside=source.beside,
    )


def read_asked(
    predictor: SavedPredictor,
    paths: Sequence[Path],
    *,
    group: str | None = None,
    skip_bad: bool = False,
    progress: Progressed | None = None,
) -> AskedImages:
    """What is asked about: images of files or folders, or the patients of a manifest."""
    names, prepared = predictor.class_names, predictor.preprocessing
    if needs_table(prepared):
        if group is not None:
            raise SettingsError(NO_GROUP)
        return read_table(paths, prepared, names, skip_bad=skip_bad, progress=progress)
    return read_images(
        paths,
        prepared,
        names,
        skip_bad=skip_bad,
        grey_table=predictor.grey_table(group),
        progress=progress,
    )
