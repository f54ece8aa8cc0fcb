"""From sources to a trained run: held-out parts, protocols, the trainer, and the run's card."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from medmeta.app.held_out import Held, Validation, hold_out
from medmeta.app.models import MODEL_FORMAT, SEEN, SEEN_FILE
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.encoders import Norm
from medmeta.episode import InputSpec, Target
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol, parse_range
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SettingsError
from medmeta.evaluation.evaluate import evaluate
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner, configuration, learner_spec
from medmeta.settings import Settings
from medmeta.storage import remove_leftovers, save_folder
from medmeta.training.allocator import keep_freed_memory
from medmeta.training.checkpoint import newest_checkpoint_card, tensors_to_bytes
from medmeta.training.loop import Outcome, Report, Trainer
from medmeta.training.settings import TrainingSettings
from medmeta.version import __version__

VALIDATION_EPISODES = 60


class TrainRequest(Settings):
    """All that decides how a run goes, as flags, TOML or Python give it.

    ``sources`` are folders, manifests or npz files; ``options`` are the learner's own
    (``inner_rate``, ``encoder.options.width``). ``tasks_per_step`` None means the learner's own.
    ``device`` ``auto`` takes a GPU where there is one.
    """

    sources: tuple[Path, ...] = ()
    learner: str = "prototypical"
    options: dict[str, Any] = Field(default_factory=dict)
    encoder: str | None = None
    norm: Norm | None = None
    target: Literal["classes", "values"] = "classes"
    way: str = "5"
    shot: str = "5"
    query: int = Field(15, ge=1)
    tasks_per_step: int | None = Field(None, ge=1)
    preprocessing: Preprocessing = Preprocessing()
    training: TrainingSettings = TrainingSettings()
    validation: Validation = "auto"
    skip_bad: bool = False
    drop_small: bool = False
    allow_external: bool = False
    device: str = "auto"


@dataclass(frozen=True)
class TrainedRun:
    """Where the run lies, how it ended, and what was said on the way."""

    run: Path
    outcome: Outcome
    notes: tuple[str, ...]


def learner_options(request: TrainRequest) -> dict[str, Any]:
    """The learner's options with ``--encoder`` and ``--norm`` put in their place."""
    options = {k: dict(v) if isinstance(v, Mapping) else v for k, v in request.options.items()}
    encoder = options.setdefault("encoder", {})
    if not isinstance(encoder, dict):
        raise SettingsError("--set encoder=NAME: use --encoder NAME, or --set encoder.name=NAME.")
    if request.encoder is not None:
        encoder["name"] = request.encoder
    if request.norm is not None:
        encoder["norm"] = request.norm
    return options


def train(
    request: TrainRequest,
    run: Path,
    *,
    resume: bool = False,
    sources: Sequence[Source] | None = None,
    report: Callable[[Report], None] | None = None,
    say: Callable[[str], None] | None = None,
    tensorboard: bool = False,
) -> TrainedRun:
    """Train a learner on sources and keep everything in the folder ``run``.

    ``sources`` that are open already may be given in place of the request's paths. With
    ``resume`` an interrupted run goes on, and must be asked for with the same settings. Raises
    errors of ``medmeta.errors``; nothing is written before all settings and sources are checked.
    """
    _check_folder(run, resume=resume)
    keep_freed_memory()
    way, shot = parse_range(request.way, name="--way"), parse_range(request.shot, name="--shot")
    config = configuration(request.learner, learner_options(request))
    spec = InputSpec(request.preprocessing.channels, (request.preprocessing.size,) * 2)
    target = Target(request.target, way[1] if request.target == "classes" else 1)
    torch.manual_seed(request.training.seed)
    learner = build_learner(
        request.learner, config, spec, target, allow_external=request.allow_external
    )
    opened = list(sources or [_opened(path, request) for path in request.sources])
    if not opened:
        raise SettingsError("no source to train on: give --source PATH, once or more.")
    protocol = Protocol(
        sources=tuple(source.name for source in opened),
        kind=request.target,
        n_way=way if request.target == "classes" else (1, 1),
        n_shot=shot,
        n_query=request.query,
        tasks_per_batch=request.tasks_per_step or config.training_defaults.tasks_per_step,
        drop_small_classes=request.drop_small,
        norm=str(config.encoder.norm),
        transductive=learner.traits.transductive,
        seed=request.training.seed,
    )
    held = hold_out(opened, protocol, request.validation)
    sampler = TaskSampler(held.training, protocol)
    card = _card(request, config.model_dump(mode="json"), spec, target, protocol, held)
    _check_same_run(run, card)
    notes = (*held.notes, *_notes(opened, sampler))
    for note in notes:
        if say is not None:
            say(note)
    device = _device(request.device)
    _save_seen(run, held)
    outcome = Trainer(
        learner.to(device),
        EpisodeLoader(sampler, device=device),
        request.training,
        run,
        card,
        validate=_validator(held, protocol, device) if held.validation else None,
        report=report,
        tensorboard=tensorboard,
    ).fit()
    return TrainedRun(run, outcome, notes)


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"--device {name!r} cannot be used here: {reason}") from None
    return name


