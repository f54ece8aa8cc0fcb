"""One trainer for any learner and any numbered batches of tasks."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch

from medmeta.episode import Episode
from medmeta.errors import SettingsError, UnsupportedTaskError
from medmeta.learner import AbstractLearner
from medmeta.spans import span
from medmeta.training.checkpoint import (
    Progress,
    load_checkpoint,
    newest_checkpoint_card,
    save_checkpoint,
    save_model,
)
from medmeta.training.metrics_log import MetricsLog
from medmeta.training.plan_choice import PlanChoice, choose_plan
from medmeta.training.settings import TrainingSettings
from medmeta.training.step import StepGradient
from medmeta.training.task_plan import TaskPlan


class Batches(Protocol):
    """Numbered batches of tasks: batch ``b`` is always the same."""

    def batches(self, first: int, last: int) -> Iterator[Episode]:
        """Batches ``first`` to ``last - 1``."""


@dataclass(frozen=True)
class Report:
    """What a run says as it goes: the step done, its loss, the newest validation score."""

    step: int
    steps: int
    loss: float
    score: float | None


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``finished``, ``stopped_early`` or ``interrupted``; and where it stands."""

    reason: str
    progress: Progress


@dataclass(frozen=True)
class Trainer:
    """Trains a learner by the mean of its per-task losses.

    ``episodes`` gives batch ``b`` for step ``b``. ``validate`` scores the learner in evaluation
    mode, higher is better; the best scored weights are the run's model (without ``validate``: the
    last). ``kept`` is the part of the learner that is scored and that the model holds (None: all
    of it); checkpoints hold all. ``card`` goes into every saved folder. ``say`` is told how the
    tasks of a step are run. A run killed at any instant resumes from its newest checkpoint, with
    the threads and the task map that this names, and on a CPU ends bit-identical to a run that was
    never killed.
    """

    learner: AbstractLearner
    episodes: Batches
    settings: TrainingSettings
    run: Path
    card: Mapping[str, Any]
    validate: Callable[[AbstractLearner], float] | None = None
    report: Callable[[Report], None] | None = None
    say: Callable[[str], None] | None = None
    tensorboard: bool = False
    kept: AbstractLearner | None = None

    def fit(self) -> Outcome:
        """Train until the last step, the patience's end, or an interrupt (which saves first).

        Raises ``UnsupportedTaskError`` for a learner that has nothing to train, ``SettingsError``
        when the loss is no longer a number, or where no step is left that is asked for,
        ``StorageError`` when the disk is full.
        """
        learns = any(p.requires_grad for p in self.learner.parameters())
        if not (self.learner.traits.trainable and learns):
            raise UnsupportedTaskError(
                f"{type(self.learner).__name__} has nothing to train across tasks; use it as it "
                "is: 'medmeta evaluate --learner', or 'medmeta adapt --head'."
            )
        optimiser = _optimiser(self.learner, self.settings)
        before = newest_checkpoint_card(self.run) or {}
        _use_threads(before.get("threads"))
        progress = load_checkpoint(self.run, self.learner, optimiser) or Progress()
        if progress.finished and progress.step >= self.settings.steps:
            return Outcome("finished", progress)
        if progress.finished and self._out_of_patience(progress):
            return Outcome("stopped_early", progress)
        if progress.step and progress.step >= self.settings.steps:
            raise SettingsError(
                f"{self.run} was stopped at step {progress.step}; to go on, ask for more steps "
                f"than that (--steps), not {self.settings.steps}."
            )
        chosen = self._chosen_plan(before.get("task_plan"))
        trained = replace(self, card={**self.card, "task_plan": chosen.plan.to_dict()})
        log = MetricsLog(self.run, from_step=progress.step, tensorboard=self.tensorboard)
        gradient = StepGradient(
            self.learner,
            chosen.plan,
            precision=self.settings.precision,
            recorded=self.settings.recorded,
        )
        try:
            with _interrupt_flag() as interrupted, gradient:
                progress = replace(progress, finished=False)
                return trained._steps(optimiser, gradient, progress, log, interrupted)
        finally:
            log.close()

    def _chosen_plan(self, recorded: Mapping[str, Any] | None) -> PlanChoice:
        if recorded is not None:
            return PlanChoice(TaskPlan.from_dict(recorded))
        settings = self.settings
        (first,) = self.episodes.batches(0, 1)
        chosen = choose_plan(self.learner, first, settings.task_map, precision=settings.precision)
        if self.say is not None and chosen.speeds:
            self.say(chosen.describe())
        return chosen

    def _steps(
        self,
        optimiser: torch.optim.Optimizer,
        gradient: StepGradient,
        progress: Progress,
        log: MetricsLog,
        interrupted: threading.Event,
    ) -> Outcome:
        settings, score, reason = self.settings, None, "finished"
        for episode in self.episodes.batches(progress.step, settings.steps):
            loss = self._step(optimiser, gradient, episode, progress.step)
            progress = replace(progress, step=progress.step + 1)
            step = progress.step
            if step % settings.log_every == 0 or step == settings.steps:
                log.write(step, loss=loss, learning_rate=settings.rate_at(step - 1))
            if self._validates_at(step):
                score, progress = self._validated(progress)
                log.write(step, validation=score)
            if self.report is not None:
                self.report(Report(step, settings.steps, loss, score))
            if step < settings.steps and self._out_of_patience(progress):
                reason = "stopped_early"
            elif step < settings.steps and interrupted.is_set():
                reason = "interrupted"
            ended = reason != "finished" or step == settings.steps
            if ended or step % settings.checkpoint_every == 0:
                progress = self._saved(optimiser, progress, finished=ended, reason=reason)
            if ended:
                break
        return Outcome(reason, progress)

    def _step(
        self,
        optimiser: torch.optim.Optimizer,
        gradient: StepGradient,
        episode: Episode,
        step: int,
    ) -> float:
        settings = self.settings
        # Chance within a step (dropout) is a function of the step alone, so resuming is exact.
        torch.manual_seed((settings.seed * 1_000_003 + step) % 2**63)
        for group in optimiser.param_groups:
            group["lr"] = settings.rate_at(step)
        self.learner.train()
        value = gradient(episode)
        with span("outer step"):
            self._descend(optimiser, value, step)
        return value

    def _descend(self, optimiser: torch.optim.Optimizer, value: float, step: int) -> None:
        limit = self.settings.clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.learner.parameters(), limit)
        if not (value == value and abs(value) != float("inf") and bool(torch.isfinite(norm))):
            raise SettingsError(
                f"the loss or its gradient is no longer a number at step {step + 1}; the newest "
                "checkpoint is kept. Try a lower --learning-rate (or inner rate) or --clip-norm."
            )
        optimiser.step()

    def _out_of_patience(self, progress: Progress) -> bool:
        return 0 < self.settings.patience <= progress.waited

    def _validates_at(self, step: int) -> bool:
        every = self.settings.validate_every
        return (
            self.validate is not None
            and every > 0
            and (step % every == 0 or step == self.settings.steps)
        )

    @property
    def _model(self) -> AbstractLearner:
        return self.learner if self.kept is None else self.kept

    def _validated(self, progress: Progress) -> tuple[float, Progress]:
        assert self.validate is not None
        self.learner.eval()
        score = self.validate(self._model)
        if score > progress.best_score:
            progress = replace(progress, best_score=score, best_step=progress.step, waited=0)
            save_model(self.run, progress.step, self._model, self.card)
        else:
            progress = replace(progress, waited=progress.waited + 1)
        return score, progress

    def _saved(
        self,
        optimiser: torch.optim.Optimizer,
        progress: Progress,
        *,
        finished: bool,
        reason: str,
    ) -> Progress:
        never_scored = progress.best_score == float("-inf")
        if never_scored:  # the newest weights stand for the run until a validation chooses
            progress = replace(progress, best_step=progress.step)
            save_model(self.run, progress.step, self._model, self.card)
        progress = replace(progress, finished=finished and reason != "interrupted")
        card = {**self.card, "threads": torch.get_num_threads()}
        save_checkpoint(self.run, progress, self.learner, optimiser, card)
        return progress


def _use_threads(threads: Any) -> None:
    if isinstance(threads, int) and threads != torch.get_num_threads():
        torch.set_num_threads(threads)  # sums in another order would end in other weights


def _optimiser(learner: AbstractLearner, settings: TrainingSettings) -> torch.optim.Optimizer:
    parameters = [p for p in learner.parameters() if p.requires_grad]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimiser == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=settings.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(parameters, lr=rate, weight_decay=decay)


@contextlib.contextmanager
def _interrupt_flag() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that the step can end; a second one stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
