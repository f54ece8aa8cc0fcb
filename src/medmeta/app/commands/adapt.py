"""``medmeta adapt``: from a few labelled images to a predictor."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medmeta.app.commands.asked_model import check_no_predictor
from medmeta.app.commands.masks import (
    CLASSIFICATION,
    SEGMENTATION,
    CleanMasks,
    learn_masks,
)
from medmeta.app.commands.options import (
    AllowExternal,
    AsJson,
    CsvRate,
    ExpectSha256,
    Patches,
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
from medmeta.app.commands.predict import predict
from medmeta.app.commands.spread import SpreadCommand
from medmeta.app.terminal import check_new, command_line, emit_json, say, show_facts
from medmeta.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from medmeta.app.mask_predictor import SavedMaskPredictor
    from medmeta.data.preprocess import Preprocessing
    from medmeta.data.source import Source

DEFAULT_MODEL = "medmeta-base"  # in the box
NOT_OF_VALUES = (
    "How good it is is not estimated for values: ask it about images whose values are known."
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("adapt", cls=SpreadCommand)(adapt)
    app.command("predict")(predict)


def adapt(
    support: Annotated[
        Path, typer.Argument(help="A folder per class or of images and masks, or a manifest.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the predictor.")],
    model: Annotated[
        Path | None,
        typer.Option(help="A run of 'medmeta train'.", show_default="medmeta-base, in the box"),
    ] = None,
    learner: Annotated[
        str | None,
        typer.Option(
            help="Which learner of 'medmeta learners' to put on the model's encoder.",
            show_default="auto; with --model, the run's own",
        ),
    ] = None,
    head: Annotated[str | None, typer.Option(help="The same as --learner.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Its option.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Time for choosing: 10s, 10m; 0: no search.", show_default="10s"),
    ] = None,
    task: Annotated[str, typer.Option(help="classification or segmentation.")] = CLASSIFICATION,
    clean_masks: CleanMasks = False,
    window: Window = None,
    slices: Slices = None,
    plane: Plane = None,
    time_point: TimePoint = None,
    spacing: Spacing = None,
    patches: Patches = None,
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

    Without --model the model in the box is used, and what is put on it is chosen for these images
    by cross-validation and by what worked on past tasks (see docs/automatic.md). Volumes, signals,
    records, several modalities and values are recognised; what is used for them is said.

    Volumes are read as those of the run, unless --window, --slices, --plane or --time-point say
    otherwise; the predictor then reads what it is asked about likewise. With --standardise site the
    site's grey levels are brought to one range, and predict must be told the --group of its images.

    How good a predictor of classes or masks is, is estimated on its own images, held out in turn.

    With --task segmentation structures are marked: with a run of 'medmeta train --target masks', or
    without --model by a learner that needs no training, chosen by marked images that are left out.

    Example: medmeta adapt my_images --out my_predictor
    """
    from medmeta.app.choosing import learner_on, one_name, seconds_of
    from medmeta.app.commands.choice_shown import show_choice
    from medmeta.app.commands.trust_shown import show_trust
    from medmeta.app.fallback import model_for
    from medmeta.app.models import load_boxed, load_model
    from medmeta.app.support import open_support
    from medmeta.app.trusting import by_readers, trusted
    from medmeta.app.tuning import seconds_to_search, tuned_if_better
    from medmeta.app.workbench import adapt as learn_task
    from medmeta.data.listing import survey
    from medmeta.learners.auto.longer import LEAST_SECONDS
    from medmeta.learners.building import head_configuration
    from medmeta.settings import options_from_texts
    from medmeta.training.allocator import keep_freed_memory

    seconds = seconds_of(budget)
    if task not in (CLASSIFICATION, SEGMENTATION):
        raise SettingsError(f"--task {task}: choose {CLASSIFICATION} or {SEGMENTATION}.")
    check_new(out)
    check_no_predictor(model, "--model")
    keep_freed_memory()
    reading = {
        "window": window, "slices": slices, "plane": plane, "time_point": time_point,
        "spacing": spacing, "patches": patches, "resample": resample, "csv_rate": csv_rate,
        "slide_mpp": slide_mpp,
    }  # fmt: skip
    if task == SEGMENTATION:
        if standardise:
            raise SettingsError("--standardise is for classification.")
        learn, prepared = _marking(
            model, reading, learner=one_name(learner, head), set_=set_ or [], budget=budget,
            allow_external=allow_external, expect_sha256=expect_sha256,
        )  # fmt: skip
        learn_masks(
            learn, prepared, support, out, seed=seed, skip_bad=skip_bad, split=split or "",
            clean=clean_masks, estimate=not no_estimate, as_json=as_json,
        )  # fmt: skip
        return
    if patches:
        raise SettingsError("--patches is of masks: say --task segmentation, or leave it out.")
    place = model or Path(DEFAULT_MODEL)
    used = listed = None
    if model is not None:
        loaded = load_model(place, expected_sha256=expect_sha256, allow_external=allow_external)
    else:
        loaded = load_boxed(DEFAULT_MODEL, expected_sha256=expect_sha256)
        listed = survey(support) if support.is_dir() else None  # headers of scans are read once
        loaded, used = model_for(support, loaded, reading, listed=listed)
    loaded = loaded.reading(**reading)
    if loaded.card["target"]["kind"] == "masks":
        raise SettingsError("this run marks structures; say --task segmentation.")
    head = learner_on(loaded, learner, head, is_default=model is None, has_options=bool(set_))
    options = options_from_texts(set_ or [])
    if head is not None:
        head_configuration(head, options)  # before anything is read, and the encoder is settled
    trained = loaded.card.get("standardise")
    opened = open_support(
        support,
        loaded.preprocessing,
        listed=listed,
        skip_bad=skip_bad,
        split=split or "",
        standardise=standardise or "",
        reference=tuple(trained["reference"]) if trained else None,
    )
    if used:
        opened = replace(opened, notes=(used, *opened.notes))
    if readers:
        opened = replace(opened, source=by_readers(opened.source, readers))
    started = time.perf_counter()
    learned = partial(learn_task, loaded, opened.source, seed=seed, levels=opened.levels)
    predictor = learned(head=head, head_options=options, seconds=seconds_to_search(seconds))
    choice = predictor.card.get("choice")
    if budget is not None and choice is None:
        raise SettingsError(
            f"--budget {budget}: {head or loaded.card['learner']} has nothing to choose; leave it "
            "out, or say --learner auto."
        )
    if choice is not None and seconds > LEAST_SECONDS:
        predictor = tuned_if_better(predictor, learned, until=started + seconds, seed=seed)
    if not no_estimate:
        predictor = trusted(predictor, opened.source, loaded, seed=seed)
        if not predictor.class_names:
            opened = replace(opened, notes=(*opened.notes, NOT_OF_VALUES))
    digest = predictor.save(out)
    head = (predictor.card["head"] or {}).get("name")
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
                "choice": predictor.card.get("choice"),
                "trust": predictor.card.get("trust"),
            }
        )
    else:
        facts = {
            "predictor": out,
            "learner": f"{head} on {place}" if head else loaded.card["learner"],
            "learned from": ", ".join(f"{k} ({v})" for k, v in counts.items())
            or f"{len(opened.source)} images with values",
            "seconds": f"{seconds:.2f}",
            "SHA-256 of its card": digest,
        }
        show_facts("Adapted", facts)
        for note in opened.notes:
            say(note)
        if choice is not None:
            show_choice(predictor.card["choice"])
        if predictor.trust is not None:
            show_trust(predictor.trust, predictor.class_names, predictor.support_names)
    say(f"Next: {command_line('predict', out)} IMAGES --out predictions.csv")


