"""``medmeta evaluate``: tasks of unseen sources, with intervals."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medmeta.app.commands.options import (
    AllowExternal,
    AsJson,
    DropSmall,
    ExpectSha256,
    Plane,
    Profile,
    SkipBad,
    Slices,
    TimePoint,
    Window,
)
from medmeta.app.commands.spread import SpreadCommand
from medmeta.app.profile import profiled
from medmeta.app.terminal import (
    check_out,
    emit_json,
    percent,
    say,
    show_table,
    waiting,
)
from medmeta.errors import SettingsError
from medmeta.spans import span

if TYPE_CHECKING:
    from medmeta.app.evaluate_run import EvaluatedSource, EvaluationRequest
    from medmeta.app.models import LoadedModel


NOVELTY = {"new classes": "new", "nothing was trained": "–"}  # short, for a narrow terminal
TRACE = "trace-evaluate.json"  # of --profile, in the run's folder
NOT_BOTH = (
    "name a RUN (first: medmeta evaluate RUN --source PATH), or --learner for an untrained one, "
    "not both."
)


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
    size: Annotated[int, typer.Option(help="Its images' side in pixels.")] = 64,
    window: Window = None,
    slices: Slices = None,
    plane: Plane = None,
    time_point: TimePoint = None,
    baselines: Annotated[
        bool, typer.Option(help="Also measure ridge on raw pixels on the same tasks.")
    ] = True,
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

    Example: medmeta evaluate run --source my_images other.npz --shot 1 5 --episodes 600
    """
    from medmeta.app.evaluate_run import EvaluationRequest
    from medmeta.app.models import load_model
    from medmeta.settings import validated

    wanted = {"way": way, "shots": tuple(shot or (1, 5)), "query": query, "episodes": episodes}
    more = {"drop_small": drop_small, "baselines": baselines, "seed": seed}
    heads = {"heads": tuple(head or ()), "head_options": _head_options(head, set_)}
    request = validated(EvaluationRequest, {**wanted, **more, **heads}, where="medmeta evaluate")
    check_out(out, suffixes=(".json",))
    trace = (run or Path()) / TRACE if profile else None
    with profiled(trace, aside=as_json):
        if run is None:
            _check_no_head(head)
            model = _untrained(learner, encoder, set_ or [], size, allow_external=allow_external)
        else:
            _check_nothing_set(learner, encoder, [] if head else set_)
            model = load_model(run, expected_sha256=expect_sha256, allow_external=allow_external)
        model = model.reading(window=window, slices=slices, plane=plane, time_point=time_point)
        rows = _measured(model, source or [], request, skip_bad=skip_bad)
        _tell(rows, run, out, as_json=as_json)


def _measured(
    model: LoadedModel, paths: list[Path], request: EvaluationRequest, *, skip_bad: bool
) -> list[EvaluatedSource]:
    from medmeta.app.evaluate_run import evaluate_model
    from medmeta.data.sources import open_source

    with waiting() as progress:
        sources = []
        for path in paths:
            with span("load"):
                source = open_source(
                    path,
                    preprocessing=model.preprocessing,
                    skip_bad=skip_bad,
                    progress=partial(progress, f"reading {path}"),
                )
            sources.append(source)
            for problem in source.index.problems:  # with names of files, which are not kept
                say(f"{source.name}: {problem.where}: {problem.what}")
        return evaluate_model(model, sources, request, progress=progress)


def _tell(
    rows: list[EvaluatedSource], run: Path | None, out: Path | None, *, as_json: bool
) -> None:
    from medmeta.storage import write_json

    table = [row.to_dict() for row in rows]
    if not as_json:
        _show(rows)
        if run is not None:
            say(f"Per-task records: {run}/evaluations")
    if out is not None:
        write_json(out, table)
    if as_json:
        emit_json(table)


