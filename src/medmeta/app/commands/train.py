"""``medmeta train``: meta-train a learner on sources."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from medmeta.app.commands.options import AllowExternal, AsJson, DropSmall, Profile, SkipBad
from medmeta.app.commands.spread import SpreadCommand
from medmeta.app.profile import profiled
from medmeta.app.terminal import (
    check_place,
    command_line,
    emit_json,
    given_arguments,
    percent,
    say,
    show_facts,
    waiting,
)
from medmeta.errors import SettingsError

if TYPE_CHECKING:
    from medmeta.app.train_run import TrainedRun, TrainRequest

TRACE = "trace-train.json"  # of --profile, in the run's folder
PREPROCESSING = ("size", "channels", "fit")
TRAINING = (
    "steps",
    "seed",
    "optimiser",
    "learning_rate",
    "weight_decay",
    "schedule",
    "halve_every",
    "clip_norm",
    "precision",
    "task_map",
    "augment",
    "validate_every",
    "patience",
    "checkpoint_every",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", cls=SpreadCommand)(train)


def train(
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")],
    source: Annotated[
        list[Path] | None,
        typer.Option("--source", help="Folders, manifests or npz files to learn from."),
    ] = None,
    learner: Annotated[str | None, typer.Option(help="See 'medmeta learners'.")] = None,
    encoder: Annotated[str | None, typer.Option(help="conv4, resnet12, pixels, external:…")] = None,
    norm: Annotated[str | None, typer.Option(help="group, running, batch or none.")] = None,
    way: Annotated[str | None, typer.Option(help="Classes per task: 5, or a range 2-5.")] = None,
    shot: Annotated[str | None, typer.Option(help="Support images per class: 5 or 1-5.")] = None,
    query: Annotated[int | None, typer.Option(help="Query images per class.")] = None,
    target: Annotated[str | None, typer.Option(help="classes or values.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A learner's option: inner_rate=0.1.")
    ] = None,
    tasks_per_step: Annotated[int | None, typer.Option(help="Tasks per step.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the images in pixels.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 grey, 3 colour.")] = None,
    fit: Annotated[str | None, typer.Option(help="pad, crop or stretch to a square.")] = None,
    optimiser: Annotated[str | None, typer.Option(help="adam, adamw or sgd.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Step size.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay.")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, cosine or halving.")] = None,
    halve_every: Annotated[int | None, typer.Option(help="Steps, with halving.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Gradient norm's bound; 0: none.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16.")] = None,
    task_map: Annotated[
        str | None, typer.Option(help="auto, loop, vmap, loop-workers or vmap-workers.")
    ] = None,
    inner_checkpoint: Annotated[
        bool, typer.Option("--inner-checkpoint", help="Less memory over inner steps, more time.")
    ] = False,
    augment: Annotated[
        str | None, typer.Option(help="none, or light: mirrored, brighter, other stain.")
    ] = None,
    validation: Annotated[str | None, typer.Option(help="auto, classes, images or none.")] = None,
    validate_every: Annotated[int | None, typer.Option(help="Steps between validations.")] = None,
    patience: Annotated[int | None, typer.Option(help="Validations to wait; 0: for ever.")] = None,
    checkpoint_every: Annotated[int | None, typer.Option(help="Steps between saves.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of these same options.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an earlier run.")] = False,
    skip_bad: SkipBad = False,
    drop_small: DropSmall = False,
    allow_external: AllowExternal = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log to TensorBoard.")] = False,
    profile: Profile = False,
    as_json: AsJson = False,
) -> None:
    """Meta-train a learner on tasks drawn from sources.

    Example: medmeta train --source images_a images_b --learner prototypical --way 2-5 --shot 5
    --steps 2000 --out run
    """
    given = {k: v for k, v in locals().items() if v is not None and v is not False}
    for name in ("out", "config", "resume", "threads", "tensorboard", "profile", "as_json"):
        given.pop(name, None)
    if given.pop("inner_checkpoint", False):
        given["set_"] = [*given.get("set_", []), "inner_checkpoint=true"]
    check_place(out)
    request = request_from(given, config)
    if threads is not None:
        _use_threads(threads)
    from medmeta.app.train_run import train as train_run

    try:
        with profiled(out / TRACE if profile else None, aside=as_json), waiting() as progress:
            done = train_run(
                request,
                out,
                resume=resume,
                say=None if as_json else say,
                tensorboard=tensorboard,
                report=lambda r: progress(
                    "training", r.step, r.steps, f"loss {r.loss:.3f}, validation {percent(r.score)}"
                ),
                progress=progress,
            )
    except KeyboardInterrupt:  # before the first step, or the second Ctrl-C
        _stopped(out, as_json=as_json)
    _tell(done, as_json=as_json)


def request_from(given: dict[str, Any], config: Path | None) -> TrainRequest:
    """Flags over the TOML file's options, as one validated request."""
    from medmeta.app.train_run import TrainRequest
    from medmeta.settings import options_from_texts, validated

    values = _from_toml(config, TrainRequest) if config is not None else {}
    flags = {("sources" if k == "source" else k): v for k, v in given.items() if k != "set_"}
    options = options_from_texts(given.get("set_", []))
    values = {**values, **flags, "options": _merged(values.get("options", {}), options)}
    nested: dict[str, Any] = {"preprocessing": {}, "training": {}}
    for name in list(values):
        for group, members in (("preprocessing", PREPROCESSING), ("training", TRAINING)):
            if name in members:
                nested[group][name] = values.pop(name)
    for group, inner in nested.items():
        values[group] = {**values.get(group, {}), **inner}
    if "learning_rate" not in values["training"] or "optimiser" not in values["training"]:
        from medmeta.learners import learner_spec

        defaults = learner_spec(str(values.get("learner", "prototypical"))).config.training_defaults
        values["training"].setdefault("learning_rate", defaults.learning_rate)
        values["training"].setdefault("optimiser", defaults.optimiser)
    try:
        return validated(TrainRequest, values, where="medmeta train")
    except SettingsError as error:  # in the words of the flags
        text = re.sub(r"\b(?:training|preprocessing)\.(\w+):", _flag, str(error))
        raise SettingsError(text) from None


