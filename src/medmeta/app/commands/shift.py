"""``medmeta evaluate --shift``: across groups, and on images that get worse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmeta.app.terminal import emit_json, percent, say, show_table, waiting
from medmeta.spans import span

if TYPE_CHECKING:
    from medmeta.app.evaluate_run import EvaluationRequest
    from medmeta.app.models import LoadedModel
    from medmeta.app.shift_run import Shifted
    from medmeta.data.source import Source

FOLDER = "shifts"


def opened(
    model: LoadedModel, paths: list[Path], progress: Callable[..., None], *, skip_bad: bool
) -> list[Source]:
    """Sources prepared as the model wants them; what is wrong with them is said."""
    from medmeta.data.sources import open_source

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
    return sources


def tell_shifts(
    model: LoadedModel,
    paths: list[Path],
    request: EvaluationRequest,
    shift: str,
    *,
    skip_bad: bool,
    out: Path | None,
    run: Path | None,
    as_json: bool,
) -> None:
    """Measure, show, and keep: in the run's folder, and where ``out`` says."""
    from medmeta.app.shift_run import shift_model
    from medmeta.storage import write_json

    with waiting() as progress:
        sources = opened(model, paths, progress, skip_bad=skip_bad)
        rows, notes = shift_model(model, sources, request, shift, progress=progress)
    table = [row.to_dict() for row in rows]
    found = {"shift": shift, "rows": table, "notes": notes}
    if run is not None:
        names = "-".join(dict.fromkeys(source.name for source in sources))
        write_json(run / FOLDER / f"{names}-{shift}-{table[0]['protocol_digest']}.json", found)
    if out is not None:
        write_json(out, found)
    if as_json:
        emit_json(found)
        return
    _show(rows, shift)
    for note in notes:
        say(note)


def _show(rows: list[Shifted], shift: str) -> None:
    quality = shift == "quality"
    table = []
    for row in rows:
        told = row.to_dict()
        gap = told["difference"]
        what = [row.what.replace("_", " "), str(row.severity)] if quality else [row.what]
        table.append(
            [row.source, told["way"], told["shot"], *what, _mean(told["home"]), _mean(told["away"]),
             f"{_points(gap['mean'])} [{_points(gap['low'])}, {_points(gap['high'])}]"]
        )  # fmt: skip
    if quality:
        title = "Accuracy, %, of queries as they were taken and made worse (severity 1 to 5)"
        header = ["source", "way", "shot", "fault", "severity", "as taken", "worse", "difference"]
    else:
        title = (
            f"Accuracy, %, of the same queries, asked with labels of their own {shift} and others'"
        )
        header = ["source", "way", "shot", shift, "its own", "others'", "difference"]
    show_table(f"{title} [95 % intervals over tasks]", header, table)


def _mean(summary: dict[str, Any]) -> str:
    return f"{percent(summary['mean'])} [{percent(summary['low'])}, {percent(summary['high'])}]"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
