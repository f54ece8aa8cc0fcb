"""``medmeta inspect`` and ``medmeta learners``: what there is."""

from __future__ import annotations

from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from medmeta.app.commands.options import AllowExternal, AsJson
from medmeta.app.terminal import emit_json, out, say, show_facts, show_table


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
    from medmeta.app.model_facts import facts_of, told_of

    told = told_of(path, allow_external=allow_external)
    if as_json:
        emit_json({**told.card, "evaluations": told.evaluations})
        return
    show_facts(str(path), facts_of(told))
    show_evaluations(told.evaluations)
    out.print("Hashes: all parts are as they were saved.")


def show_evaluations(evaluations: list[dict[str, Any]]) -> None:
    """A table of what was measured of a run; nothing where nothing was."""
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
            "type": type_in_words(info.annotation),
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


def type_in_words(kind: Any) -> str:
    """What an option may be.

    >>> type_in_words(Literal["adam", "sgd"]), type_in_words(tuple[float, ...] | None)
    ('adam | sgd', 'tuple of float, or none')
    """
    inside = get_args(kind)
    if get_origin(kind) is Literal:
        return " | ".join(map(str, inside))
    if get_origin(kind) in (Union, UnionType):
        told = " | ".join(type_in_words(one) for one in inside if one is not NoneType)
        return f"{told}, or none" if NoneType in inside else told
    if get_origin(kind) is tuple:
        kinds = dict.fromkeys(type_in_words(one) for one in inside if one is not Ellipsis)
        return f"tuple of {' and '.join(kinds)}"
    return getattr(kind, "__name__", str(kind))


def _plain(value: Any) -> Any:
    """A default as it would be written in JSON."""
    return value.model_dump() if hasattr(value, "model_dump") else value
