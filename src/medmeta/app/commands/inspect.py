"""``medmeta inspect`` and ``medmeta learners``: what there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medmeta.app.commands.options import AllowExternal, AsJson
from medmeta.app.terminal import emit_json, out, say, show_facts, show_table

if TYPE_CHECKING:
    from medmeta.data.preprocess import Preprocessing


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("inspect")(inspect)
    app.command("learners")(learners)


def inspect(
    path: Annotated[Path, typer.Argument(help="A run or a predictor.")],
    allow_external: AllowExternal = False,
    as_json: AsJson = False,
) -> None:
    """What a run or a predictor is: its learner, its data, its figures; checks its hashes.

    Example: medmeta inspect run
    """
    from medmeta.app.mask_workbench import is_mask_predictor, load_mask_predictor
    from medmeta.app.models import load_model, verify_run
    from medmeta.app.workbench import is_predictor, load_predictor
    from medmeta.data.preprocess import Preprocessing

    if is_predictor(path):
        card = dict(load_predictor(path, allow_external=allow_external).card)
        evaluations = card.pop("evaluations", [])
    elif is_mask_predictor(path):
        card = dict(load_mask_predictor(path, allow_external=allow_external).card)
        evaluations = []
    else:
        model = load_model(path, allow_external=allow_external)
        verify_run(model)
        card, evaluations = dict(model.card), model.all_evaluations()
    if as_json:
        emit_json({**card, "evaluations": evaluations})
        return
    model_card = card.get("model", card)
    facts: dict[str, Any] = {
        "format": card["format"],
        "learner": card["learner"],
        "head": (card.get("head") or {}).get("name", "its own"),
        "encoder": card["options"]["encoder"]["name"],
        "normalisation": card["options"]["encoder"]["norm"],
        "images": f"{card['preprocessing']['size']}×{card['preprocessing']['size']}, "
        f"{card['preprocessing']['channels']} channels",
        **_inputs(Preprocessing.model_validate(card["preprocessing"])),
        "classes": ", ".join(card.get("class_names", card.get("structures", []))) or "any",
        **_origin(model_card),
        "trained for": f"{model_card.get('step', '?')} steps",
        "trained on": ", ".join(s["name"] for s in model_card.get("sources", [])),
    }
    show_facts(str(path), facts)
    headed = any(e.get("head") for e in evaluations)
    rows = [
        (
            e["source"],
            *([(e.get("head") or {}).get("name", "its own")] if headed else []),
            e["novelty"],
            e["protocol"]["n_way"][1] if e["protocol"].get("kind") != "values" else "–",
            e["protocol"]["n_shot"][0],
            _score(e),
        )
        for e in evaluations
    ]
    if rows:
        heads = ["head"] if headed else []
        header = ["source", *heads, "classes are", "way", "shot", "score, %"]
        show_table("Evaluations", header, rows)
    out.print("Hashes: all parts are as they were saved.")


def _origin(card: dict[str, Any]) -> dict[str, str]:
    """How its encoder came about, where that was not by tasks alone."""
    facts = {}
    before, union = card.get("init"), card.get("pretraining")
    if before:
        facts["started from"] = f"the model with SHA-256 {before['sha256']}"
    if isinstance(union, dict):
        facts["pre-trained"] = f"to tell {union.get('classes', '?')} classes apart"
    return facts


def _score(evaluation: dict[str, Any]) -> str:
    from medmeta.app.terminal import percent

    summary = evaluation["summary"]
    main = summary.get("accuracy") or summary.get("dice") or summary.get("r_squared") or {}
    return f"{percent(main.get('mean'))} [{percent(main.get('low'))}, {percent(main.get('high'))}]"


def learners(
    name: Annotated[str | None, typer.Argument(help="One learner, for its options.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the learners, or describe one with its options.

    Example: medmeta learners maml
    """
    from medmeta.learners import LEARNERS, learner_spec, targets_of

    if name is None:
        header = ("name", "family", "takes", "head", "summary", "paper")
        rows = [
            (
                spec.name,
                spec.family,
                ", ".join(targets_of(spec.name)),
                "yes" if spec.serves_on_encoders else "no",
                spec.summary,
                spec.paper,
            )
            for spec in LEARNERS.values()
        ]
        if as_json:
            emit_json([dict(zip(header, row, strict=True)) for row in rows])
            return
        for family in dict.fromkeys(spec.family for spec in LEARNERS.values()):
            members = [(row[0], row[2], row[3], row[4]) for row in rows if row[1] == family]
            show_table(family, ("name", "takes", "head", "summary"), members)
        say("One with its paper and options: medmeta learners NAME")
        return
    spec = learner_spec(name)
    options = {
        field: {
            "default": _plain(info.get_default(call_default_factory=True)),
            "type": getattr(info.annotation, "__name__", str(info.annotation)).split(".")[-1],
        }
        for field, info in spec.config.model_fields.items()
    }
    defaults = spec.config.training_defaults
    about = {
        "name": spec.name,
        "family": spec.family,
        "summary": spec.summary,
        "paper": spec.paper,
        "takes": ", ".join(targets_of(name)),
        "usable as --head": spec.serves_on_encoders,
        "normalisation": spec.default_norm,
        "training": f"{defaults.optimiser}, learning rate {defaults.learning_rate:g}, "
        f"{defaults.tasks_per_step} tasks per step",
    }
    if as_json:
        emit_json({**about, "options": options})
        return
    show_facts(spec.name, about)
    rows_of_options = [
        (f"--set {k}=…", str(v["default"]), str(v["type"])) for k, v in options.items()
    ]
    show_table("Options", ["option", "default", "type"], rows_of_options)
    out.print(" ".join((spec.config.__doc__ or "").replace("``", "").split()))


def _plain(value: Any) -> Any:
    """A default as it would be written in JSON."""
    return value.model_dump() if hasattr(value, "model_dump") else value


def _inputs(prepared: Preprocessing) -> dict[str, str]:
    """What is read of each patient, beside the size of its pictures."""
    from medmeta.data.slices import slices_in_words

    told = {"volumes": slices_in_words(prepared)}
    if prepared.modalities and prepared.has_picture:
        told["modalities"] = ", ".join(prepared.modalities)
    if prepared.record is not None and prepared.has_record:
        told["record"] = ", ".join(
            f"{c.name} ({', '.join(c.categories) or c.kind})" for c in prepared.record.columns
        )
    return told
