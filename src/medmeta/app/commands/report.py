"""``medmeta report`` and ``medmeta quickstart``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medmeta.app.commands.options import AllowExternal, AsJson, Group, SkipBad
from medmeta.app.terminal import check_out, emit_json, say, show_facts, waiting
from medmeta.errors import SettingsError

if TYPE_CHECKING:
    from medmeta.app.report.building import Asking
    from medmeta.app.report.content import ReportContent

MOST_MAPS = 200


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("report")(report)
    app.command("quickstart")(quickstart)


def report(
    path: Annotated[
        Path, typer.Argument(help="A run, a predictor, or the CSV that 'predict' wrote.")
    ],
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
    lang: Annotated[str, typer.Option(help="Language of the page: en, zh (简体中文).")] = "en",
    explain: Annotated[int, typer.Option(help="How many answers are explained by maps.")] = 6,
    model_card: Annotated[
        Path | None, typer.Option(help="JSON file: the same as a model card for programs.")
    ] = None,
    skip_bad: SkipBad = False,
    allow_external: AllowExternal = False,
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page about a run, a predictor and its answers, or a table.

    --explain 0 leaves out the maps of where answers come from.

    Example: medmeta report my_predictor --query new_images --run run --out report.html
    """
    from medmeta.app.mask_workbench import is_mask_predictor
    from medmeta.app.report.building import Asking
    from medmeta.app.report.model_card import write_model_card
    from medmeta.app.report.page import write_report
    from medmeta.app.report.words import check_language

    check_out(out, suffixes=(".html", ".htm"))
    check_out(model_card, suffixes=(".json",))
    if not 0 <= explain <= MOST_MAPS:
        raise SettingsError(f"--explain {explain}: from 0 to {MOST_MAPS} answers are explained.")
    command = _without_paths(query=query, run=run)
    asking = Asking(title, command, check_language(lang), explain)
    if is_mask_predictor(path):
        if run is not None or group is not None or model_card is not None or skip_bad:
            words = "--run, --group, --model-card and --skip-bad"
            raise SettingsError(f"{words} are of predictors of classes.")
        _of_masks(path, out, asking, query=query, allow_external=allow_external)
        _tell(out, None, as_json=as_json)
        return
    if path.is_file():
        content = _of_table(path, asking, query=query, run=run)
    else:
        content = _of_folder(
            path,
            asking,
            query=query,
            run=run,
            group=group,
            skip_bad=skip_bad,
            allow_external=allow_external,
        )
    write_report(out, content)
    if model_card is not None:
        write_model_card(model_card, content)
    _tell(out, model_card, as_json=as_json)


def _tell(out: Path, model_card: Path | None, *, as_json: bool) -> None:
    if as_json:
        card = {} if model_card is None else {"model_card": str(model_card)}
        emit_json({"report": str(out), "bytes": out.stat().st_size, **card})
    else:
        say(f"The report is in {out}; open it in a browser.")


def _of_table(path: Path, asking: Asking, *, query: Path | None, run: Path | None) -> ReportContent:
    from medmeta.app.report.answer_table import read_answers, table_report

    if query is not None or run is not None:
        raise SettingsError(
            f"{path} is a table of answers, and --query and --run go with a predictor; give its "
            "folder."
        )
    return table_report(read_answers(path), asking)


def _of_masks(
    path: Path, out: Path, asking: Asking, *, query: Path | None, allow_external: bool
) -> None:
    """The page of a predictor of masks; images with masks of their own are measured too."""
    from medmeta.app.mask_answers import mark_images
    from medmeta.app.mask_workbench import load_mask_predictor
    from medmeta.app.measured_masks import groups_of, in_all, measured_images, true_masks
    from medmeta.app.report.mask_page import asked_cards, mask_report, write_mask_report
    from medmeta.app.report.words import Words
    from medmeta.data.mask_pairs import holds_pairs

    predictor, words = (
        load_mask_predictor(path, allow_external=allow_external),
        Words(asking.language),
    )
    cards, figures, measured = list[Any](), list[Any](), list[dict[str, Any]]()
    if query is not None:
        truth = true_masks(predictor, query) if holds_pairs(query) else None
        with waiting() as progress:
            told = partial(progress, "marking")
            if truth is None:
                marked = mark_images(predictor, [query], uncertainty=True, progress=told)
            else:
                marked = measured_images(predictor, truth, uncertainty=True, progress=told)
            cards, figures = asked_cards(marked, predictor.structures, words)
        if truth is not None:
            measured = in_all(figures, predictor.structures, groups_of(truth))
    report = mask_report(
        predictor, cards, n_asked=len(figures), measured=measured, title=asking.title,
        command=asking.command, words=words,
    )  # fmt: skip
    write_mask_report(out, report)


def _of_folder(
    path: Path,
    asking: Asking,
    *,
    query: Path | None,
    run: Path | None,
    group: str | None,
    skip_bad: bool,
    allow_external: bool,
) -> ReportContent:
    from medmeta.app.asked_table import read_asked
    from medmeta.app.models import load_model
    from medmeta.app.report.building import check_made_from, predictor_report, run_report
    from medmeta.app.workbench import is_predictor, load_predictor

    if not is_predictor(path):
        if query is not None and path.exists():
            raise SettingsError(
                f"{path} is a run, and --query goes with a predictor; adapt one to your images "
                "first (medmeta adapt)."
            )
        return run_report(load_model(path, allow_external=allow_external), asking)
    predictor = load_predictor(path, allow_external=allow_external)
    if not predictor.class_names:
        raise SettingsError(
            f"{path} predicts values, and reports are about classes; 'medmeta predict' writes "
            "the values as CSV."
        )
    measured = None if run is None else load_model(run, allow_external=allow_external)
    if run is not None and measured is not None:
        check_made_from(predictor, measured, run)
    asked = None
    if query is not None:
        with waiting() as progress:
            told = partial(progress, "reading")
            asked = read_asked(predictor, [query], group=group, skip_bad=skip_bad, progress=told)
    head = predictor.card["head"]
    return predictor_report(
        predictor,
        asked,
        asking,
        run=run,
        evaluations=None if measured is None else measured.evaluations(head),
        shifts=() if measured is None else measured.shifts(head),
    )


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
