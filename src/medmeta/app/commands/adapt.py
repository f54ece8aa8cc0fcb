"""``medmeta adapt`` and ``medmeta predict``: from labelled images to answers."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from medmeta.app.commands.masks import (
    CLASSIFICATION,
    SEGMENTATION,
    CleanMasks,
    InMm,
    MaskFormat,
    Measure,
    Overlays,
    Tiles,
    Uncertainty,
    learn_masks,
    mark,
)
from medmeta.app.commands.options import (
    AllowExternal,
    AsJson,
    CsvRate,
    ExpectSha256,
    Group,
    Plane,
    Resample,
    SkipBad,
    Slices,
    SlideMpp,
    Spacing,
    Split,
    Standardise,
    TimePoint,
    Window,
)
from medmeta.app.commands.spread import SpreadCommand
from medmeta.app.terminal import (
    check_out,
    check_place,
    command_line,
    emit_json,
    percent,
    say,
    show_facts,
    show_table,
    waiting,
)
from medmeta.errors import SettingsError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("adapt", cls=SpreadCommand)(adapt)
    app.command("predict")(predict)


def adapt(
    support: Annotated[
        Path, typer.Argument(help="A folder per class or of images and masks, or a manifest.")
    ],
    model: Annotated[Path, typer.Option(help="A run of 'medmeta train'.")],
    out: Annotated[Path, typer.Option(help="Folder of the predictor.")],
    head: Annotated[
        str | None, typer.Option(help="Another head on the run's encoder: 'medmeta learners'.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A head's option.")] = None,
    task: Annotated[str, typer.Option(help="classification or segmentation.")] = CLASSIFICATION,
    clean_masks: CleanMasks = False,
    window: Window = None,
    slices: Slices = None,
    plane: Plane = None,
    time_point: TimePoint = None,
    spacing: Spacing = None,
    resample: Resample = None,
    csv_rate: CsvRate = None,
    slide_mpp: SlideMpp = None,
    split: Split = None,
    standardise: Standardise = None,
    seed: Annotated[int, typer.Option(help="Seed, for learners that use chance.")] = 0,
    no_estimate: Annotated[
        bool, typer.Option("--no-estimate", help="Do not find out how good it is.")
    ] = False,
    readers: Annotated[
        str | None, typer.Option(help="Labels by the readers' columns: majority, or soft.")
    ] = None,
    skip_bad: SkipBad = False,
    allow_external: AllowExternal = False,
    expect_sha256: ExpectSha256 = None,
    as_json: AsJson = False,
) -> None:
    """Learn a new task from a few labelled images, and save the predictor.

    Volumes are read as those of the run, unless --window, --slices, --plane or --time-point say
    otherwise; the predictor then reads what it is asked about likewise. With --standardise site the
    site's grey levels are brought to one range, and predict must be told the --group of its images.

    How good the predictor is, is estimated on its own images, each held out in turn.

    Example: medmeta adapt my_images --model run --out my_predictor
    """
    from medmeta.app.commands.trust_shown import show_trust
    from medmeta.app.models import load_model
    from medmeta.app.support import open_support
    from medmeta.app.trusting import by_readers, trusted
    from medmeta.app.workbench import adapt as learn
    from medmeta.settings import options_from_texts
    from medmeta.training.allocator import keep_freed_memory

    if set_ and head is None:
        raise SettingsError("--set goes with --head: a run's own learner keeps its options.")
    if task not in (CLASSIFICATION, SEGMENTATION):
        raise SettingsError(f"--task {task}: choose {CLASSIFICATION} or {SEGMENTATION}.")
    if out.exists() or out.is_symlink():
        raise SettingsError(f"{out} is already there; choose another --out or remove it.")
    check_place(out)
    keep_freed_memory()
    loaded = load_model(model, expected_sha256=expect_sha256, allow_external=allow_external)
    loaded = loaded.reading(
        window=window, slices=slices, plane=plane, time_point=time_point, spacing=spacing,
        resample=resample, csv_rate=csv_rate, slide_mpp=slide_mpp,
    )  # fmt: skip
    if task == SEGMENTATION:
        if head or set_ or standardise:
            raise SettingsError("--head, --set and --standardise are for classification.")
        learn_masks(
            loaded, support, out, seed=seed, skip_bad=skip_bad, split=split or "",
            clean=clean_masks, estimate=not no_estimate, as_json=as_json,
        )  # fmt: skip
        return
    if loaded.card["target"]["kind"] == "masks":
        raise SettingsError("this run marks structures; say --task segmentation.")
    trained = loaded.card.get("standardise")
    opened = open_support(
        support,
        loaded.preprocessing,
        skip_bad=skip_bad,
        split=split or "",
        standardise=standardise or "",
        reference=tuple(trained["reference"]) if trained else None,
    )
    if readers:
        opened = replace(opened, source=by_readers(opened.source, readers))
    started = time.perf_counter()
    options = options_from_texts(set_ or [])
    predictor = learn(
        loaded,
        opened.source,
        head=head,
        head_options=options,
        seed=seed,
        levels=opened.levels,
    )
    if not no_estimate:
        predictor = trusted(predictor, opened.source, loaded, seed=seed)
    digest = predictor.save(out)
    seconds = time.perf_counter() - started
    counts = opened.counts()
    if as_json:
        emit_json(
            {
                "predictor": str(out),
                "sha256": digest,
                "learner": loaded.card["learner"],
                "head": head,
                "classes": counts,
                "images": len(opened.source),
                "seconds": round(seconds, 3),
                "notes": list(opened.notes),
                "trust": predictor.card.get("trust"),
            }
        )
    else:
        facts = {
            "predictor": out,
            "learner": loaded.card["learner"] + (f", with head {head}" if head else ""),
            "learned from": ", ".join(f"{k} ({v})" for k, v in counts.items())
            or f"{len(opened.source)} images with values",
            "seconds": f"{seconds:.2f}",
            "SHA-256 of its card": digest,
        }
        show_facts("Adapted", facts)
        for note in opened.notes:
            say(note)
        if predictor.trust is not None:
            show_trust(predictor.trust, predictor.class_names, predictor.support_names)
    say(f"Next: {command_line('predict', out)} IMAGES --out predictions.csv")


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
        say(f"Of {known.sum()} images in folders named by class, {right} are right ({share} %).")
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
    say(f"{len(asked.paths)} answers are in {out}")
