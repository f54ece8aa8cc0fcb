"""From sources to a trained run: held-out parts, protocols, the trainer, and the run's card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from medmeta.app.held_out import Held, Validation, hold_out
from medmeta.app.models import MODEL_FORMAT
from medmeta.app.run_folder import check_folder, earlier_progress, fingerprint, save_seen
from medmeta.app.support import conflicting_pictures
from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.encoders import Norm
from medmeta.episode import InputSpec, Target
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol, parse_range
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SettingsError, UnsupportedTaskError
from medmeta.evaluation.evaluate import evaluate
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner, configuration, learner_spec
from medmeta.settings import Settings, validated
from medmeta.training.allocator import keep_freed_memory
from medmeta.training.loop import Outcome, Report, Trainer
from medmeta.training.settings import TrainingSettings
from medmeta.training.task_plan import possible_plans
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
    query: int = Field(15, ge=1, le=10_000)
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
    """Where the run lies, how it ended, and what was said on the way.

    ``already``: the run had been finished before, and nothing was left to do.
    """

    run: Path
    outcome: Outcome
    notes: tuple[str, ...]
    already: bool = False


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
    progress: Callable[[str, int, int], None] | None = None,
) -> TrainedRun:
    """Train a learner on sources and keep everything in the folder ``run``.

    ``sources`` that are open already may be given in place of the request's paths. With
    ``resume`` an interrupted run goes on, and must be asked for with the same settings. Raises
    errors of ``medmeta.errors``; nothing is written before all settings and sources are checked.
    """
    check_folder(run, resume=resume)
    device = _device(request.device)
    keep_freed_memory()
    way, shot = parse_way(request.way), parse_range(request.shot, name="--shot")
    config = configuration(request.learner, learner_options(request))
    spec = InputSpec(request.preprocessing.channels, (request.preprocessing.size,) * 2)
    target = Target(request.target, way[1] if request.target == "classes" else 1)
    torch.manual_seed(request.training.seed)
    learner = build_learner(
        request.learner, config, spec, target, allow_external=request.allow_external
    )
    _check_trainable(learner, request.learner)
    opened = list(sources or _opened(request, progress))
    if not opened:
        raise SettingsError("no source to train on: give --source PATH, once or more.")
    wanted = {
        "sources": tuple(source.name for source in opened),
        "kind": request.target,
        "n_way": way if request.target == "classes" else (1, 1),
        "n_shot": shot,
        "n_query": request.query,
        "tasks_per_batch": request.tasks_per_step or config.training_defaults.tasks_per_step,
        "drop_small_classes": request.drop_small,
        "norm": str(config.encoder.norm),
        "transductive": learner.traits.transductive,
        "seed": request.training.seed,
    }
    protocol = validated(Protocol, wanted, where="medmeta train")
    possible_plans(
        learner,
        request.training.task_map,
        n_tasks=protocol.tasks_per_batch,
        threads=torch.get_num_threads(),
        device=torch.device(device).type,
    )
    held = hold_out(opened, protocol, request.validation)
    sampler = TaskSampler(held.training, protocol)
    card = _card(request, config.model_dump(mode="json"), spec, target, protocol, held)
    before = earlier_progress(run, card)
    already = before is not None and before.finished and before.step >= request.training.steps
    notes = (*held.notes, *_notes(opened, sampler))
    if already and before is not None:
        notes = (f"{run} was finished already, at step {before.step}; nothing was done.",)
    for note in notes:
        if say is not None:
            say(note)
    parts = [source.hashes for source in (*held.training, *held.validation)]
    save_seen(run, np.concatenate(parts))
    outcome = Trainer(
        learner.to(device),
        EpisodeLoader(sampler, device=device, augment=request.training.augment),
        request.training,
        run,
        card,
        validate=_validator(held, protocol, device) if held.validation else None,
        report=report,
        say=say,
        tensorboard=tensorboard,
    ).fit()
    return TrainedRun(run, outcome, notes, already)


def parse_way(text: str) -> tuple[int, int]:
    """``--way`` as a range; raises ``SettingsError`` for fewer than two classes."""
    way = parse_range(text, name="--way")
    if way[0] < 2:
        raise SettingsError(f"--way {text}: a task needs two classes or more to tell apart.")
    return way


def _check_trainable(learner: AbstractLearner, name: str) -> None:
    if not learner.traits.trainable:
        raise UnsupportedTaskError(
            f"{name} on this encoder has nothing to train across tasks; use it as it is: "
            f"'medmeta evaluate --learner {name}', or 'medmeta adapt --head {name}'."
        )


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"--device {name!r} cannot be used here: {reason}") from None
    return name


def _opened(
    request: TrainRequest, progress: Callable[[str, int, int], None] | None
) -> list[Source]:
    places = [path.resolve() for path in request.sources]
    for path, place in zip(request.sources, places, strict=True):
        if places.count(place) > 1:
            raise SettingsError(f"--source {path} is given twice; name each source once.")

    def told(path: Path) -> Callable[[int, int], None]:
        return lambda done, total: progress(f"reading {path}", done, total) if progress else None

    return [
        open_source(
            path,
            preprocessing=request.preprocessing,
            skip_bad=request.skip_bad,
            progress=told(path),
        )
        for path in request.sources
    ]


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
        "fingerprint": fingerprint(source),
    }


def _notes(sources: Sequence[Source], sampler: TaskSampler) -> list[str]:
    notes = []
    for source in sources:
        notes += [f"{source.name}: {p.where}: {p.what}" for p in source.index.problems]
        notes += [f"{source.name}: {text}" for text in conflicting_pictures(source)]
        splits = sorted({t for t in source.index.splits.texts() if t is not None})
        if splits:
            notes.append(
                f"{source.name}: its column of splits ({', '.join(splits)}) is not followed; all "
                "its images are used. To keep a part for a test, give it as a source of its own."
            )
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
