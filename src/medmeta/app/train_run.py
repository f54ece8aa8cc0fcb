"""From sources to a meta-trained run: held-out parts, protocols, the learner, its tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from medmeta.app.carrying_out import Plan, TrainedRun, Watcher, carry_out
from medmeta.app.held_out import Held, hold_out
from medmeta.app.initial import initial_encoder
from medmeta.app.models import load_model
from medmeta.app.prepared import prepared
from medmeta.app.run_folder import check_folder
from medmeta.app.run_request import (
    RunRequest,
    give_weights,
    learner_options,
    opened_sources,
    parse_way,
    refuse_other_tasks,
    remarks_on,
    remarks_on_precision,
    usable_device,
    with_record,
)
from medmeta.app.trusting import PRIOR, keep_prior
from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.episodes.by_group import by_group
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol, parse_range
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SettingsError, UnsupportedTaskError
from medmeta.learner import AbstractLearner
from medmeta.learners import EncodedConfig, build_learner, configuration
from medmeta.settings import validated
from medmeta.training.allocator import keep_freed_memory
from medmeta.training.checkpoint import newest_checkpoint_card
from medmeta.training.loop import Report
from medmeta.training.task_plan import possible_plans


class TrainRequest(RunRequest):
    """All that decides how a run goes, as flags, TOML or Python give it.

    ``tasks_per_step`` None means the learner's own. ``init`` is a run, or a model, whose encoder
    this one starts from. ``task_by`` names columns between commas: every task is of patients
    that are alike in them.
    """

    learner: str = "prototypical"
    target: Literal["classes", "masks", "values"] = "classes"
    tasks_per_step: int | None = Field(None, ge=1)
    drop_small: bool = False
    init: Path | None = None
    task_by: str = ""


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
    if request.preprocessing.patches and request.target != "masks":
        raise SettingsError("--patches is of masks: say --target masks, or leave it out.")
    if request.target != "masks":
        refuse_other_tasks(request.training)
    device = usable_device(request.device)
    keep_freed_memory()
    request = with_record(request)
    way = _way(request)
    config = configuration(
        request.learner, learner_options(request), request.input_spec, kind=request.target
    )
    target = Target(request.target, 1 if request.target == "values" else way[1])
    torch.manual_seed(request.training.seed)
    learner = build_learner(
        request.learner, config, request.input_spec, target, allow_external=request.allow_external
    )
    weights = give_weights(request, learner)
    _check_trainable(learner, request.learner)
    if weights and request.init is not None:
        raise SettingsError("--init and --encoder FILE both bring the encoder's weights; give one.")
    init = initial_encoder(request.init, run, resume=resume, allow_external=request.allow_external)
    if init is not None:
        init.give(learner, config)
    ready = prepared(
        sources or opened_sources(request, progress, masks=request.target == "masks"),
        split=request.split,
        standardise=request.standardise,
    )
    opened = list(ready.sources)
    protocol = _protocol(request, config, learner, opened)
    if "task_plan" not in (newest_checkpoint_card(run) or {}):  # a run that goes on keeps its own
        possible_plans(
            learner,
            request.training.task_map,
            n_tasks=protocol.tasks_per_batch,
            threads=torch.get_num_threads(),
            device=torch.device(device).type,
        )
    held = hold_out(opened, protocol, request.validation)
    held, protocol, groups = _within_groups(request, held, protocol)
    sampler = TaskSampler(held.training, protocol)
    notes = [
        *remarks_on(opened, request.preprocessing),
        *remarks_on_precision(request, device),
        *_way_without_classes(request),
        *ready.notes,
        *groups,
        *_left_out(sampler),
    ]
    plan = Plan(
        request,
        request.learner,
        config,
        target,
        protocol,
        held,
        learner,
        EpisodeLoader(sampler, device=device, augment=request.training.augment),
        device,
        notes if init is None else [*notes, *init.remarks(config, request, held)],
        init=init,
        facts=(*weights, *((("standardise", ready.fact),) if ready.fact else ())),
    )
    done = carry_out(plan, run, Watcher(report, say, tensorboard))
    known = done.already and (run / PRIOR).exists()
    if request.target == "classes" and not known and done.outcome.reason != "interrupted":
        kept = load_model(run, allow_external=request.allow_external).learner
        sources = held.validation or held.training
        keep_prior(run, kept, sources, most_way=way[1], seed=request.training.seed)
    return done


def _way(request: TrainRequest) -> tuple[int, int]:
    """Classes of a task; of a task of masks, where nothing is said, one structure."""
    untold = request.target == "masks" and "way" not in request.model_fields_set
    return (2, 2) if untold else parse_way(request.way)


def _way_without_classes(request: TrainRequest) -> list[str]:
    told = request.target == "values" and "way" in request.model_fields_set
    return ["--way is not used: a task of values is of one value."] if told else []


def _protocol(
    request: TrainRequest, config: EncodedConfig, learner: AbstractLearner, opened: list[Source]
) -> Protocol:
    wanted = {
        "sources": tuple(source.name for source in opened),
        "kind": request.target,
        "n_way": (1, 1) if request.target == "values" else _way(request),
        "n_shot": parse_range(request.shot, name="--shot"),
        "n_query": request.query,
        "tasks_per_batch": request.tasks_per_step or config.training_defaults.tasks_per_step,
        "drop_small_classes": request.drop_small,
        "norm": str(config.encoder.norm),
        "transductive": learner.traits.transductive,
        "seed": request.training.seed,
        "split": request.split,
        "standardise": request.standardise,
    }
    return validated(Protocol, wanted, where="medmeta train")


def _within_groups(
    request: TrainRequest, held: Held, protocol: Protocol
) -> tuple[Held, Protocol, tuple[str, ...]]:
    """Training tasks of one group of patients each, where asked; and what must be said of it."""
    columns = [name.strip().lower() for name in request.task_by.split(",") if name.strip()]
    if not columns:
        return held, protocol, ()
    training, notes = by_group(held.training, columns, protocol)
    update = {"sources": tuple(s.name for s in training), "drop_small_classes": True}
    return replace(held, training=training), protocol.model_copy(update=update), notes


def _check_trainable(learner: AbstractLearner, name: str) -> None:
    if not learner.traits.trainable:
        raise UnsupportedTaskError(
            f"{name} on this encoder has nothing to train across tasks; use it as it is: "
            f"'medmeta evaluate --learner {name}', or 'medmeta adapt --head {name}'. "
            "'medmeta models bring' makes a model of a network that is trained already."
        )


def _left_out(sampler: TaskSampler) -> list[str]:
    notes = []
    for name, classes in sampler.dropped.items():
        left_out = ", ".join(f"{c} ({n})" for c, n in classes.items())
        notes.append(f"{name}: classes too small for these tasks are left out: {left_out}.")
    return notes