def _untrained(
    learner: str | None, encoder: str | None, set_: list[str], size: int, *, allow_external: bool
) -> LoadedModel:
    from medmeta.app.baselines import untrained_model
    from medmeta.app.run_request import learner_options
    from medmeta.app.train_run import TrainRequest
    from medmeta.episode import Target
    from medmeta.settings import options_from_texts, validated

    if learner is None:
        raise SettingsError(NOT_BOTH)
    values = {"preprocessing": {"size": size}, "options": options_from_texts(set_)}
    request = validated(TrainRequest, {**values, "encoder": encoder}, where="medmeta evaluate")
    return untrained_model(
        learner,
        learner_options(request),
        request.preprocessing,
        Target("classes", 5),
        allow_external=allow_external,
    )


def _head_options(head: list[str] | None, set_: list[str] | None) -> dict[str, Any]:
    """The options of each head, by its name; those of a single one need not be named so."""
    from medmeta.settings import options_from_texts

    if not head or not set_:
        return {}
    options = options_from_texts(set_)
    if len(set(head)) == 1:
        return {head[0]: options}
    unnamed = [name for name, value in options.items() if name not in head or value == str(value)]
    if unnamed:
        raise SettingsError(
            f"--set {unnamed[0]}: with several heads, say whose option it is, such as "
            f"--set {head[0]}.{unnamed[0]}=…"
        )
    return options


def _check_no_head(head: list[str] | None) -> None:
    if head:
        raise SettingsError(
            "--head goes with a RUN, on whose encoder it is put; an untrained head is "
            f"--learner {head[0]}."
        )


def _check_nothing_set(learner: str | None, encoder: str | None, set_: list[str] | None) -> None:
    """A run has its learner, encoder and options already."""
    if learner is not None:
        raise SettingsError(NOT_BOTH)
    if encoder is not None or set_:
        raise SettingsError(
            "a RUN is measured with the encoder and options that it was trained with; --encoder "
            "is for an untrained --learner, and --set for that or for a --head."
        )


TOLD_APART = "; queries answered one by one (inductive) or all together (transductive)"


def _mode(row: EvaluatedSource) -> str:
    return "transductive" if row.evaluation.protocol.transductive else "inductive"


def _show(rows: list[EvaluatedSource]) -> None:
    table, headed = [], any(row.head for row in rows)
    modes = [_mode(row) for row in rows]
    mixed = len(set(modes)) > 1
    for row, mode in zip(rows, modes, strict=True):
        content = row.to_dict()
        protocol, summary = row.evaluation.protocol, content["summary"]
        main = summary.get("accuracy") or summary["r_squared"]
        beside = content["baselines"]
        named = [row.head["name"] if row.head else "its own"] if headed else []
        named += [{"inductive": "one", "transductive": "all"}[mode]] if mixed else []
        table.append(
            [
                row.evaluation.source,
                *named,
                NOVELTY.get(row.novelty, row.novelty),
                protocol.n_way[1] if protocol.kind == "classes" else "–",
                protocol.n_shot[0],
                f"{percent(main['mean'])} [{percent(main['low'])}, {percent(main['high'])}]",
                percent(main["worst_tenth"]),
                percent((summary.get("auroc") or {}).get("mean")),
                percent((beside.get("chance") or {}).get("mean")),
                percent((beside.get("ridge on raw pixels") or {}).get("mean")),
            ]
        )
    valued = rows[0].evaluation.protocol.kind == "values"
    show_table(
        f"{'R²' if valued else 'Accuracy'}, % [95 % interval of the mean over tasks]"
        + (TOLD_APART if mixed else f", {modes[0]}"),
        ["source", *(["head"] if headed else []), *(["queries"] if mixed else []),
         "classes are", "way", "shot", "mean [95 %]", "worst tenth", "AUROC", "chance",
         "raw ridge"],
        table,
    )  # fmt: skip
    for note in dict.fromkeys(f"{r.evaluation.source}: {n}" for r in rows for n in r.notes):
        say(note)
