"""TIM: its loss by hand, its solvers the plain way, and beside easyfsl."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.learners import build_head
from medmeta.learners.transductive.tim import Information, TIMConfig, TIMHead
from tests.learners.easyfsl_methods import answers_of, easyfsl_method
from tests.learners.transductive.clusters import (
    EMBEDDING,
    N_WAY,
    SIZE,
    TARGET,
    accuracy,
    clustered,
    logits,
)


def head(**options: object) -> TIMHead:
    return TIMHead(TIMConfig.model_validate(options), SIZE)


def information(marginal: float = 1.0, **options: object) -> tuple[Information, Tensor]:
    """Of two tasks in double, and where their weights start."""
    tasks = clustered(2, n_shot=2, n_query=4)
    support, queries = (
        F.normalize(part.inputs.double(), dim=2) for part in (tasks.support, tasks.query)
    )
    members = F.one_hot(tasks.support.labels, N_WAY).double()
    config = TIMConfig.model_validate(options)
    task = Information(support, members, queries, config, marginal)
    return task, members.mT @ support / 2


def test_the_loss_by_hand() -> None:
    """One support image on each weight, one query between them: p = 1/2 is all it can say."""
    support, members = torch.eye(2)[None], torch.eye(2)[None]
    query = torch.tensor([[[0.5, 0.5]]])
    config = TIMConfig(temperature=2.0, support_weight=0.3, conditional_weight=0.4)
    task = Information(support, members, query, config, marginal=0.7)
    cross_entropy = math.log(1 + math.exp(-2.0))  # distances 0 and √2
    wanted = 0.3 * cross_entropy - 0.7 * math.log(2) + 0.4 * math.log(2)
    assert task.loss(torch.eye(2)[None]).item() == pytest.approx(wanted, rel=1e-5)


def test_descent_is_torch_s_adam() -> None:
    task, start = information(steps=30, rate=1e-3)
    weights = start.clone().requires_grad_()
    adam = torch.optim.Adam([weights], lr=1e-3)
    for _ in range(30):
        adam.zero_grad()
        task.loss(weights).sum().backward()
        adam.step()
    torch.testing.assert_close(task.descended(start), weights.detach())


@pytest.mark.parametrize("marginal", [0.0, 1.0])
def test_alternation_the_plain_way(marginal: float) -> None:
    task, start = information(marginal, steps=5)
    found = task.alternated(start)
    for t in range(2):
        weights, support, queries = start[t], task.support[t], task.queries[t]
        for _ in range(5):
            p_support, p = (
                (-7.5 * torch.cdist(images, weights) ** 2).softmax(1)
                for images in (support, queries)
            )
            q = p**1.1 / (p**1.1).sum(0) ** (0.5 if marginal else 0.0)
            q = q / q.sum(1, keepdim=True)
            new = []
            for k in range(N_WAY):
                top, bottom = torch.zeros(SIZE).double(), 0.0
                for image, label, answer in zip(support, task.members[t], p_support, strict=True):
                    pull = label[k] * image + answer[k] * (weights[k] - image)
                    top, bottom = top + 0.1 / 1.1 * pull, bottom + 0.1 / 1.1 * label[k]
                for image, label, answer in zip(queries, q, p, strict=True):
                    pull = label[k] * image + answer[k] * (weights[k] - image)
                    top, bottom = top + 10 / 20 * pull, bottom + 10 / 20 * label[k]
                new.append(top / bottom)
            weights = torch.stack(new)
        torch.testing.assert_close(found[t], weights)


def test_both_solvers_lower_the_loss() -> None:
    for options, solver in ((1e-3, "descended"), (1e-4, "alternated")):
        task, start = information(steps=60, rate=options)
        end = getattr(task, solver)(start)
        assert (task.loss(end) < task.loss(start) - 0.01).all()


@pytest.mark.parametrize("options", [{}, {"solver": "gradient", "steps": 100, "rate": 1e-3}])
def test_queries_help_each_other(options: dict[str, object]) -> None:
    tasks = clustered()
    alone = build_head("simple_shot", None, EMBEDDING, TARGET)
    assert accuracy(head(**options), tasks) > accuracy(alone, tasks) + 0.05


def test_classes_that_are_not_equally_many_are_better_without_the_marginal() -> None:
    tasks = clustered(n_query=30, spread=0.7)
    mostly_first = torch.cat([torch.arange(0, 150, 5), torch.tensor([1, 2, 3, 4])])
    labels = tasks.query.labels[:, mostly_first]
    right = {}
    for weight in (0.0, 1.0):
        with torch.no_grad():
            predictor = head(marginal_weight=weight).adapt(tasks.support, TARGET)
            answers = predictor(tasks.query.inputs[:, mostly_first])
        right[weight] = float((answers.argmax(2) == labels).float().mean())
    assert right[0.0] > right[1.0] + 0.1


def test_a_single_query_is_not_given_to_all_classes_alike() -> None:
    tasks = clustered(spread=0.3)
    alone = logits(head(steps=0), tasks)[:, :1]
    one = head().adapt(tasks.support, TARGET)(tasks.query.inputs[:, :1])
    assert (one.argmax(2) == alone.argmax(2)).float().mean() > 0.95
    assert (one.softmax(2).amax(2) > 0.5).float().mean() > 0.9


@pytest.mark.filterwarnings("ignore")
def test_easyfsl_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the paper's squared distances in place of the cosines that it takes."""

    class Euclidean(easyfsl_method("TIM", monkeypatch)):  # type: ignore[misc]
        def cosine_distance_to_prototypes(self, samples: Tensor) -> Tensor:
            return -0.5 * (samples[:, None] - self.prototypes[None]).square().sum(2)

    tasks = clustered(2, n_shot=3)
    found = logits(head(centre="none", solver="gradient", steps=40, rate=1e-3), tasks)
    for t in range(2):
        support, queries = (
            F.normalize(part.inputs[t], dim=1) for part in (tasks.support, tasks.query)
        )
        method = Euclidean(
            fine_tuning_steps=40, fine_tuning_lr=1e-3, cross_entropy_weight=0.1, temperature=15.0
        )
        wanted = 15 * answers_of(method, support, tasks.support.labels[t], queries)
        torch.testing.assert_close(found[t], wanted, rtol=1e-3, atol=1e-3)
