"""``medmeta models``: what there is, what it is, whether it is whole; exporting."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medmeta.app.commands.asked_model import check_no_predictor
from medmeta.app.commands.options import AllowExternal, AsJson, ExpectSha256
from medmeta.app.terminal import (
    check_out,
    emit_json,
    out,
    say,
    show_facts,
    show_table,
    shown,
)
from medmeta.errors import SettingsError

Name = Annotated[Path, typer.Argument(help="A model in the box, a run, a model or a predictor.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(list_models)
    app.command("describe")(describe)
    app.command("verify")(verify)
    app.command("export")(export)


def list_models(
    folder: Annotated[Path | None, typer.Argument(help="List what is below it too.")] = None,
    as_json: AsJson = False,
) -> None:
    """The models in the box, and the runs, models and predictors below a folder.

    Example: medmeta models list .
    """
    from medmeta.app.model_facts import listed

    if folder is not None and not folder.is_dir():
        raise SettingsError(f"{folder} is not a folder.")
    rows = listed(folder)
    if as_json:
        emit_json(rows)
        return
    if not rows:
        where = f" and below {folder}" if folder else ""
        say(f"In the box{where} there is no model. 'medmeta train' makes one.")
        return
    header = ["name", "kind", "learner", "encoder", "images", "MB"]
    sound = [row for row in rows if "problem" not in row]
    table = [
        (*(r[k] for k in ("name", "kind", "learner", "encoder")), _images(r), r["megabytes"])
        for r in sound
    ]
    if table:
        show_table("Models", header, table)
    for row in rows:
        if "problem" in row:
            say(f"{row['name']}: {row['problem']}")


def _images(row: dict[str, Any]) -> str:
    return f"{row['size']}×{row['size']}×{row['channels']}"


def describe(name: Name, allow_external: AllowExternal = False, as_json: AsJson = False) -> None:
    """What a model is: its learner, data, licences, recipe, figures and limits.

    Example: medmeta models describe run
    """
    from medmeta.app.commands.inspect import show_evaluations
    from medmeta.app.model_facts import about, facts_of, told_of

    told = told_of(name, allow_external=allow_external)
    if as_json:
        emit_json({**told.card, "kind": told.kind, "card_sha256": told.sha256,
                   "weights": told.n_weights, "evaluations": told.evaluations})  # fmt: skip
        return
    facts = {"kind": told.kind, **facts_of(told), "weights": f"{told.n_weights:,}"}
    show_facts(str(name), facts)
    for heading, lines in about(told.card).items():
        out.print(f"\n[bold]{heading.capitalize()}[/bold]")
        for line in lines:
            out.print(f"  {shown(line)}")
    show_evaluations(told.evaluations)


def verify(
    name: Name,
    expect_sha256: ExpectSha256 = None,
    allow_external: AllowExternal = False,
    as_json: AsJson = False,
) -> None:
    """Compare every file of a model, run or predictor with its hash.

    Against tampering, and not damage alone, give the hash of its card that somebody trusted told
    you; that of a model in the box is part of medmeta.

    Example: medmeta models verify run
    """
    from medmeta.app.model_facts import told_of

    told = told_of(name, expected_sha256=expect_sha256, allow_external=allow_external)
    sure = told.kind == "box" or expect_sha256 is not None
    if as_json:
        emit_json({"name": str(name), "kind": told.kind, "whole": True, "sha256": told.sha256,
                   "as_expected": sure})  # fmt: skip
        return
    how = "as expected" if sure else "not compared with any that you were told"
    out.print(f"All parts are as they were saved. SHA-256 of the card: {told.sha256} ({how}).")


def export(
    name: Name,
    onnx: Annotated[Path, typer.Option(help="The file to write.")],
    head: Annotated[
        str | None, typer.Option(help="With another head on the model's encoder.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A head's option.")] = None,
    encoder: Annotated[
        bool, typer.Option("--encoder", help="The encoder alone: images to embeddings.")
    ] = False,
    expect_sha256: ExpectSha256 = None,
    allow_external: AllowExternal = False,
    as_json: AsJson = False,
) -> None:
    """Write a model as one ONNX graph: support, labels and query in, logits out.

    It takes any number of classes and images. Of a predictor, the support is in the graph. What
    ONNX Runtime answers is compared with torch before the file is written.

    Example: medmeta models export run --onnx model.onnx
    """
    from medmeta.app.models import load_model
    from medmeta.app.onnx_export import export_model, export_predictor
    from medmeta.app.workbench import is_predictor, load_predictor
    from medmeta.learners.building import check_no_encoder
    from medmeta.settings import options_from_texts

    check_out(onnx, suffixes=(".onnx",))
    if set_ and head is None:
        raise SettingsError("--set goes with --head: a run's own learner keeps its options.")
    if is_predictor(name):
        if head or encoder:
            raise SettingsError("--head and --encoder are for runs; a predictor is written whole.")
        saved = load_predictor(name, expected_sha256=expect_sha256, allow_external=allow_external)
        done = export_predictor(saved, onnx)
    else:
        check_no_predictor(name, "models export")
        model = load_model(name, expected_sha256=expect_sha256, allow_external=allow_external)
        options = options_from_texts(set_ or [])
        check_no_encoder(options)
        done = export_model(model, onnx, head=head, head_options=options, encoder_only=encoder)
    if as_json:
        emit_json({"onnx": str(done.file), "inputs": done.inputs, "outputs": done.outputs,
                   "largest_difference": done.difference, "bytes": done.n_bytes})  # fmt: skip
        return
    facts = {
        "file": done.file,
        "size": f"{done.n_bytes / 1e6:.2f} MB",
        **{f"in: {name}": _shape(shape) for name, shape in done.inputs.items()},
        **{f"out: {name}": _shape(shape) for name, shape in done.outputs.items()},
        "largest difference from torch": f"{done.difference:.1e}",
    }
    show_facts("Exported", facts)


def _shape(shape: list[Any]) -> str:
    return " × ".join(map(str, shape))
