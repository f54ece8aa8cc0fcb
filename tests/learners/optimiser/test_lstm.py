"""The LSTM meta-learner against arithmetic, torch's own LSTM cell and plain autograd."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.errors import SettingsError
from medmeta.learners import build_learner, learner_spec
from medmeta.learners.gradient.reptile import mini_batches
from medmeta.learners.optimiser._signals import log_and_sign
from medmeta.learners.optimiser.lstm import CoordinateLSTM, MetaLSTM, MetaLSTMConfig
from medmeta.tasks import TaskMap, preferring
from tests.learners.gradient.tiny_tasks import TARGET, episode, gradients_of, network, task
from tests.learners.optimiser import vector_tasks


def tiny(**options: Any) -> MetaLSTM:
    """With gates that read all of their inputs, as after some training."""
    config = MetaLSTMConfig(hidden=5, **options)
    net = network()
    learner = MetaLSTM(net, config, target=TARGET, max_way=3, input_kind="vector").double()
    for parameter in learner.rule.parameters():
        nn.init.uniform_(parameter, -0.7, 0.7)
    return learner


def by_torch(learner: MetaLSTM, tasks: Episode, steps: int) -> Tensor:
    """The query's loss of each task, coordinate by coordinate with ``nn.LSTMCell``."""
    rule, hidden = learner.rule, learner.config.hidden
    cell = nn.LSTMCell(4, hidden).double()
    theirs = {
        "weight_ih": rule.gates.weight[:, :4],
        "weight_hh": rule.gates.weight[:, 4:],
        "bias_ih": rule.gates.bias,
        "bias_hh": torch.zeros_like(rule.gates.bias),
    }
    order = mini_batches(tasks.support, steps, learner.config.inner_batch)
    losses = []
    for t in range(tasks.support.n_tasks):
        (images, labels), (queries, answers) = task(tasks.support, t), task(tasks.query, t)
        weights = dict(learner.network.named_parameters())
        n = sum(w.numel() for w in weights.values())
        state = (torch.zeros(n, hidden).double(), torch.zeros(n, hidden).double())
        forget, rate = torch.zeros(n).double(), torch.zeros(n).double()
        for chosen in order[t]:
            here = {name: w.detach().requires_grad_() for name, w in weights.items()}
            logits = functional_call(learner.network, here, (images[chosen],))
            loss = F.cross_entropy(logits, labels[chosen])
            found = torch.autograd.grad(loss, list(here.values()))
            slopes = torch.cat([g.reshape(-1) for g in found])
            old = torch.cat([w.reshape(-1) for w in weights.values()])
            rows = [(*signal(float(loss.detach())), *signal(float(slope))) for slope in slopes]
            read = torch.tensor([(c, d, a, b) for a, b, c, d in rows], dtype=torch.float64)
            state = functional_call(cell, theirs, (read, state))
            forget = torch.sigmoid(
                state[0] @ rule.forget.weight[0, :-2]
                + rule.forget.weight[0, -2] * old
                + rule.forget.weight[0, -1] * forget
                + rule.forget.bias
            )
            rate = torch.sigmoid(
                state[0] @ rule.input.weight[0, :-2]
                + rule.input.weight[0, -2] * old
                + rule.input.weight[0, -1] * rate
                + rule.input.bias
            )
            new = forget * old - rate * slopes
            sizes = [w.numel() for w in weights.values()]
            parts = zip(weights.items(), new.split(sizes), strict=True)
            weights = {name: part.reshape(w.shape) for (name, w), part in parts}
        losses.append(
            F.cross_entropy(functional_call(learner.network, weights, (queries,)), answers)
        )
    return torch.stack(losses)


def signal(x: float) -> tuple[float, float]:
    """Size and sign, by the two cases of the definition with p = 10."""
    if abs(x) >= math.exp(-10):
        return math.log(abs(x)) / 10, math.copysign(1.0, x)
    return -1.0, math.exp(10) * x