def _opened(path: Path, request: TrainRequest) -> Source:
    return open_source(path, preprocessing=request.preprocessing, skip_bad=request.skip_bad)


def _check_folder(run: Path, *, resume: bool) -> None:
    has_run = newest_checkpoint_card(run) is not None
    if has_run and not resume:
        raise SettingsError(
            f"{run} holds a run already: go on with it by --resume, or choose another --out."
        )
    if run.exists() and not run.is_dir():
        raise SettingsError(f"{run} is a file; --out names a folder.")


def _check_same_run(run: Path, card: Mapping[str, Any]) -> None:
    """Refuse to go on with a run under other settings: its figures would mean nothing."""
    before = newest_checkpoint_card(run)
    if before is None:
        return
    longer = card["training"]["schedule"] != "cosine"
    changed = []
    for key in ("learner", "options", "target", "preprocessing", "protocol", "sources", "training"):
        old, new = before.get(key), card[key]
        if key == "training" and longer:
            old, new = {**(old or {}), "steps": 0}, {**new, "steps": 0}
        if old != new:
            changed.append(key)
    if changed:
        raise SettingsError(
            f"{run} was trained with other settings ({', '.join(changed)}); resume it with the "
            "same ones, or choose another --out."
        )


def _card(
    request: TrainRequest,
    options: dict[str, Any],
    spec: InputSpec,
    target: Target,
    protocol: Protocol,
    held: Held,
) -> dict[str, Any]:
    return {
        "format": MODEL_FORMAT,
        "medmeta": __version__,
        "torch": torch.__version__,
        "learner": request.learner,
        "paper": learner_spec(request.learner).paper,
        "options": options,
        "input_spec": {"channels": spec.channels, "size": list(spec.size)},
        "target": {"kind": target.kind, "size": target.size},
        "preprocessing": request.preprocessing.model_dump(mode="json"),
        "training": request.training.model_dump(mode="json"),
        "protocol": protocol.model_dump(mode="json"),
        "validation": held.how,
        "sources": [description(source) for source in held.training],
        "validated_on": [description(source) for source in held.validation],
    }


def description(source: Source) -> dict[str, Any]:
    """What a card says of a source: counts and class names, and no identifier of anybody."""
    index = source.index
    return {
        "name": source.name,
        "images": len(source),
        "classes": list(index.class_names),
        "modalities": sorted({t for t in index.modalities.texts() if t is not None}),
        "patients": len(np.unique(index.patients.codes)) if index.patients.known else None,
        "fingerprint": f"{int(np.bitwise_xor.reduce(source.hashes)):016x}",
    }


def _save_seen(run: Path, held: Held) -> None:
    remove_leftovers(run)
    parts = [source.hashes for source in (*held.training, *held.validation)]
    hashes = np.unique(np.concatenate(parts)).view(np.int64)
    if (run / SEEN).exists():
        shutil.rmtree(run / SEEN)
    save_folder(
        run / SEEN,
        {"what": "content hashes of the pictures that this run learned from or was chosen by"},
        {SEEN_FILE: tensors_to_bytes({"hashes": torch.from_numpy(hashes)})},
    )


def _notes(sources: Sequence[Source], sampler: TaskSampler) -> list[str]:
    notes = []
    for source in sources:
        notes += [f"{source.name}: {p.where}: {p.what}" for p in source.index.problems]
        if not source.index.patients.known:
            notes.append(
                f"{source.name}: patients are not known, so two images of one patient may stand "
                "on both sides of a task."
            )
    for name, classes in sampler.dropped.items():
        left_out = ", ".join(f"{c} ({n})" for c, n in classes.items())
        notes.append(f"{name}: classes too small for these tasks are left out: {left_out}.")
    return notes


def _validator(held: Held, protocol: Protocol, device: str) -> Callable[[AbstractLearner], float]:
    metric = "accuracy" if protocol.kind == "classes" else "r_squared"

    def validate(learner: AbstractLearner) -> float:
        scores = [
            evaluate(
                learner, source, held.protocol(source, protocol, VALIDATION_EPISODES), device=device
            )
            .summary[metric]
            .mean
            for source in held.validation
        ]
        return float(np.mean(scores))

    return validate
