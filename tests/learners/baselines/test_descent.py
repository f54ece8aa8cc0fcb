"""Baseline and Baseline++ against torch's own layers and optimiser."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.learners import build_head
from medmeta.learners.baselines._descent import drawn_uniformly, mini_batches
from tests.learners.normal_numbers import normal

SIZE, TARGET = 6, Target("classes", 3)
LABELS = torch.tensor([[0, 1, 2, 0, 1, 2], [2, 0, 1, 1, 0, 2]])


IDS = torch.tensor([7, 8])
SUPPORT, QUERIES = LabelledSet(normal(2, 6, SIZE), LABELS, IDS), normal(2, 4, SIZE, seed=1)


class PlainCosines(nn.Module):
    """What section 3.3 of the paper says: directions, and no lengths."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        return 10 * F.normalize(images, dim=1) @ F.normalize(self.weight, dim=1).T


class Cosines(nn.Module):
    """As in the authors' code: weight normalisation on unit images."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        layer = nn.Linear(SIZE, 3, bias=False).double()
        layer.weight.data.copy_(weight)
        self.layer = weight_norm(layer)

    def forward(self, images: Tensor) -> Tensor:
        return 2 * self.layer(F.normalize(images, dim=1))


def plain(name: str, t: int) -> nn.Module:
    bound = SIZE**-0.5
    if name != "baseline":
        cosines = Cosines if name == "with lengths" else PlainCosines
        return cosines(drawn_uniformly(SUPPORT, (3, SIZE), bound)[t].double())
    drawn = drawn_uniformly(SUPPORT, (3, SIZE + 1), bound)[t].double()
    layer = nn.Linear(SIZE, 3).double()
    layer.weight.data.copy_(drawn[:, :-1])
    layer.bias.data.copy_(drawn[:, -1])
    return layer


@pytest.mark.parametrize("name", ["baseline", "baseline_plus_plus", "with lengths"])
@pytest.mark.parametrize("options", [{}, {"dampening": 0.0, "weight_decay": 0.1, "batch": 6}])
def test_torch_s_optimiser_ends_there_too(name: str, options: dict[str, Any]) -> None:
    epochs = 10
    of_head: dict[str, Any] = {"epochs": epochs, **options}
    if name == "with lengths":
        of_head |= {"learned_lengths": True, "scale": 2.0}
    known = "baseline_plus_plus" if name == "with lengths" else name
    head = build_head(known, of_head, InputSpec(SIZE, ()), TARGET)
    found = head.adapt(SUPPORT, TARGET)(QUERIES)
    for t in range(2):
        network = plain(name, t)
        settings = {"dampening": 0.9, "weight_decay": 1e-3, "batch": 4} | options
        size = settings.pop("batch")
        optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, **settings)
        for chosen in mini_batches(SUPPORT, size, epochs):
            optimiser.zero_grad()
            answers = network(SUPPORT.inputs[t][chosen[t]])
            F.cross_entropy(answers, LABELS[t][chosen[t]]).backward()
            optimiser.step()
        torch.testing.assert_close(found[t], network(QUERIES[t]).detach())


def test_each_epoch_takes_every_image_once() -> None:
    batches = list(mini_batches(SUPPORT, 4, 3))
    assert [batch.shape[1] for batch in batches] == [4, 2, 4, 2, 4, 2]
    for first in (0, 2, 4):
        order = torch.cat(batches[first : first + 2], dim=1)
        assert order.sort(1).values.tolist() == [[0, 1, 2, 3, 4, 5]] * 2
    assert not torch.equal(batches[0], batches[2])


def test_chance_is_each_task_s_own() -> None:
    drawn = drawn_uniformly(SUPPORT, (3, 4), 0.5)
    assert torch.equal(drawn[1:], drawn_uniformly(SUPPORT.tasks(1, 2), (3, 4), 0.5))
    assert not torch.equal(drawn[0], drawn[1])
    assert drawn.abs().max() <= 0.5


@pytest.mark.parametrize("name", ["baseline", "baseline_plus_plus"])
def test_what_is_learned_from_is_answered_rightly(name: str) -> None:
    head = build_head(name, None, InputSpec(SIZE, ()), TARGET)
    images = 3 * torch.eye(SIZE)[LABELS] + 0.1 * normal(2, 6, SIZE).float()
    support = LabelledSet(images, LABELS, IDS)
    assert (head.adapt(support, TARGET)(images).argmax(2) == LABELS).all()
