"""From sources to a run whose encoder was trained on all their classes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pydantic import Field

from medmeta.app.carrying_out import Plan, TrainedRun, Watcher, carry_out
from medmeta.app.held_out import hold_out
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
)
from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.episodes.protocol import Protocol, parse_range
from medmeta.episodes.union import DrawFrom, UnionBatches
from medmeta.errors import SamplingError, SettingsError, UnsupportedTaskError
from medmeta.learners import (
    EmbeddingLearner,
    EncodedConfig,
    UnionClassifier,
    build_learner,
    configuration,
    head_names,
    learner_spec,
)
from medmeta.learners.pretraining import Classifier
from medmeta.settings import validated
from medmeta.training.allocator import keep_freed_memory
from medmeta.training.loop import Report
from medmeta.training.settings import TrainingSettings

PAPER = "Chen, Liu, Kira, Wang and Huang 2019, A Closer Look at Few-shot Classification"


class PretrainRequest(RunRequest):
    """All that decides how a pre-training goes, as flags, TOML or Python give it.

    ``head`` answers tasks on the encoder: at validation, and afterwards unless another is asked
    for; ``options`` are its and the encoder's. ``way``, ``shot`` and ``query`` are of the
    validation's tasks. ``draw``: batches of ``images``, each as often as any other, or of
    ``classes``, each as often as any other. ``classifier`` is thrown away afterwards.
    """

    head: str = "prototypical"
    classifier: Classifier = "linear"
    draw: DrawFrom = "images"
    batch_size: int = Field(64, ge=1, le=100_000)
    training: TrainingSettings = TrainingSettings(augment="light")


def pretrain(
    request: PretrainRequest,
    run: Path,
    *,
    resume: bool = False,
    sources: Sequence[Source] | None = None,
    report: Callable[[Report], None] | None = None,
    say: Callable[[str], None] | None = None,
    tensorboard: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> TrainedRun:
    """Train an encoder to tell all classes of all sources apart; keep it under ``head`` in ``run``.

    The arguments are those of ``train``; the run is one of the learner ``head``, so everything
    that takes a run takes it. Raises errors of ``medmeta.errors``; nothing is written before all
    settings and sources are checked.
    """
    check_folder(run, resume=resume)
    device = usable_device(request.device)
    keep_freed_memory()
    refuse_other_tasks(request.training)
    if request.record or request.preprocessing.modalities:
        raise SettingsError(
            "pretrain learns from one picture or volume of each patient; a learner of records or "
            "of several modalities is trained by tasks: 'medmeta train'."
        )
    config = configuration(request.head, learner_options(request), request.input_spec)
    target = Target("classes", parse_way(request.way)[1])
    torch.manual_seed(request.training.seed)
    learner = _kept(request, config, target)
    weights = give_weights(request, learner)
    ready = prepared(
        sources or opened_sources(request, progress),
        split=request.split,
        standardise=request.standardise,
    )
    opened = list(ready.sources)
    _refuse_values(opened)
    protocol = _protocol(request, config, learner, opened)
    held = hold_out(opened, protocol, request.validation)
    batches = UnionBatches(
        held.training,
        request.batch_size,
        seed=request.training.seed,
        draw=request.draw,
        device=device,
        augment=request.training.augment,
    )
    facts = {
        "paper": PAPER,
        "classifier": request.classifier,
        "draw": request.draw,
        "batch_size": request.batch_size,
        "classes": len(batches.classes),
    }
    union = (
        f"Pre-training tells {len(batches.classes)} classes of {len(held.training)} "
        f"source{'' if len(held.training) == 1 else 's'} apart, from {len(batches)} images."
    )
    plan = Plan(
        request,
        request.head,
        config,
        target,
        protocol,
        held,
        UnionClassifier(learner, len(batches.classes), request.classifier),
        batches,
        device,
        [
            union,
            *remarks_on(opened, request.preprocessing),
            *remarks_on_precision(request, device),
            *ready.notes,
        ],
        kept=learner,
        facts=(
            ("pretraining", facts),
            *weights,
            *((("standardise", ready.fact),) if ready.fact else ()),
        ),
    )
    return carry_out(plan, run, Watcher(report, say, tensorboard))


def _kept(request: PretrainRequest, config: EncodedConfig, target: Target) -> EmbeddingLearner:
    """The learner that is the run's model, with fresh weights."""
    if request.head not in head_names():
        afterwards = (
            f"use {request.head} afterwards: 'medmeta evaluate RUN --head {request.head}'"
            if learner_spec(request.head).serves_on_encoders
            else f"meta-train {request.head} afterwards: 'medmeta train --learner {request.head} "
            "--init RUN'"
        )
        raise UnsupportedTaskError(
            f"--head {request.head} is not a head; heads are {', '.join(head_names())}. "
            f"(To {afterwards}.)"
        )
    learner = build_learner(
        request.head, config, request.input_spec, target, allow_external=request.allow_external
    )
    assert isinstance(learner, EmbeddingLearner)  # what every head is built into
    if not any(p.requires_grad for p in learner.encoder.parameters()):
        raise UnsupportedTaskError(
            f"--encoder {config.encoder.name} has nothing to train; use it as it is: 'medmeta "
            f"evaluate --learner {request.head} --encoder {config.encoder.name}'."
        )
    return learner


def _refuse_values(opened: Sequence[Source]) -> None:
    for source in opened:
        if source.index.labels is None:
            raise SamplingError(
                f"{source.name} has values, not classes, and pre-training tells classes apart; "
                "leave it out, or use 'medmeta train --target values'."
            )


def _protocol(
    request: PretrainRequest,
    config: EncodedConfig,
    learner: EmbeddingLearner,
    opened: Sequence[Source],
) -> Protocol:
    """That of the validation's tasks."""
    wanted = {
        "sources": tuple(source.name for source in opened),
        "n_way": parse_way(request.way),
        "n_shot": parse_range(request.shot, name="--shot"),
        "n_query": request.query,
        "drop_small_classes": True,
        "norm": str(config.encoder.norm),
        "transductive": learner.traits.transductive,
        "seed": request.training.seed,
        "split": request.split,
        "standardise": request.standardise,
    }
    return validated(Protocol, wanted, where="medmeta pretrain")
