"""Carrying out a checked training: its card, its folder, the trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medmeta.app.cards import spec_in_card
from medmeta.app.held_out import Held, validator
from medmeta.app.initial import InitialEncoder
from medmeta.app.models import MODEL_FORMAT
from medmeta.app.run_folder import earlier_progress, fingerprint, save_seen
from medmeta.app.run_request import RunRequest
from medmeta.app.trusting import PRIOR
from medmeta.data.left_out import HOW_NAMED, left_out
from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.episodes.protocol import Protocol
from medmeta.learner import AbstractLearner
from medmeta.learners import EncodedConfig, learner_spec
from medmeta.storage import write_json
from medmeta.training.loop import Batches, Outcome, Report, Trainer
from medmeta.version import __version__

LEFT_OUT = "left_out.json"


@dataclass(frozen=True)
class TrainedRun:
    """Where the run lies, how it ended, and what was said on the way.

    ``already``: the run had been finished before, and nothing was left to do.
    """

    run: Path
    outcome: Outcome
    notes: tuple[str, ...]
    already: bool = False


@dataclass(frozen=True)
class Watcher:
    """Who is told how a run goes: after each step, in remarks, in TensorBoard's files."""

    report: Callable[[Report], None] | None = None
    say: Callable[[str], None] | None = None
    tensorboard: bool = False


@dataclass(frozen=True)
class Plan:
    """A training whose settings and sources are checked; nothing of it is on the disk yet.

    ``learner`` is trained on ``batches``; ``kept`` is the part of it that is the run's model, a
    learner called ``name`` (None: all of it). ``facts`` are further entries of the card.
    """

    request: RunRequest
    name: str
    config: EncodedConfig
    target: Target
    protocol: Protocol
    held: Held
    learner: AbstractLearner
    batches: Batches
    device: str
    notes: Sequence[str]
    kept: AbstractLearner | None = None
    init: InitialEncoder | None = None
    facts: tuple[tuple[str, Any], ...] = ()

    def card(self) -> dict[str, Any]:
        """What every saved folder of the run says of it."""
        request, spec = self.request, self.request.input_spec
        return {
            "format": MODEL_FORMAT,
            "medmeta": __version__,
            "torch": torch.__version__,
            "learner": self.name,
            "paper": learner_spec(self.name).paper,
            "options": self.config.model_dump(mode="json"),
            "input_spec": spec_in_card(spec),
            "target": {"kind": self.target.kind, "size": self.target.size},
            "preprocessing": request.preprocessing.model_dump(mode="json"),
            "training": request.training.model_dump(mode="json"),
            "protocol": self.protocol.model_dump(mode="json"),
            "validation": self.held.how,
            "sources": [description(source) for source in self.held.training],
            "validated_on": [description(source) for source in self.held.validation],
            "init": None if self.init is None else dict(self.init.record),
            **dict(self.facts),
        }


def carry_out(plan: Plan, run: Path, watcher: Watcher) -> TrainedRun:
    """Train as planned and keep everything in the folder ``run``; an earlier run there goes on.

    Raises ``SettingsError`` where that one was trained otherwise.
    """
    card, settings, held = plan.card(), plan.request.training, plan.held
    before = earlier_progress(run, card)
    already = before is not None and before.finished and before.step >= settings.steps
    notes = (*held.notes, *plan.notes)
    if already and before is not None:
        notes = (f"{run} was finished already, at step {before.step}; nothing was done.",)
    for note in notes:
        if watcher.say is not None:
            watcher.say(note)
    seen = [source.hashes for source in (*held.training, *held.validation)]
    if plan.init is not None:
        seen.append(plan.init.seen)
    save_seen(run, np.concatenate(seen))
    if plan.request.skip_bad:
        sources = (*held.training, *held.validation)
        missing = left_out(source.index for source in sources)
        write_json(run / LEFT_OUT, {"left_out": missing, "how_files_are_named": HOW_NAMED})
    if not already:
        (run / PRIOR).unlink(missing_ok=True)  # it was learned of the weights before
    outcome = Trainer(
        plan.learner.to(plan.device),
        plan.batches,
        settings,
        run,
        card,
        validate=validator(held, plan.protocol, plan.device),
        report=watcher.report,
        say=watcher.say,
        tensorboard=watcher.tensorboard,
        kept=plan.kept,
    ).fit()
    return TrainedRun(run, outcome, notes, already)


def description(source: Source) -> dict[str, Any]:
    """What a card says of a source: counts and class names, and no identifier of anybody."""
    index = source.index
    return {
        "name": source.name,
        "images": len(source),
        "classes": list(index.structures or index.class_names),
        "modalities": sorted({t for t in index.modalities.texts() if t is not None}),
        "patients": len(np.unique(index.patients.codes)) if index.patients.known else None,
        "fingerprint": fingerprint(source),
    }
