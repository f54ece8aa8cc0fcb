"""What ``medmeta train`` and ``medmeta pretrain`` share: reading the request, telling the end."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

from medmeta import box
from medmeta.app.terminal import (
    command_line,
    emit_json,
    given_arguments,
    percent,
    say,
    show_facts,
)
from medmeta.errors import SettingsError

if TYPE_CHECKING:
    from medmeta.app.carrying_out import TrainedRun
    from medmeta.app.run_request import RunRequest

AnyRequest = TypeVar("AnyRequest", bound="RunRequest")

TRACE = "trace-train.json"  # of --profile, in the run's folder
PREPROCESSING = (
    "size",
    "channels",
    "fit",
    "window",
    "slices",
    "plane",
    "time_point",
    "depth",
    "spacing",
    "patches",
    "resample",
    "mpp",
    "slide_mpp",
    "tile",
    "overlap",
    "tissue",
    "samples",
    "rate",
    "leads",
    "scaling",
    "csv_rate",
    "modalities",
    "use",
)
TRAINING = (
    "steps",
    "seed",
    "optimiser",
    "learning_rate",
    "weight_decay",
    "momentum",
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


NOT_ASKED = ("out", "config", "resume", "threads", "tensorboard", "profile", "as_json")


def asked(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given and say what is trained, not how the command behaves."""
    return {
        name: value
        for name, value in flags.items()
        if value is not None and value is not False and name not in NOT_ASKED
    }


def request_from(
    kind: type[AnyRequest],
    given: dict[str, Any],
    config: Path | None,
    *,
    where: str,
    defaults: Callable[[dict[str, Any]], dict[str, Any]],
) -> AnyRequest:
    """Flags over the TOML file's options, as one validated request.

    ``where`` is the command in words; ``defaults`` are those of the training that depend on the
    other options.
    """
    from medmeta.settings import options_from_texts, validated

    values = _from_toml(config, kind, where) if config is not None else {}
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
    values["training"] = {**defaults(values), **values["training"]}
    try:
        return validated(kind, values, where=where)
    except SettingsError as error:  # in the words of the flags
        own = "|".join(kind.model_fields)
        name = rf"(?<=[:;] )(?:training\.|preprocessing\.|(?=(?:{own}):))(\w+):"
        text = re.sub(name, _flag, str(error))
        raise SettingsError(text) from None


def _flag(match: re.Match[str]) -> str:
    return f"--{match[1].replace('_', '-')}:"


def _from_toml(path: Path, request: type[RunRequest], where: str) -> dict[str, Any]:
    from medmeta.app.brought import is_encoder_file

    values = _read_toml(path)
    known = {*request.model_fields, *PREPROCESSING, *TRAINING, "source", "set"}
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise SettingsError(
                f"{path}: there is no option {name}{meant}; it takes the flags of '{where}' "
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
    if isinstance(values.get("init"), str):
        values["init"] = _beside(path, values["init"])
    named = values.get("encoder")
    if isinstance(named, str) and is_encoder_file(named):
        values["encoder"] = str(path.parent / named)
    for name in ("way", "shot"):
        if name in values:
            values[name] = str(values[name])
    if "set" in values:
        values["options"] = values.pop("set")
    for name in ("options", "preprocessing", "training"):
        if not isinstance(values.get(name, {}), dict):
            raise SettingsError(f"{path}: set is a table: write [set] and its options below it.")
    return values


def _beside(path: Path, named: str) -> Path:
    """A model beside the file that names it; one of the box where there is none."""
    place = path.parent / named
    return Path(named) if named in box.PINNED and not place.exists() else place


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


def use_threads(threads: int) -> None:
    """Compute with so many; raises ``SettingsError`` for none."""
    import torch

    if threads < 1:
        raise SettingsError(f"--threads {threads}: at least one thread is needed.")
    torch.set_num_threads(threads)


def end_stopped(run: Path, *, as_json: bool) -> NoReturn:
    """Say what is saved after a Ctrl-C that the trainer did not meet, and end with 130."""
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


def tell(done: TrainedRun, *, as_json: bool) -> None:
    """The result of a training; ends with 130 where it was interrupted."""
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
