"""Who is measured in an evaluation: a run's own learner, or heads on its encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from medmeta.app.assembling import input_spec_from, with_head
from medmeta.app.models import LoadedModel
from medmeta.app.run_request import parse_way
from medmeta.episode import Target
from medmeta.errors import SettingsError
from medmeta.learner import AbstractLearner
from medmeta.learners.building import head_configuration

if TYPE_CHECKING:
    from medmeta.app.evaluation_plan import EvaluationRequest


@dataclass(frozen=True)
class Measured:
    """A learner; ``head`` is its head's name and options where that is not the run's own."""

    learner: AbstractLearner
    head: Mapping[str, Any] | None = None

    def called(self, source: str) -> str:
        """What progress calls it on a source."""
        return source if self.head is None else f"{source}, head {self.head['name']}"


def measured_learners(
    model: LoadedModel, request: EvaluationRequest, n_classes: int
) -> list[Measured]:
    """The run's own learner, or one for each head that is asked for, in that order.

    Heads are built for the largest way that a source of ``n_classes`` is asked for.
    Raises ``UnknownNameError``, ``SettingsError`` for options of another head or of the encoder,
    and ``UnsupportedTaskError`` where the run has no encoder to put a head on.
    """
    stray = sorted(request.head_options.keys() - set(request.heads))
    if stray:
        raise SettingsError(f"options of {', '.join(stray)}, but --head names no such head.")
    if not request.heads:
        return [Measured(model.learner)]
    valued = model.card["target"]["kind"] == "values"
    largest = wanted_way(model, request, n_classes)[1]
    target = Target("values", 1) if valued else Target("classes", largest)
    found = []
    for name in dict.fromkeys(request.heads):
        given = request.head_options.get(name, {})
        head = {"name": name, "options": head_configuration(name, given).model_dump(mode="json")}
        torch.manual_seed(0)
        images = input_spec_from(model.card)
        learner = with_head(model.learner, name, given, images, target)
        found.append(Measured(learner.eval(), head))
    return found


def wanted_way(model: LoadedModel, request: EvaluationRequest, most: int) -> tuple[int, int]:
    """The request's way, or the run's own, or ``most`` where that is less."""
    if request.way is not None:
        return parse_way(request.way)
    own = int(model.card.get("protocol", {}).get("n_way", [0, most])[1])
    return (max(2, min(own, most)),) * 2
