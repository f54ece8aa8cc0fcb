"""A small smooth network, tasks of vectors in double precision, and descent the plain way."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from medmeta.episode import Episode, LabelledSet, Target
from medmeta.learner import AbstractLearner

TARGET = Target("classes", 3)
Rates = Callable[[str, int], Tensor | float]


def network(seed: int = 0) -> nn.Sequential:
    """Vectors of 4 to 3 classes."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def episode(n_tasks: int = 2, seed: int = 1) -> Episode:
    """Six support and five query vectors for each task."""
    random = torch.Generator().manual_seed(seed)

    def labelled(n: int) -> LabelledSet:
        images = torch.randn(n_tasks, n, 4, generator=random, dtype=torch.float64)
        labels = torch.randint(3, (n_tasks, n), generator=random)
        return LabelledSet(images, labels, torch.arange(n_tasks))

    return Episode(labelled(6), labelled(5), TARGET)


def task(labelled: LabelledSet, t: int) -> tuple[Tensor, Tensor]:
    """Images and labels of one task."""
    assert isinstance(labelled.inputs, Tensor)
    return labelled.inputs[t], labelled.labels[t]


def losses_on_the_way(
    net: nn.Module, tasks: Episode, rate: Rates, steps: int, *, adapted: str = ""
) -> Tensor:
    """The query's loss of each task after each step ``(T, steps)``, by ``autograd.grad``.

    ``rate(name, step)``; only weights whose name begins with ``adapted`` move.
    """
    rows = []
    for t in range(tasks.support.n_tasks):
        (images, labels), (queries, answers) = task(tasks.support, t), task(tasks.query, t)
        weights, row = dict(net.named_parameters()), []
        moving = [name for name in weights if name.startswith(adapted)]
        for step in range(steps):
            loss = F.cross_entropy(functional_call(net, weights, (images,)), labels)
            found = torch.autograd.grad(loss, [weights[n] for n in moving], create_graph=True)
            for name, gradient in zip(moving, found, strict=True):
                weights[name] = weights[name] - rate(name, step) * gradient
            row.append(F.cross_entropy(functional_call(net, weights, (queries,)), answers))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def gradients_of(learner: AbstractLearner, loss: Tensor) -> dict[str, Tensor]:
    """Of the mean loss, by the learner's names of its parameters."""
    found = torch.autograd.grad(
        loss.mean(), list(learner.parameters()), materialize_grads=True, allow_unused=True
    )
    return {name: g for (name, _), g in zip(learner.named_parameters(), found, strict=True)}


def assert_slopes_are_differences(learner: AbstractLearner, tasks: Episode) -> None:
    """Every entry of the gradient against a central difference."""
    found, step = gradients_of(learner, learner.loss(tasks)), 1e-5
    for name, parameter in learner.named_parameters():
        for place in range(parameter.numel()):
            ends = []
            with torch.no_grad():
                entry = parameter.view(-1)[place]
                before = entry.clone()
                for sign in (1, -1):
                    entry.copy_(before + sign * step)
                    ends.append(learner.loss(tasks).mean())
                entry.copy_(before)
            slope = (ends[0] - ends[1]) / (2 * step)
            torch.testing.assert_close(found[name].flatten()[place], slope, rtol=0, atol=1e-8)
