"""``medmeta evaluate`` and ``medmeta compare``."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medmeta.app.commands.options import (
    AllowExternal,
    AsJson,
    DropSmall,
    ExpectSha256,
    Profile,
    SkipBad,
)
from medmeta.app.commands.spread import SpreadCommand
from medmeta.app.profile import profiled
from medmeta.app.terminal import (
    check_out,
    emit_json,
    percent,
    say,
    show_facts,
    show_table,
    waiting,
)
from medmeta.errors import DataError, SettingsError
from medmeta.spans import span

if TYPE_CHECKING:
    from medmeta.app.evaluate_run import EvaluatedSource, EvaluationRequest
    from medmeta.app.models import LoadedModel


NOVELTY = {"new classes": "new", "nothing was trained": "–"}  # short, for a narrow terminal
TRACE = "trace-evaluate.json"  # of --profile, in the run's folder
TASK_COLUMNS = ("task", "n_way", "n_shot")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("evaluate", cls=SpreadCommand)(evaluate)
    app.command("compare")(compare)


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
    learner: Annotated[
        str | None, typer.Option(help="Without a run: an untrained learner (a baseline).")
    ] = None,
    encoder: Annotated[str, typer.Option(help="Its encoder, e.g. pixels.")] = "conv4",
    size: Annotated[int, typer.Option(help="Its images' side in pixels.")] = 64,
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

    Example: medmeta evaluate run --source my_images other.npz --shot 1 5 --episodes 600
    """
    from medmeta.app.evaluate_run import EvaluationRequest
    from medmeta.settings import validated

    wanted = {"way": way, "shots": tuple(shot or (1, 5)), "query": query, "episodes": episodes}
    more = {"drop_small": drop_small, "baselines": baselines, "seed": seed}
    request = validated(EvaluationRequest, {**wanted, **more}, where="medmeta evaluate")
    check_out(out, suffixes=(".json",))
    trace = (run or Path()) / TRACE if profile else None
    with profiled(trace, aside=as_json):
        model = _model(run, learner, encoder, size, expect_sha256, allow_external=allow_external)
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


def _model(
    run: Path | None,
    learner: str | None,
    encoder: str,
    size: int,
    expect_sha256: str | None,
    *,
    allow_external: bool,
) -> LoadedModel:
    from medmeta.app.baselines import untrained_model
    from medmeta.app.models import load_model
    from medmeta.app.train_run import TrainRequest
    from medmeta.episode import Target
    from medmeta.settings import validated

    if (run is None) == (learner is None):
        raise SettingsError(
            "name a RUN (first: medmeta evaluate RUN --source PATH), or --learner for an untrained "
            "one, not both."
        )
    if run is not None:
        return load_model(run, expected_sha256=expect_sha256, allow_external=allow_external)
    values = {"preprocessing": {"size": size}}
    request = validated(TrainRequest, values, where="medmeta evaluate")
    options = {"encoder": {"name": encoder}}
    return untrained_model(str(learner), options, request.preprocessing, Target("classes", 5))


def _show(rows: list[EvaluatedSource]) -> None:
    table = []
    for row in rows:
        content = row.to_dict()
        protocol, summary = row.evaluation.protocol, content["summary"]
        main = summary.get("accuracy") or summary["r_squared"]
        beside = content["baselines"]
        table.append(
            [
                row.evaluation.source,
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
    mode = "transductive" if rows[0].evaluation.protocol.transductive else "inductive"
    valued = rows[0].evaluation.protocol.kind == "values"
    show_table(
        f"{'R²' if valued else 'Accuracy'}, % [95 % interval of the mean over tasks], {mode}",
        ["source", "classes are", "way", "shot", "mean [95 %]", "worst tenth", "AUROC", "chance",
         "raw ridge"],
        table,
    )  # fmt: skip
    for note in dict.fromkeys(f"{r.evaluation.source}: {n}" for r in rows for n in r.notes):
        say(note)


def compare(
    first: Annotated[Path, typer.Argument(help="A folder in RUN/evaluations.")],
    second: Annotated[Path, typer.Argument(help="One of another run, of the same protocol.")],
    metric: Annotated[str, typer.Option(help="A column of the records.")] = "accuracy",
    as_json: AsJson = False,
) -> None:
    """Compare two evaluations task by task: mean difference with its 95 % interval.

    Example: medmeta compare run_a/evaluations/busi-1shot-… run_b/evaluations/busi-1shot-…
    """
    from medmeta.evaluation.intervals import paired_difference

    one, one_tasks = _records(first, metric)
    two, two_tasks = _records(second, metric)
    if _tasks(first) != _tasks(second) or one_tasks != two_tasks:
        raise DataError(
            f"{first} and {second} were not measured on the same tasks; evaluate both runs on the "
            "same sources with the same --way, --shot, --query, --episodes and --seed. (Pictures "
            "that one of the runs was trained on are left out for it alone.)"
        )
    gap = paired_difference(one, two)
    if as_json:
        facts = {
            "mean difference": gap.mean,
            "low": gap.low,
            "high": gap.high,
            "tasks": gap.tasks,
            "share of tasks the first wins": gap.first_better,
        }
        emit_json({"metric": metric, **facts})
        return
    told = {
        "mean difference": f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}] (95 %)",
        "tasks": gap.tasks,
        "first is higher": f"in {percent(gap.first_better)} % of tasks",
    }
    show_facts(f"{metric}: {first.name} minus {second.name}", {"first": first, "second": second}
               | told)  # fmt: skip


def _tasks(folder: Path) -> dict[str, Any]:
    from medmeta.app.cards import EvaluationCard, check_card
    from medmeta.storage import read_json

    summary = read_json(folder / "summary.json")
    check_card(EvaluationCard, summary, where=folder / "summary.json")
    protocol = dict(summary["protocol"])
    for name in ("norm", "transductive", "tasks_per_batch"):
        protocol.pop(name, None)  # these change the learner's way of answering, not the tasks
    pictures = summary.get("fingerprint")
    return {"source": summary["source"], "pictures": pictures, **protocol}


def _records(folder: Path, metric: str) -> tuple[Any, list[str]]:
    import numpy as np

    try:
        with (folder / "records.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(
            f"{folder}/records.csv cannot be read ({error.strerror}); name a folder in "
            "RUN/evaluations."
        ) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{folder}/records.csv is damaged ({error}); evaluate again.") from None
    known = [name for name in rows[0] if name not in TASK_COLUMNS] if rows else []
    if metric not in known:
        raise DataError(
            f"{folder}/records.csv has no figure {metric!r}; it has {', '.join(known) or 'none'}."
        )
    try:
        return np.array([float(row[metric]) for row in rows]), [row["task"] for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}/records.csv is damaged ({error}); evaluate again.") from None
