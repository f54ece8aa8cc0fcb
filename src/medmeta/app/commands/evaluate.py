"""``medmeta evaluate``: tasks of unseen sources, with intervals."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medmeta.app.commands.asked_model import (
    check_no_head,
    check_no_predictor,
    check_nothing_set,
    head_options,
    untrained,
)
from medmeta.app.commands.evaluation_table import show_evaluations
from medmeta.app.commands.options import (
    AllowExternal,
    AsJson,
    CsvRate,
    Depth,
    DropSmall,
    ExpectSha256,
    Leads,
    Mpp,
    Plane,
    Profile,
    Rate,
    Samples,
    SkipBad,
    Slices,
    SlideMpp,
    Spacing,
    Split,
    Standardise,
    Tile,
    TimePoint,
    Window,
)
from medmeta.app.commands.spread import SpreadCommand
from medmeta.app.profile import profiled
from medmeta.app.terminal import check_out, emit_json, say, waiting
from medmeta.errors import SettingsError
from medmeta.spans import span

if TYPE_CHECKING:
    from medmeta.app.evaluate_run import EvaluatedSource, EvaluationRequest
    from medmeta.app.models import LoadedModel
    from medmeta.app.terminal import Waiting
    from medmeta.data.source import Source


SIZE = 64
TRACE = "trace-evaluate.json"  # of --profile, in the run's folder


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate", cls=SpreadCommand)(evaluate)


def evaluate(
    run: Annotated[Path | None, typer.Argument(help="A run of 'medmeta train'.")] = None,
    source: Annotated[
        list[Path] | None, typer.Option("--source", help="Sources it was not trained on.")
    ] = None,
    shot: Annotated[
        list[int] | None, typer.Option("--shot", help="Support images per class (1 5).")
    ] = None,
    way: Annotated[
        str | None, typer.Option(help="Classes per task; default: the run's, or all there are.")
    ] = None,
    query: Annotated[int, typer.Option(help="Query images per class.")] = 15,
    episodes: Annotated[int, typer.Option(help="Tasks per source and shot.")] = 600,
    seed: Annotated[int, typer.Option(help="Seed of the tasks.")] = 2026,
    head: Annotated[
        list[str] | None,
        typer.Option("--head", help="Heads on the run's encoder, in place of its own."),
    ] = None,
    learner: Annotated[
        str | None, typer.Option(help="Without a run: an untrained learner (a baseline).")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Its encoder: pixels, hog_colour, border, … (conv4).")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Its options, or those of --head: scale=2.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Its images' side in pixels.", show_default="64")
    ] = None,
    window: Window = None,
    slices: Slices = None,
    plane: Plane = None,
    time_point: TimePoint = None,
    depth: Depth = None,
    spacing: Spacing = None,
    mpp: Mpp = None,
    tile: Tile = None,
    samples: Samples = None,
    rate: Rate = None,
    leads: Leads = None,
    csv_rate: CsvRate = None,
    slide_mpp: SlideMpp = None,
    baselines: Annotated[
        bool, typer.Option(help="Also measure ridge on raw pixels on the same tasks.")
    ] = True,
    shift: Annotated[
        list[str] | None,
        typer.Option("--shift", help="Instead: site, device, … left out; quality; or parts."),
    ] = None,
    split: Split = None,
    standardise: Standardise = None,
    distances: Annotated[
        bool, typer.Option("--distances", help="Of masks: surfaces and centre lines too.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the table as JSON here.")] = None,
    skip_bad: SkipBad = False,
    drop_small: DropSmall = False,
    allow_external: AllowExternal = False,
    expect_sha256: ExpectSha256 = None,
    profile: Profile = False,
    as_json: AsJson = False,
) -> None:
    """Measure a run on tasks from sources it was not trained on, with 95 % intervals.

    Per-task records are kept in RUN/evaluations. Pictures seen in training are left out.

    Several heads share one encoding; options are then named by head: --set ridge.scale=2.
    With --shift the same queries are answered from labelled images of the same site (or device, or
    any column) and from those of all others; with --shift quality, worse queries beside clean ones;
    with --shift parts, without the image, the record or a modality, beside all of them.

    Example: medmeta evaluate run --source my_images other.npz --shot 1 5 --episodes 600
    """
    from medmeta.app.evaluate_run import EvaluationRequest
    from medmeta.app.models import load_model
    from medmeta.settings import validated

    wanted = {"way": way, "shots": tuple(shot or (1, 5)), "query": query, "episodes": episodes}
    more = {"drop_small": drop_small, "baselines": baselines, "seed": seed, "distances": distances}
    data = {"split": split or "", "standardise": standardise or "", "near_duplicates": True}
    heads = {"heads": tuple(head or ()), "head_options": head_options(head, set_)}
    request = validated(
        EvaluationRequest, {**wanted, **more, **data, **heads}, where="medmeta evaluate"
    )
    check_out(out, suffixes=(".json",))
    shape: dict[str, Any] = {"depth": depth, "samples": samples, "rate": rate, "leads": leads}
    shape |= {"mpp": mpp, "tile": tile}
    trace = (run or Path()) / TRACE if profile else None
    with profiled(trace, aside=as_json):
        if run is None:
            check_no_head(head)
            images = {
                "size": SIZE if size is None else size,
                **{k: v for k, v in shape.items() if v is not None},
            }
            model = untrained(learner, encoder, set_ or [], images, allow_external=allow_external)
        else:
            check_nothing_set(learner, encoder, [] if head else set_, {"size": size, **shape})
            check_no_predictor(run, "RUN")
            model = load_model(run, expected_sha256=expect_sha256, allow_external=allow_external)
        model = model.reading(
            window=window, slices=slices, plane=plane, time_point=time_point, spacing=spacing,
            csv_rate=csv_rate, slide_mpp=slide_mpp,
        )  # fmt: skip
        if distances and model.card["target"]["kind"] != "masks":
            raise SettingsError(
                f"--distances are of masks, and this is a model of {model.card['target']['kind']}; "
                "leave it out."
            )
        if shift:
            _shifted(model, source or [], request, shift, out, skip_bad=skip_bad, as_json=as_json)
            return
        rows = _measured(model, source or [], request, skip_bad=skip_bad)
        _tell(rows, model.run, out, as_json=as_json)


def _measured(
    model: LoadedModel, paths: list[Path], request: EvaluationRequest, *, skip_bad: bool
) -> list[EvaluatedSource]:
    from medmeta.app.evaluate_run import evaluate_model

    with waiting() as progress:
        sources = _opened(model, paths, progress, skip_bad=skip_bad)
        return evaluate_model(model, sources, request, progress=progress)


def _opened(
    model: LoadedModel, paths: list[Path], progress: Waiting, *, skip_bad: bool
) -> list[Source]:
    from medmeta.data.mask_sources import open_mask_source
    from medmeta.data.naming import check_each_once, told_apart
    from medmeta.data.sources import open_source

    masks = model.card["target"]["kind"] == "masks"
    opened = open_mask_source if masks else open_source
    check_each_once(paths)
    sources = []
    for path in paths:
        with span("load"):
            source = opened(
                path,
                preprocessing=model.preprocessing,
                skip_bad=skip_bad,
                progress=partial(progress, f"reading {path}"),
            )
        sources.append(source)
    sources = told_apart(sources, paths)
    for source in sources:
        for problem in source.index.problems:  # with names of files, which are not kept
            say(f"{source.name}: {problem.where}: {problem.what}")
    return sources


def _shifted(
    model: LoadedModel,
    paths: list[Path],
    request: EvaluationRequest,
    columns: list[str],
    out: Path | None,
    *,
    skip_bad: bool,
    as_json: bool,
) -> None:
    from medmeta.app.commands.shift import show_shifts
    from medmeta.app.shift_run import evaluate_shift
    from medmeta.storage import write_json

    with waiting() as progress:
        sources = _opened(model, paths, progress, skip_bad=skip_bad)
        rows = evaluate_shift(model, sources, request, columns, progress=progress)
    table = [row.to_dict() for row in rows]
    if out is not None:
        write_json(out, table)
    if as_json:
        emit_json(table)
        return
    show_shifts(rows)
    if model.run is not None:
        say(f"Per-task records: {model.run}/shifts")


def _tell(
    rows: list[EvaluatedSource], run: Path | None, out: Path | None, *, as_json: bool
) -> None:
    from medmeta.storage import write_json

    table = [row.to_dict() for row in rows]
    if not as_json:
        show_evaluations(rows)
        if run is not None:
            say(f"Per-task records: {run}/evaluations")
        elif out is None:
            say("There is no run to keep this in; to keep it, say --out FILE.")
    if out is not None:
        write_json(out, table)
    if as_json:
        emit_json(table)
