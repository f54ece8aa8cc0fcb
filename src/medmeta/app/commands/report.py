"""``medmeta report`` and ``medmeta quickstart``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from medmeta.app.commands.options import AllowExternal, AsJson, Group, SkipBad
from medmeta.app.terminal import check_out, emit_json, say, show_facts, waiting
from medmeta.errors import SettingsError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("report")(report)
    app.command("quickstart")(quickstart)


def report(
    path: Annotated[Path, typer.Argument(help="A run or a predictor.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    query: Annotated[
        Path | None,
        typer.Option(help="Images to answer in the report; folders named by class give the truth."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="A predictor's run: adds its newest evaluations and curve.")
    ] = None,
    group: Group = None,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    skip_bad: SkipBad = False,
    allow_external: AllowExternal = False,
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page about a run, or about a predictor and its answers.

    Example: medmeta report my_predictor --query new_images --run run --out report.html
    """
    from medmeta.app.asked_table import read_asked
    from medmeta.app.models import load_model
    from medmeta.app.report.building import predictor_report, run_report
    from medmeta.app.report.page import write_report
    from medmeta.app.workbench import is_predictor, load_predictor

    check_out(out, suffixes=(".html", ".htm"))
    command = _without_paths(query=query, run=run)
    if is_predictor(path):
        predictor = load_predictor(path, allow_external=allow_external)
        if not predictor.class_names:
            raise SettingsError(
                f"{path} predicts values, and reports are about classes; 'medmeta predict' writes "
                "the values as CSV."
            )
        asked = None
        if query is not None:
            with waiting() as progress:
                told = partial(progress, "reading")
                asked = read_asked(predictor, query, group=group, skip_bad=skip_bad, progress=told)
        head = predictor.card["head"]
        measured = None if run is None else load_model(run, allow_external=allow_external)
        content = predictor_report(
            predictor,
            asked,
            title=title or "What this predictor learned, and how far to trust it",
            command=command,
            run=run,
            evaluations=None if measured is None else measured.evaluations(head),
            shifts=() if measured is None else measured.shifts(head),
        )
    else:
        if query is not None:
            raise SettingsError(
                f"{path} is a run, and --query goes with a predictor; adapt one to your images "
                "first (medmeta adapt)."
            )
        content = run_report(
            load_model(path, allow_external=allow_external),
            title=title or "What this run learned",
            command=command,
        )
    write_report(out, content)
    if as_json:
        emit_json({"report": str(out), "bytes": out.stat().st_size})
    else:
        say(f"The report is in {out}; open it in a browser.")


def _without_paths(*, query: Path | None, run: Path | None) -> str:
    """The command as the report tells it: a path may name a patient, and the page is passed on."""
    parts = ["medmeta report", "PATH"]
    parts += ["--query IMAGES"] if query is not None else []
    parts += ["--run RUN"] if run is not None else []
    return " ".join(parts)


def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for everything it makes.")] = Path("quickstart"),
    steps: Annotated[int, typer.Option(help="Training steps.")] = 900,
    images_per_class: Annotated[int, typer.Option(help="Pictures drawn per class.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Do the whole job once on synthetic pictures: train, evaluate, adapt, predict, report.

    Example: medmeta quickstart --out quickstart
    """
    from medmeta.app.quickstart import LEAST, run_quickstart

    if steps < 1 or images_per_class < LEAST or not 0 <= seed < 2**63:
        raise SettingsError(
            f"quickstart needs --steps of 1 or more, --images-per-class of {LEAST} or "
            "more, and a --seed of 0 or more."
        )
    done = run_quickstart(out, steps=steps, images_per_class=images_per_class, seed=seed)
    if as_json:
        emit_json(done.to_dict())
        return
    show_facts("Everything is here", done.places())
    say("\nThe same with your own images (one folder per class):\n")
    for line in done.commands():
        say(f"  {line}")
