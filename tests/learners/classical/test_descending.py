"""Meta-GD and Meta-NN against plain descent, and against what is not learned across tasks."""

from __future__ import annotations

from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.episode import InputSpec, LabelledSet, Target, any_tensor
from medmeta.errors import UnsupportedTaskError
from medmeta.learners import build_head
from medmeta.learners.classical._choice import Choice
from medmeta.learners.classical._descending import DescendingHead
from medmeta.learners.classical._support_scale import SupportScale
from medmeta.tasks import TaskMap, preferring
from tests.learners.classical.source_tasks import SIZE, TARGET, accuracy, episode, trained

NAMES = ["meta_gd", "meta_nn"]
SPEC = InputSpec(SIZE, ())


def head(name: str, *, disturbed: bool = False, **options: object) -> DescendingHead:
    """In double precision; ``disturbed`` as if trained: no two rates or factors are equal."""
    torch.manual_seed(0)
    built = cast(DescendingHead, build_head(name, options, SPEC, TARGET)).double()
    if disturbed:
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.mul_(1 + 0.3 * torch.rand_like(parameter)).add_(
                    0.1 * torch.rand_like(parameter)
                )
    return built


def plainly(built: DescendingHead, support: LabelledSet, queries: Tensor) -> list[Tensor]:
    """Answers ``(T, Q, N)`` after each step, by ``autograd.grad`` on each task by itself."""
    answers: list[list[Tensor]] = []
    images = any_tensor(support.inputs)
    scale = SupportScale.of(images)
    given, asked = scale.apply_to_length(images), scale.apply_to_length(queries)
    for t in range(support.n_tasks):
        weights, row = built.start(given, TARGET.size), []
        for step in range(built.steps):
            weights = {n: w if w.requires_grad else w.requires_grad_() for n, w in weights.items()}
            loss = F.cross_entropy(built.outputs(weights, given[t]), support.labels[t])
            found = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {
                name: weight - built.rates.of[name][step] * gradient
                for (name, weight), gradient in zip(weights.items(), found, strict=True)
            }
            row.append(built.outputs(weights, asked[t]))
        answers.append(row)
    return [torch.stack(parts) for parts in zip(*answers, strict=True)]


@pytest.mark.parametrize("task_map", ["loop", "vmap"])
@pytest.mark.parametrize("name", NAMES)
def test_loss_answers_and_gradients_are_those_of_plain_descent(
    name: str, task_map: TaskMap
) -> None:
    built, tasks = head(name, disturbed=True, steps=3), episode(2, 5)
    support = tasks.support.with_inputs(any_tensor(tasks.support.inputs).double())
    queries, labels = any_tensor(tasks.query.inputs).double(), tasks.query.labels
    each = plainly(built, support, queries)
    losses = torch.stack([F.cross_entropy(e.mT, labels, reduction="none").mean(1) for e in each])
    wanted = built.stopping.shares() @ losses
    with preferring(task_map):
        episode_in_double = type(tasks)(support, tasks.query.with_inputs(queries), TARGET)
        loss = built.loss(episode_in_double)
        torch.testing.assert_close(loss, wanted)
        for last in (0, 2):
            with torch.no_grad():
                built.stopping.preferences.zero_()[last] = 1.0
            torch.testing.assert_close(built.adapt(support, TARGET)(queries), each[last])
    found = torch.autograd.grad(loss.mean(), list(built.parameters()))
    expected = torch.autograd.grad(wanted.mean(), list(built.parameters()))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    assert all(bool(g.any()) for g in found)


def test_one_step_of_meta_gd_by_hand() -> None:
    """Images 0 and 2 are -1 and 1; the mean gradient is -½ x per class, and the rate is 2."""
    built = build_head("meta_gd", {"steps": 1}, InputSpec(1, ()), Target("classes", 2))
    given = LabelledSet(torch.tensor([[[0.0], [2.0]]]), torch.tensor([[0, 1]]), torch.zeros(1))
    found = built.adapt(given, Target("classes", 2))(torch.tensor([[[2.0]]]))
    torch.testing.assert_close(found, torch.tensor([[[-1.0, 1.0]]]))


@pytest.mark.parametrize("name", NAMES)
def test_the_network_takes_more_classes_than_it_was_built_for(name: str) -> None:
    built = build_head(name, None, SPEC, Target("classes", 2))
    tasks = episode(2, 5)
    assert built.adapt(tasks.support, TARGET)(tasks.query.inputs).shape[-1] == 3


@pytest.mark.parametrize("name", NAMES)
def test_built_for_classes_it_refuses_values(name: str) -> None:
    values = LabelledSet(torch.zeros(1, 4, SIZE), torch.zeros(1, 4, 1), torch.zeros(1))
    with pytest.raises(UnsupportedTaskError, match="takes classes, not values"):
        head(name).adapt(values, Target("values", 1))


def test_a_choice_falls_on_the_least_loss() -> None:
    choice = Choice(3, first=2)
    losses = torch.tensor([[2.0, 1.0, 3.0], [2.0, 1.5, 2.5]])
    shares = choice.shares().detach()
    torch.testing.assert_close(shares[2] / shares[0], torch.tensor(1.0).exp())
    torch.testing.assert_close(choice.expected(losses).detach(), losses @ shares)
    optimiser = torch.optim.Adam(choice.parameters(), lr=0.02)
    for _ in range(50):
        optimiser.zero_grad()
        choice.expected(losses).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert choice.best == 1


def test_the_last_step_is_learned_and_kept_in_the_state() -> None:
    """At a rate that overshoots the first step is the best to stop at."""
    torch.manual_seed(0)
    built = cast(DescendingHead, build_head("meta_gd", {"rate": 60.0, "steps": 4}, SPEC, TARGET))
    for parameter in (*built.rates.parameters(), built.get_parameter("log_factors")):
        parameter.requires_grad_(False)
    trained_only = [built.stopping.preferences]
    optimiser = torch.optim.Adam(trained_only, lr=0.02)
    for step in range(30):
        optimiser.zero_grad()
        built.loss(episode(8, 100 + step)).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    tasks = episode(64, 1)
    losses = []
    for last in range(4):
        other = build_head("meta_gd", {"rate": 60.0, "steps": 4}, SPEC, TARGET)
        with torch.no_grad():
            other.get_parameter("stopping.preferences").zero_()[last] = 1.0
        answers = other.adapt(tasks.support, TARGET)(tasks.query.inputs).detach()
        losses.append(float(F.cross_entropy(answers.flatten(0, 1), tasks.query.labels.flatten())))
    assert built.stopping.best == losses.index(min(losses)) != 3
    loaded = cast(DescendingHead, build_head("meta_gd", {"steps": 4}, SPEC, TARGET))
    loaded.load_state_dict(built.state_dict())
    assert loaded.stopping.best == built.stopping.best


@pytest.mark.parametrize(("name", "plain"), [("meta_gd", "sgd"), ("meta_nn", "mlp")])
def test_learned_across_tasks_it_beats_its_plain_form(name: str, plain: str) -> None:
    """Source tasks show which features tell: what one support of 15 images cannot."""
    torch.manual_seed(0)
    learned, other = (build_head(n, None, SPEC, TARGET) for n in (name, plain))
    trained(learned, 50)
    assert accuracy(learned, 30) > accuracy(other, 30) + 0.05