def test_gates_alone_shrink_the_weight_and_descend() -> None:
    """(2w - 3)² has gradient -8 at w = 1/2. Gates of zero weights are the sigmoids of biases."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 0.5)
    target = Target("values", 1)
    config = MetaLSTMConfig(inner_steps=1)
    learner = MetaLSTM(net, config, target=target, max_way=1, input_kind="vector")
    for parameter in learner.rule.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(learner.rule.forget.bias, math.log(4.0))  # σ: 0.8
    nn.init.constant_(learner.rule.input.bias, -math.log(9.0))  # σ: 0.1
    support = LabelledSet(torch.tensor([[[2.0]]]), torch.tensor([[[3.0]]]), torch.zeros(1))
    answer = learner.adapt(support, target)(torch.ones(1, 1, 1))
    assert answer.item() == pytest.approx(0.8 * 0.5 + 0.1 * 8)


@pytest.mark.parametrize("task_map", ["loop", "vmap"])
@pytest.mark.parametrize("inner_checkpoint", [False, True])
@pytest.mark.parametrize("inner_batch", [None, 4])
def test_loss_and_gradient_are_those_of_torch_s_cell_and_plain_autograd(
    inner_batch: int | None, inner_checkpoint: bool, task_map: TaskMap
) -> None:
    """Gradients within the task are detached there: nothing is differentiated twice."""
    learner = tiny(inner_steps=3, inner_batch=inner_batch, inner_checkpoint=inner_checkpoint)
    tasks = episode()
    wanted = by_torch(learner, tasks, 3)
    with preferring(task_map):
        loss = learner.loss(tasks)
        torch.testing.assert_close(loss, wanted)
        found = gradients_of(learner, loss)
    for name, gradient in gradients_of(learner, wanted).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-7, atol=1e-12)
        assert float(gradient.abs().max()) > 0, name


@pytest.mark.parametrize(("training", "steps"), [(True, 2), (False, 4)])
def test_adapting_takes_the_steps_of_its_mode(training: bool, steps: int) -> None:
    learner, tasks = tiny(inner_steps=2, test_steps=4).train(training), episode()
    with torch.no_grad():
        loss = learner.loss(tasks)
    torch.testing.assert_close(loss, by_torch(learner, tasks, steps).detach())


@pytest.mark.parametrize("inner_batch", [None, 4])
def test_no_steps_leave_the_network_as_it_is(inner_batch: int | None) -> None:
    learner, tasks = tiny(test_steps=0, inner_batch=inner_batch).eval(), episode()
    answers = learner.adapt(tasks.support, TARGET)(tasks.query.inputs)
    torch.testing.assert_close(answers, learner.network(tasks.query.inputs))


def test_mini_batches_are_drawn_by_the_task_s_own_number() -> None:
    learner, tasks = tiny(inner_batch=2), episode(n_tasks=1)
    renumbered = replace(tasks, support=replace(tasks.support, task_ids=torch.tensor([9])))
    assert not torch.equal(learner.loss(tasks), learner.loss(renumbered))
    assert torch.equal(learner.loss(tasks), learner.loss(tasks))


def test_numbers_are_read_by_size_and_sign() -> None:
    numbers = [3.0, -1e-3, math.exp(-10), -1e-6, 0.0, 1e6]
    wanted = torch.tensor([signal(x) for x in numbers], dtype=torch.float64)
    torch.testing.assert_close(
        log_and_sign(torch.tensor(numbers, dtype=torch.float64), 10.0), wanted
    )


def test_the_rule_begins_as_descent_at_a_small_rate_that_forgets_little() -> None:
    rule = CoordinateLSTM(20, forget_bias=4.5, input_bias=-4.5)
    assert 4 <= rule.forget.bias.item() <= 5
    assert -5 <= rule.input.bias.item() <= -4
    others = [p for n, p in rule.named_parameters() if n not in ("forget.bias", "input.bias")]
    assert all(p.abs().max().item() <= 0.01 for p in others)


def test_the_size_of_the_rule_is_that_of_no_network() -> None:
    sizes = set()
    for width in (4, 8):
        config = {"encoder": {"options": {"width": width}}}
        learner = build_learner("meta_lstm", config, InputSpec(1, (16, 16)), TARGET)
        assert isinstance(learner, MetaLSTM)
        sizes.add(sum(p.numel() for p in learner.rule.parameters()))
    assert sizes == {80 * 24 + 80 + 2 * 23}


def test_traits_and_defaults() -> None:
    assert tiny().traits.order_free
    assert not tiny(inner_batch=4).traits.order_free
    assert not tiny().traits.differentiable
    assert tiny().traits.maps_tasks
    assert tiny().traits.max_way == 3
    defaults = learner_spec("meta_lstm").config.training_defaults
    assert (defaults.learning_rate, defaults.tasks_per_step) == (1e-3, 1)
    assert defaults.clip_norm == 0.25


def test_running_statistics_are_refused() -> None:
    with pytest.raises(SettingsError, match="meta_lstm takes no encoder with running statistics"):
        build_learner("meta_lstm", {"encoder": {"norm": "running"}}, InputSpec(3, (16, 16)), TARGET)


def test_after_some_meta_training_it_beats_fine_tuning_from_the_same_weights() -> None:
    config = MetaLSTMConfig(inner_steps=3, input_bias=0.0)
    learner = MetaLSTM(
        vector_tasks.network(), config, target=TARGET, max_way=3, input_kind="vector"
    )
    vector_tasks.meta_train(learner, lessons=30)
    rival = vector_tasks.after_fine_tuning(3)
    assert vector_tasks.loss_on_new_tasks(learner) < 0.97 * rival
