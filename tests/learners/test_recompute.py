"""A step that is computed again in the backward pass, where it draws at random."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.check_tasks import TaskMaker
from medmeta.episode import InputSpec, Target
from medmeta.learners import build_learner
from medmeta.learners._recompute import DrawsNothing, recomputed

PICTURE, TARGET = InputSpec(1, (16, 16)), Target("classes", 3)


def test_what_a_step_draws_is_drawn_again_alike_and_chance_goes_on_from_where_it_was() -> None:
    """The slope of a product with what is drawn is that which was drawn."""
    x = torch.ones(50, dtype=torch.float64, requires_grad=True)
    drawn = []

    def step(values: Tensor) -> tuple[Tensor, ...]:
        drawn.append(torch.rand(50, dtype=torch.float64))
        return (values * drawn[-1],)

    torch.manual_seed(3)
    (y,) = recomputed(step, [x], [])
    torch.rand(7)
    before = torch.get_rng_state()
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert len(drawn) == 2
    assert torch.equal(slope, drawn[0])
    assert torch.equal(slope, y.detach())
    assert torch.equal(torch.get_rng_state(), before)


def meta_gradient(name: str, *, checkpointed: bool) -> Tensor:
    dropping = {"name": "resnet12", "options": {"dropout": 0.3, "widths": (4, 4, 4, 4)}}
    options = {"inner_steps": 3, "inner_checkpoint": checkpointed, "encoder": dropping}
    torch.manual_seed(0)
    learner = build_learner(name, options, PICTURE, TARGET).double().train()
    tasks = TaskMaker(PICTURE, TARGET).episode(2, n_shot=1, n_query=1, seed=4)
    support, query = (
        side.with_inputs(side.inputs.double())  # type: ignore[union-attr]
        for side in (tasks.support, tasks.query)
    )
    torch.manual_seed(1)
    loss = learner.loss(type(tasks)(support, query, TARGET)).mean()
    found = torch.autograd.grad(loss, list(learner.parameters()), materialize_grads=True)
    return torch.cat([slope.flatten() for slope in found])


@pytest.mark.parametrize("name", ["maml", "metal"])
def test_with_dropout_the_meta_gradient_is_that_without_a_checkpoint(name: str) -> None:
    plain = meta_gradient(name, checkpointed=False)
    again = meta_gradient(name, checkpointed=True)
    assert float((again - plain).norm()) <= 1e-6 * float(plain.norm())


def test_a_draw_is_noticed_in_whatever_form() -> None:
    x = torch.ones(3)
    with DrawsNothing():
        assert float((x + x).sum()) == 6
        for draw in (lambda: F.dropout(x), lambda: torch.rand(2), lambda: torch.randn_like(x)):
            with pytest.raises(RuntimeError, match="draws at random in a step"):
                draw()
