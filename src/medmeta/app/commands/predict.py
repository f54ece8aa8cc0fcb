"""``medmeta predict``: a predictor's answers to images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from medmeta.app.commands.masks import (
    InMm,
    MaskFormat,
    Measure,
    Overlays,
    Tiles,
    Uncertainty,
    mark,
)
from medmeta.app.commands.options import AllowExternal, AsJson, ExpectSha256, Group, SkipBad
from medmeta.app.terminal import check_out, emit_json, percent, say, show_table, waiting
from medmeta.errors import SettingsError


def predict(
    predictor: Annotated[Path, typer.Argument(help="A predictor of 'medmeta adapt'.")],
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.")],
    out: Annotated[Path, typer.Option(help="CSV to write; of masks: a folder.")],
    sets: Annotated[
        float | None,
        typer.Option(help="Sets of classes that hold the true one so often: 0.9, say."),
    ] = None,
    sets_by_class: Annotated[
        bool, typer.Option("--sets-by-class", help="So often within every class.")
    ] = False,
    group: Group = None,
    form: MaskFormat = "auto",
    overlays: Overlays = False,
    uncertainty: Uncertainty = False,
    tiles: Tiles = False,
    in_mm: InMm = False,
    measure: Measure = False,
    skip_bad: SkipBad = False,
    allow_external: AllowExternal = False,
    expect_sha256: ExpectSha256 = None,
    as_json: AsJson = False,
) -> None:
    """Answer images: class probabilities, doubts and the nearest support images, as CSV.

    A predictor of masks writes a folder: a mask of each image and the table masks.csv.

    Example: medmeta predict my_predictor new_images --out predictions.csv
    """
    from medmeta.app.asked_table import answer_table, needs_table
    from medmeta.app.images import answer_images, write_predictions
    from medmeta.app.mask_workbench import is_mask_predictor
    from medmeta.app.trusting import set_promise, with_sets
    from medmeta.app.workbench import load_predictor
    from medmeta.data.slices import answered_in_words
    from medmeta.training.allocator import keep_freed_memory

    keep_freed_memory()
    if is_mask_predictor(predictor):
        if group is not None:
            raise SettingsError("--group is for predictors of classes.")
        if sets is not None or sets_by_class:
            raise SettingsError("--sets and --sets-by-class are for predictors of classes.")
        if skip_bad:
            raise SettingsError(
                "--skip-bad is for predictors of classes and values; take away what cannot be read."
            )
        mark(
            predictor, images, out, form=form, overlays=overlays, uncertainty=uncertainty,
            tiles=tiles, in_mm=in_mm, measure=measure, allow_external=allow_external,
            expect_sha256=expect_sha256, as_json=as_json,
        )  # fmt: skip
        return
    if overlays or uncertainty or tiles or in_mm or measure or form != "auto":
        words = "--format, --overlays, --uncertainty, --tiles, --in-mm, --measure"
        raise SettingsError(f"{words} are of masks.")
    check_out(out, suffixes=(".csv",))
    loaded = load_predictor(predictor, expected_sha256=expect_sha256, allow_external=allow_external)
    loaded = with_sets(loaded, sets, by_class=sets_by_class)
    with waiting() as progress:
        told = partial(progress, "answering")
        answer = answer_table if needs_table(loaded.preprocessing) else answer_images
        asked, answers = answer(loaded, images, skip_bad=skip_bad, group=group, progress=told)
    write_predictions(out, loaded, asked, answers)
    names = loaded.class_names
    predicted = answers.outputs.argmax(1)
    known = asked.labels >= 0
    right = int((predicted == asked.labels)[known].sum()) if names else 0
    counts = {name: int((predicted == i).sum()) for i, name in enumerate(names)}
    learned = int(answers.learned_from.sum())
    unlike = None if answers.novelty is None else int((answers.novelty > 1).sum())
    if as_json:
        emit_json(
            {
                "predictions": str(out),
                "images": len(asked.paths),
                "predicted": counts,
                "labelled_by_folder": int(known.sum()),
                "right": right,
                "volumes": asked.volumes,
                "slices_of_volumes": int(asked.counts.sum()) - len(asked.paths) + asked.volumes,
                "learned_from": learned,
                "unlike_the_support": unlike,
                "sets": set_promise(loaded),
                "notes": list(asked.notes),
                "problems": [{"path": str(p), "problem": text} for p, text in asked.problems],
            }
        )
        return
    if names:
        show_table("Answers", ["class", "images"], list(counts.items()))
    if names and known.any():
        share = percent(right / int(known.sum()))
        say(f"Of {known.sum()} images whose class is given, {right} are right ({share} %).")
    if learned:
        say(
            f"warning: the predictor learned from {learned} of these images; its answers to them "
            "say nothing about how good it is. Ask about images of other patients."
        )
    if unlike:
        say(
            f"warning: {unlike} of {len(asked.paths)} images are unlike anything in the support; "
            "do not act on their answers (see the column novel_because)."
        )
    if promise := set_promise(loaded):
        say(f"Sets: {promise}.")
    if asked.volumes:
        say(f"{asked.volumes} of these are {answered_in_words(loaded.preprocessing)}.")
    for remark in (*asked.notes, *(f"left out: {problem}" for _, problem in asked.problems)):
        say(remark)
    n = len(asked.paths)
    say(f"{'1 answer is' if n == 1 else f'{n} answers are'} in {out}")
