"""The head that chooses: parts, preparation and head, by a task's support and by past tasks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from medmeta.episode import Inputs, LabelledSet, Predictor, Target, any_tensor
from medmeta.errors import SettingsError
from medmeta.learner import AbstractLearner, Settled, Traits, check_task_fits
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig
from medmeta.learners.auto.candidates import Candidate, candidates_of
from medmeta.learners.auto.choosing import Choice
from medmeta.learners.auto.fitting import fit
from medmeta.learners.auto.longer import LEAST_SECONDS, further_candidates
from medmeta.learners.auto.past import past_tasks
from medmeta.learners.auto.searching import Search, candidates_for, parts_of, search
from medmeta.learners.auto.telling import record_of, record_of_default


class AutoConfig(HeadConfig):
    """Options of the choice.

    ``tried``: how many candidates are compared, in their fixed order (None: all). ``choice``: what
    was chosen before; nothing is compared then. ``hand_made``: put hand-made features beside an
    encoder of images.
    """

    tried: int | None = Field(None, ge=1)
    choice: Choice | None = None
    hand_made: bool = True


class AutoHead(AbstractLearner):
    """Chooses among candidates for each task, then fits the chosen one to the whole support.

    Embeddings ``(T, S, D)`` are those of several parts, whose ``sizes`` add to D. ``variances``
    ``(D,)`` are those of source data, towards which a task's own are shrunk (0: not known).
    """

    variances: Tensor

    def __init__(self, config: AutoConfig, sizes: Mapping[str, int], target: Target) -> None:
        super().__init__()
        self.config, self.sizes = config, dict(sizes)
        self.register_buffer("variances", torch.zeros(sum(sizes.values())))
        if config.choice is not None:
            _check_parts(config.choice, self.sizes)
        self.traits = Traits(
            trainable=False,
            chooses=config.choice is None,
            differentiable=False,
            order_free=False,
            label_equivariant=False,
            targets=frozenset({target.kind}),
            input_kinds=frozenset({"vector"}),
        )

    @torch.no_grad()
    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Choose for each task and fit; the predictor holds what was fitted."""
        check_task_fits(self, target)
        embedded = _plain(support)
        if self.config.choice is None:
            choices = [one.choice for one in search(self._search(target, embedded), embedded)]
        else:
            choices = [self.config.choice] * support.n_tasks
        parts = parts_of(any_tensor(embedded.inputs), self.sizes)
        known = self.known_variances()
        answers = [
            fit(choice, _task(parts, t), embedded.labels[t], target, known)
            for t, choice in enumerate(choices)
        ]

        def predict(inputs: Inputs) -> Tensor:
            with torch.no_grad():
                queries = parts_of(at_least_single(any_tensor(inputs)).detach(), self.sizes)
                return torch.stack([answer(_task(queries, t)) for t, answer in enumerate(answers)])

        return predict

    @torch.no_grad()
    def settled(
        self, support: LabelledSet, target: Target, *, seconds: float | None = None
    ) -> Settled:
        """The choice for one task made, within so many seconds; at least one candidate is tried."""
        if self.config.choice is not None:
            return Settled(self)
        if support.n_tasks != 1:
            raise SettingsError("choices are settled for one task at a time.")
        check_task_fits(self, target)
        started = time.perf_counter()
        embedded = _plain(support)
        wanted = self._search(target, embedded)
        if seconds == 0:
            choice = Choice(members=(wanted.candidates[0].name,), temperatures=(1.0,))
            return self._settled(choice, record_of_default(choice, wanted))
        until = None if seconds is None else started + seconds
        further = 0
        if seconds is not None and seconds > LEAST_SECONDS:
            assert until is not None
            more, further = further_candidates(wanted, embedded, until=until)
            wanted = replace(wanted, candidates=(*wanted.candidates, *more))
            until = None  # what was found stays, and the rest is quick
        (found,) = search(wanted, embedded, until=until)
        took = time.perf_counter() - started
        record = record_of(
            found, wanted, seconds=took, budget=seconds, n_examples=support.n_examples,
            further=further,
        )  # fmt: skip
        tried = len(found.candidates)
        again = self.config.model_copy(update={"tried": tried})
        procedure = self if tried >= len(wanted.candidates) else self._with(again)
        return self._settled(found.choice, record, procedure)

    def _settled(
        self, choice: Choice, record: dict[str, object], procedure: AbstractLearner | None = None
    ) -> Settled:
        learner = self._with(self.config.model_copy(update={"choice": choice}))
        return Settled(learner, {"choice": choice.model_dump(mode="json")}, record, procedure)

    def _with(self, config: AutoConfig) -> AutoHead:
        (kind,) = self.traits.targets
        other = AutoHead(config, self.sizes, Target(kind, 1))
        other.load_state_dict(self.state_dict())
        other.traits = self.traits
        return other.to(self.variances).train(self.training)

    def _search(self, target: Target, support: LabelledSet) -> Search:
        every = candidates_of(tuple(self.sizes), target.kind)
        candidates = candidates_for(every, support.n_examples)[: self.config.tried]
        table = past_tasks()
        return Search(candidates, self.sizes, target, table, self.known_variances())

    def known_variances(self) -> dict[str, Tensor]:
        """Variances of source data by part, of those where they are known."""
        return {
            name: part
            for name, part in parts_of(self.variances, self.sizes).items()
            if bool((part > 0).any())
        }


def _plain(support: LabelledSet) -> LabelledSet:
    return support.with_inputs(at_least_single(any_tensor(support.inputs)).detach())


def _task(parts: Mapping[str, Tensor], t: int) -> dict[str, Tensor]:
    return {name: part[t] for name, part in parts.items()}


def _check_parts(choice: Choice, sizes: Mapping[str, int]) -> None:
    unknown = {part for name in choice.members for part in Candidate.read(name).parts} - set(sizes)
    if unknown:
        raise SettingsError(
            f"auto: the choice names {', '.join(sorted(unknown))}, and the encoder's parts are "
            f"{', '.join(sizes)}."
        )
