"""What ``medmeta adapt`` and ``medmeta predict`` do where structures are marked."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from medmeta.app.terminal import (
    check_new,
    command_line,
    emit_json,
    say,
    show_facts,
    show_table,
    waiting,
)
from medmeta.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from medmeta.app.mask_files import WrittenMask
    from medmeta.app.mask_predictor import SavedMaskPredictor
    from medmeta.data.preprocess import Preprocessing
    from medmeta.data.source import Source
    from medmeta.evaluation.evaluate import Evaluation

CLASSIFICATION, SEGMENTATION = "classification", "segmentation"

CleanMasks = Annotated[
    bool, typer.Option("--clean-masks", help="Cut masks of grey levels (JPEG) at half.")
]
MaskFormat = Annotated[
    str, typer.Option("--format", help="Of masks: auto, png, nifti or dicom-seg.")
]
Overlays = Annotated[bool, typer.Option("--overlays", help="Of masks: pictures with outlines too.")]
Uncertainty = Annotated[
    bool, typer.Option("--uncertainty", help="Of masks: maps of doubt, and the Dice to expect.")
]
Tiles = Annotated[
    bool, typer.Option("--tiles", help="Of masks: large pictures in parts, at their own scale.")
]
Measure = Annotated[
    bool, typer.Option("--measure", help="Of masks: hold them against those of images and masks.")
]
InMm = Annotated[bool, typer.Option("--in-mm", help="Of masks: insist on areas in mm² or mm³.")]


def learn_masks(
    learn: Callable[..., SavedMaskPredictor],
    preprocessing: Preprocessing,
    support: Path,
    out: Path,
    *,
    seed: int,
    skip_bad: bool,
    split: str,
    clean: bool,
    estimate: bool,
    as_json: bool,
) -> None:
    """Learn to mark what is marked in a support, save the predictor and tell of it.

    ``learn(source, seed=…, estimate=…, progress=…)`` makes the predictor.
    """
    from medmeta.app.held_out_masks import HELD_OUT, sentences
    from medmeta.app.mask_choice import TRIED, told
    from medmeta.app.prepared import prepared
    from medmeta.data.mask_sources import open_mask_source
    from medmeta.data.patients import unknown_patients

    opened = open_mask_source(support, preprocessing=preprocessing, skip_bad=skip_bad, clean=clean)
    (source,) = prepared([opened], split=split, standardise="").sources
    notes = [f"{p.where}: {p.what}" for p in source.index.problems]
    if unknown := unknown_patients(source.index):
        notes.append(f"{unknown}: use images of different patients, and ask about others.")
    started = time.perf_counter()
    with waiting() as progress:
        told_of = partial(progress, "learning to mark")
        predictor = learn(source, seed=seed, estimate=estimate, progress=told_of)
    if TRIED in predictor.card:
        notes.insert(0, told(predictor))
    digest = predictor.save(out)
    seconds = time.perf_counter() - started
    counts = {
        name: int((predictor.masks == value).reshape(len(source), -1).any(1).sum())
        for value, name in enumerate(predictor.structures, start=1)
    }
    if as_json:
        emit_json(
            {
                "predictor": str(out),
                "sha256": digest,
                "learner": predictor.card["learner"],
                "structures": counts,
                "images": len(source),
                "seconds": round(seconds, 3),
                "held_out": predictor.card.get(HELD_OUT, []),
                "choice": [
                    {"learner": name, "dice": dice}
                    for name, dice in predictor.card.get(TRIED, {}).items()
                ],
                "notes": notes,
            }
        )
        return
    facts = {
        "predictor": out,
        "learner": predictor.card["learner"],
        "learned from": learned_from(source, preprocessing),
        "structures": ", ".join(f"{name} (in {n})" for name, n in counts.items()),
        "seconds": f"{seconds:.2f}",
        "SHA-256 of its card": digest,
    }
    show_facts("Adapted", facts)
    for note in [*(sentences(predictor.card) if estimate else ()), *notes]:
        say(note)
    say(f"Next: {command_line('predict', out)} IMAGES --out masks")


def learned_from(source: Source, preprocessing: Preprocessing) -> str:
    """How many images with masks there are, in words."""
    if preprocessing.patches:
        return f"{len(source)} patches of {source.n_volumes} volumes with masks"
    return f"{len(source)} {'volumes' if preprocessing.depth else 'images'} with masks"


def mark(
    predictor: Path,
    images: list[Path],
    out: Path,
    *,
    form: str,
    overlays: bool,
    uncertainty: bool,
    tiles: bool,
    in_mm: bool,
    measure: bool,
    allow_external: bool,
    expect_sha256: str | None,
    as_json: bool,
) -> None:
    """Mark images, write the masks and tell of them."""
    from medmeta.app.mask_answers import mark_images
    from medmeta.app.mask_files import Format, write_masks
    from medmeta.app.mask_workbench import load_mask_predictor
    from medmeta.app.measured_masks import groups_of, in_all, measured_images, true_masks

    if form not in get_args(Format):
        raise SettingsError(f"--format {form}: choose {', '.join(get_args(Format))}.")
    check_new(out)
    loaded = load_mask_predictor(
        predictor, expected_sha256=expect_sha256, allow_external=allow_external
    )
    if measure and len(images) != 1:
        raise SettingsError("--measure: name one folder of images and masks, or one manifest.")
    truth = true_masks(loaded, images[0]) if measure else None
    how = {"uncertainty": uncertainty, "tiles": tiles, "in_mm": in_mm}
    with waiting() as progress:
        told = partial(progress, "marking")
        if truth is None:
            marked = mark_images(loaded, images, **how, progress=told)
        else:
            marked = measured_images(loaded, truth, **how, progress=told)
        chosen: Any = form
        rows = write_masks(out, marked, loaded.structures, form=chosen, overlays=overlays)
    found = None
    if truth is not None:
        found = in_all([row.measured for row in rows], loaded.structures, groups_of(truth))
    _tell(out, rows, found, as_json=as_json)


def _tell(
    out: Path, rows: list[WrittenMask], found: list[dict[str, Any]] | None, *, as_json: bool
) -> None:
    if as_json:
        listed = [_row(row) for row in rows]
        emit_json({"masks": str(out), "images": listed, "measured": found})
        return
    table = []
    for row in rows:
        for name, pixels, size, sure, expected in row.sizes:
            unit = "mm²" if row.slices == 1 else "mm³"
            table.append(
                [
                    row.file, name, pixels, "–" if size is None else f"{size:.4g} {unit}",
                    "–" if sure != sure else f"{sure:.2f}",
                    "–" if expected is None or expected != expected else f"{expected:.2f}",
                ]
            )  # fmt: skip
    header = ["mask", "structure", "pixels", "size", "confidence", "Dice to expect"]
    show_table("Masks", header, table)
    if found is not None:
        _show_measured(found)
    written = "1 mask and its table" if len(rows) == 1 else f"{len(rows)} masks and their table"
    say(f"{written} are in {out}")


COLUMNS = {
    "dice": "Dice",
    "iou": "IoU",
    "hd95": "HD95",
    "surface_dice": "surface Dice",
    "size_error": "size error",
    "area_error": "size error",
    "centreline_dice": "clDice",
}


def _show_measured(found: list[dict[str, Any]]) -> None:
    """Against the truth, by structure; lengths in mm where the size of pixels is known."""
    table = [
        [row["structure"], row[name]["images"], COLUMNS[name], _interval(**row[name])]
        for row in found
        for name in COLUMNS
        if name in row
    ]
    header = ["structure", "images", "measure", "mean [95 % interval]"]
    show_table("Against the truth", header, table)


def show_structures(evaluations: list[Evaluation]) -> None:
    """What was measured of masks, by structure; nothing of classes and values."""
    table = [
        [one.source, structure, one.protocol.n_shot[0], of.tasks, COLUMNS[name],
         _interval(of.mean, of.low, of.high)]
        for one in evaluations
        for structure, found in one.structures.items()
        for name, of in found.items()
    ]  # fmt: skip
    if table:
        header = ["source", "structure", "shot", "tasks", "measure", "mean [95 % interval]"]
        show_table("By structure", header, table)


def _interval(mean: float | None, low: float | None, high: float | None, **_: object) -> str:
    if mean is None or mean != mean:
        return "–"
    between = "" if low is None or high is None or low != low else f" [{low:.2f}, {high:.2f}]"
    return f"{mean:.2f}{between}"


def _row(row: WrittenMask) -> dict[str, Any]:
    structures = [
        {
            "structure": name,
            "pixels": pixels,
            "size_mm": size,
            "confidence": None if sure != sure else sure,
            "expected_dice": None if expected != expected else expected,
        }
        for name, pixels, size, sure, expected in row.sizes
    ]
    return {
        "path": str(row.path), "mask": row.file, "slices": row.slices, "structures": structures
    }  # fmt: skip