def _flag(match: re.Match[str]) -> str:
    return f"--{match[1].replace('_', '-')}:"


def _from_toml(path: Path, request: type[TrainRequest]) -> dict[str, Any]:
    values = _read_toml(path)
    known = {*request.model_fields, *PREPROCESSING, *TRAINING, "source", "set"}
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise SettingsError(
                f"{path}: there is no option {name}{meant}; it takes the flags of 'medmeta train' "
                "without their dashes."
            )
    if "source" in values:
        values["sources"] = values.pop("source")
    if "sources" in values:  # as in the shell, but beside the file that names them
        listed = values["sources"]
        listed = [listed] if isinstance(listed, str) else listed
        if not isinstance(listed, list) or not all(isinstance(entry, str) for entry in listed):
            raise SettingsError(f'{path}: write source as a path or a list of them, ["a", "b"].')
        values["sources"] = [path.parent / entry for entry in listed]
    for name in ("way", "shot"):
        if name in values:
            values[name] = str(values[name])
    if "set" in values:
        values["options"] = values.pop("set")
    for name in ("options", "preprocessing", "training"):
        if not isinstance(values.get(name, {}), dict):
            raise SettingsError(f"{path}: set is a table: write [set] and its options below it.")
    return values


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not a TOML file: {error}.") from None
    return {k.replace("-", "_"): v for k, v in values.items()}


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        both = isinstance(value, dict) and isinstance(inner, dict)
        merged[key] = _merged(inner, value) if both and isinstance(inner, dict) else value
    return merged


def _use_threads(threads: int) -> None:
    import torch

    if threads < 1:
        raise SettingsError(f"--threads {threads}: at least one thread is needed.")
    torch.set_num_threads(threads)


def _stopped(run: Path, *, as_json: bool) -> NoReturn:
    from medmeta.training.checkpoint import newest_checkpoint_card

    saved = newest_checkpoint_card(run) is not None
    text = f"stopped by Ctrl-C. {_again() if saved else 'Nothing was learned yet; start it again.'}"
    if as_json:
        emit_json({"error": {"kind": "Interrupted", "message": text, "exit_code": 130}})
    say(f"error: {text}")
    raise typer.Exit(130)


def _again() -> str:
    """The same command with --resume."""
    given = [word for word in given_arguments() if word != "--resume"]
    return f"Everything is saved. Go on with: {command_line(*given, '--resume')}"


def _tell(done: TrainedRun, *, as_json: bool) -> None:
    progress = done.outcome.progress
    scored = progress.best_score if progress.best_score > float("-inf") else None
    if as_json:
        emit_json(
            {
                "run": str(done.run),
                "ended": done.outcome.reason,
                **progress.to_dict(),
                "notes": list(done.notes),
            }
        )
    else:
        facts = {
            "run": done.run,
            "ended": "finished already" if done.already else done.outcome.reason.replace("_", " "),
            "steps": progress.step,
            "best step": progress.best_step,
            "held-out score": "not validated" if scored is None else f"{percent(scored)} %",
        }
        show_facts("Training", facts)
    if done.outcome.reason == "interrupted":
        say(_again())
        raise typer.Exit(130)
    say(f"Next: {command_line('evaluate', done.run)} --source PATH --shot 1 5")