def _marking(
    model: Path | None,
    reading: Mapping[str, object],
    *,
    learner: str | None,
    set_: list[str],
    budget: str | None,
    allow_external: bool,
    expect_sha256: str | None,
) -> tuple[Callable[..., SavedMaskPredictor], Preprocessing]:
    """What learns to mark, of a source with masks, and how its images are prepared."""
    from medmeta.app.choosing import seconds_of
    from medmeta.app.mask_choice import adapt_without_a_run, without_a_run
    from medmeta.app.mask_workbench import adapt_masks
    from medmeta.app.models import load_model
    from medmeta.settings import options_from_texts

    if model is None:
        if set_ and not learner:
            raise SettingsError("--set goes with --learner: say whose options these are.")
        if expect_sha256:
            raise SettingsError("--expect-sha256 is of a run's card: name the run by --model.")
        prepared = without_a_run(reading)
        options = options_from_texts(set_)
        chosen = partial(
            adapt_without_a_run, preprocessing=prepared, learner=learner, options=options,
            seconds=seconds_of(budget), allow_external=allow_external,
        )  # fmt: skip
        return chosen, prepared
    if learner or set_ or budget:
        raise SettingsError(
            "--learner, --head, --set and --budget of masks go without --model: a run keeps its "
            "own learner."
        )
    loaded = load_model(model, expected_sha256=expect_sha256, allow_external=allow_external)
    if reading["patches"] and not loaded.preprocessing.depth:
        raise SettingsError(
            "--patches: this run learned from slices; train one of volumes, with --depth."
        )
    loaded = loaded.reading(**reading)

    def learn(support: Source, *, seed: int, estimate: bool, progress: object) -> (
        SavedMaskPredictor
    ):  # fmt: skip
        return adapt_masks(loaded, support, seed=seed, estimate=estimate)

    return learn, loaded.preprocessing
