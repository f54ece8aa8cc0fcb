"""What worked on past tasks: their table, and what it lets one expect of a new task."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from medmeta.errors import CheckpointError
from medmeta.learners.auto.candidates import Candidate
from medmeta.settings import Settings

TABLE = "past_tasks.json"
FEATURES = ("images", "classes", "imbalance", "spread", "apart", "spread_of_2nd", "apart_of_2nd")
WIDTHS = (0.5, 0.5, 1.0, 0.2, 0.2, 0.2, 0.2)
"""How far two tasks may differ in each and still be alike."""
CELLS_OF_ALL = 1.0  # the mean over all past tasks counts as much as so many that are alike


class Cell(Settings):
    """Past tasks of one source and one shape: their means.

    ``features`` as of ``FEATURES``, and ``accuracy`` of each candidate of the table.
    """

    source: str
    shot: float
    way: int
    tasks: int
    features: tuple[float, ...] = Field(min_length=len(FEATURES), max_length=len(FEATURES))
    accuracy: tuple[float, ...]


class Weights(Settings):
    """What an advantage in each counts, at a number of images per class; fitted on past tasks.

    ``prior``: that past tasks let expect, ``loss`` and ``accuracy``: those of images held out.
    """

    shot: float = Field(gt=0)
    prior: float = 1.0
    loss: float = Field(0.0, ge=0)
    accuracy: float = Field(0.0, ge=0)


class PastTasks(Settings):
    """The table of past tasks, with the names of its candidates; ``average`` is the last.

    ``margin``: how much more must be expected of another candidate than of the default for it to be
    taken; what is expected is not certain. ``checked``: mean accuracies on past tasks whose own
    source was left out of the table.
    """

    made_with: dict[str, str] = Field(default_factory=dict)
    margin: float = Field(0.0, ge=0)
    checked: dict[str, float] = Field(default_factory=dict)
    candidates: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()
    weights: tuple[Weights, ...] = (Weights(shot=1.0, loss=0.1, accuracy=0.2),)

    def expected(self, names: Sequence[str], features: Tensor, *, without: str = "") -> Tensor:
        """Accuracy above the mean of all candidates ``(T, n)``, by past tasks that are alike.

        ``features`` ``(T, 7)``; cells are weighted by a Gaussian of their distance. What the table
        does not know is 0. ``without``: leaves a source out.
        """
        cells = [cell for cell in self.cells if cell.source != without]
        column = {name: i for i, name in enumerate(self.candidates)}
        if not cells:
            return features.new_zeros(len(features), len(names))
        known = features.new_tensor([cell.features for cell in cells])
        accuracy = features.new_tensor([cell.accuracy for cell in cells])
        apart = (features[:, None] - known) / features.new_tensor(WIDTHS)
        alike = (-0.5 * apart.square().sum(-1)).exp()
        counts = alike + CELLS_OF_ALL / len(cells)
        above = accuracy - accuracy.mean(1, keepdim=True)
        mean = counts @ above / counts.sum(1, keepdim=True)
        places = [column.get(name, -1) for name in names]
        found = mean[:, places]
        return found * features.new_tensor([float(place >= 0) for place in places])

    def name_of(self, candidate: Candidate, parts: Sequence[str]) -> str:
        """What a candidate of some ``parts`` is called here.

        Where the table has other parts, its own take their places: all for all, learned for one;
        and of other penalties the nearest. A table without committees that what was learned leads
        has those in which all parts count alike.
        """
        if candidate.name in self.candidates or not self.candidates:
            return candidate.name
        known = [Candidate.read(name) for name in self.candidates[:-1]]
        if candidate.preparation not in {one.preparation for one in known}:
            candidate = replace(candidate, preparation="standardised")
        if candidate.parts not in {one.parts for one in known}:
            own = known[0].parts
            places = own if candidate.parts == tuple(parts) and len(parts) > 1 else own[:1]
            candidate = replace(candidate, parts=places)
        alike = [one for one in known if replace(one, penalty=candidate.penalty) == candidate]
        aim = math.log(candidate.penalty or 1.0)
        near = min(alike, key=lambda c: abs(math.log(c.penalty or 1.0) - aim), default=candidate)
        return near.name

    def weights_at(self, shot: float) -> Weights:
        """The weights for a number of images per class, between those that were fitted."""
        rows = sorted(self.weights, key=lambda row: row.shot)
        shots = [math.log(row.shot) for row in rows]
        at = min(max(math.log(max(shot, 1e-6)), shots[0]), shots[-1])
        above = next(i for i, known in enumerate(shots) if known >= at - 1e-12)
        if above == 0:
            return rows[0]
        low, high = rows[above - 1], rows[above]
        share = (at - shots[above - 1]) / (shots[above] - shots[above - 1])
        mixed = {
            name: (1 - share) * getattr(low, name) + share * getattr(high, name)
            for name in ("prior", "loss", "accuracy")
        }
        return Weights(shot=shot, **mixed)


@cache
def past_tasks() -> PastTasks:
    """The table that comes with the package; raises ``CheckpointError`` where it is damaged."""
    file = resources.files("medmeta.learners.auto") / TABLE
    try:
        return PastTasks.model_validate(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise CheckpointError(
            f"the table of past tasks ({TABLE}) of this installation cannot be read ({error}); "
            "install medmeta again."
        ) from None


def task_features(labels: Tensor, n_way: int, kernels: Mapping[str, Tensor]) -> Tensor:
    """What tasks are compared by ``(T, 7)``: ``labels`` ``(T, S)``, centred kernels ``(T, S, S)``.

    Images per class and classes, as logarithms; the logarithm of the largest class over the
    smallest; of the first two parts, over how many directions they spread (a share of those there
    are), and how far classes lie apart (the share of the variance that they explain, corrected for
    their number).
    """
    members = torch.nn.functional.one_hot(labels, n_way).to(next(iter(kernels.values())))
    counts = members.sum(1)
    n = labels.shape[1]
    columns = [
        counts.mean(1).log(),
        torch.full_like(counts[:, 0], math.log(n_way)),
        (counts.amax(1) / counts.amin(1).clamp(min=1)).log(),
    ]
    for kernel in list(kernels.values())[:2]:
        trace = kernel.diagonal(dim1=-2, dim2=-1).sum(-1).clamp(min=1e-12)
        columns.append(
            trace.square() / kernel.square().sum((1, 2)).clamp(min=1e-12) / max(n - 1, 1)
        )
        means = (members / counts.clamp(min=1)[:, None]).mT
        between = ((means @ kernel * means).sum(-1) * counts).sum(-1)
        within = (trace - between).clamp(min=0) / max(n - n_way, 1)
        columns.append((1 - within * (n - 1) / trace) * float(n > n_way))
    found = torch.stack(columns, dim=1)
    return torch.nn.functional.pad(found, (0, len(FEATURES) - found.shape[1]))
