"""METAL against arithmetic, MAML, plain autograd and finite differences."""

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
from medmeta.errors import SettingsError, UnsupportedTaskError
from medmeta.learners import build_learner
from medmeta.learners.gradient.maml import MAML, MAMLConfig
from medmeta.learners.optimiser._folds_of_tasks import stratified_folds
from medmeta.learners.optimiser.metal import METAL, METALConfig, normalised
from medmeta.learners.optimiser.metal import root_mean_square as root_mean_square_of_layer
from medmeta.tasks import TaskMap, preferring
from tests.learners.gradient.tiny_tasks import (
    TARGET,
    assert_slopes_are_differences,
    episode,
    gradients_of,
    network,
)
from tests.learners.optimiser import vector_tasks


def tiny(base: nn.Module | None = None, **options: Any) -> METAL:
    """With a meta-network that proposes something, as after some training."""
    config = METALConfig(**{"hidden": 6, "proposal_weight": 0.2, **options})
    base = base or network()
    learner = METAL(base, config, target=TARGET, max_way=3, input_kind="vector").double()
    nn.init.uniform_(learner.meta_network.output.weight, -0.7, 0.7)
    return learner


def root_mean_square(tensor: Tensor) -> Tensor:
    return (tensor.square().mean() + 1e-6).sqrt()


def one_by_one(learner: METAL, images: Tensor, labels: Tensor, steps: int) -> dict[str, Tensor]:
    """The weights after some steps, every proposal from a row of seven signals."""
    net, config = learner.meta_network, learner.config
    first_layer = torch.cat([net.of_weight.weight, net.of_layer.weight], 1)
    weights = dict(learner.network.named_parameters())
    first = torch.tensor([0.4, config.proposal_weight], dtype=torch.float64)
    alpha, beta = learner.log_factors.exp() * first
    for _ in range(steps):
        logits = functional_call(learner.network, weights, (images,))
        loss = F.cross_entropy(logits, labels)
        found = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        for (name, weight), gradient in zip(list(weights.items()), found, strict=True):
            sizes = root_mean_square(gradient), root_mean_square(weight)
            rows = [
                torch.stack(
                    [
                        g / sizes[0],
                        w / sizes[1],
                        loss / (1 + loss),
                        sizes[0].log() / math.log(1e3),
                        sizes[1].log() / math.log(1e3),
                        gradient.mean() / sizes[0],
                        weight.mean() / sizes[1],
                    ]
                )
                for g, w in zip(gradient.reshape(-1), weight.reshape(-1), strict=True)
            ]
            hidden = torch.relu(torch.stack(rows) @ first_layer.T + net.of_layer.bias)
            proposal = torch.tanh(hidden @ net.output.weight[0] + net.output.bias)
            unit = gradient.square().mean().sqrt() if config.proposal_unit == "gradient" else 1.0
            step = alpha * (gradient + beta * unit * proposal.reshape(weight.shape))
            weights = {**weights, name: weight - step}
    return weights


def cross_validated(learner: METAL, tasks: Episode, steps: int) -> Tensor:
    """The mean loss of all images of a task, each after adapting without its fold."""
    assert isinstance(tasks.support.inputs, Tensor)
    assert isinstance(tasks.query.inputs, Tensor)
    totals = []
    for t in range(tasks.support.n_tasks):
        images = torch.cat([tasks.support.inputs[t], tasks.query.inputs[t]])
        labels = torch.cat([tasks.support.labels[t], tasks.query.labels[t]])
        ranked = sorted(range(len(labels)), key=lambda i, y=labels: int(y[i]))  # type: ignore[misc]
        losses = torch.zeros(()).double()
        for fold in range(learner.config.folds):
            left_out = ranked[fold :: learner.config.folds]
            rest = [i for i in ranked if i not in left_out]
            weights = one_by_one(learner, images[rest], labels[rest], steps)
            logits = functional_call(learner.network, weights, (images[left_out],))
            losses = losses + F.cross_entropy(logits, labels[left_out], reduction="sum")
        totals.append(losses / len(labels))
    return torch.stack(totals)


@pytest.mark.parametrize("task_map", ["loop", "vmap"])
@pytest.mark.parametrize("inner_checkpoint", [False, True])
@pytest.mark.parametrize(("folds", "unit"), [(2, "one"), (3, "one"), (2, "gradient")])
def test_loss_and_gradient_are_those_of_a_reimplementation(
    folds: int, unit: str, inner_checkpoint: bool, task_map: TaskMap
) -> None:
    options = {"inner_steps": 2, "folds": folds, "inner_checkpoint": inner_checkpoint}
    learner = tiny(proposal_unit=unit, **options)
    tasks = episode()
    wanted = cross_validated(learner, tasks, 2)
    with preferring(task_map):
        loss = learner.loss(tasks)
        torch.testing.assert_close(loss, wanted)
        found = gradients_of(learner, loss)
    for name, gradient in gradients_of(learner, wanted).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-11)
        assert float(gradient.abs().max()) > 0, name


def test_gradients_are_those_of_finite_differences() -> None:
    """Of the start, the meta-network, α and β; ReLU's corners are far enough."""
    torch.manual_seed(0)
    narrow = nn.Sequential(nn.Linear(4, 2), nn.Tanh(), nn.Linear(2, 3))
    learner = tiny(narrow, inner_steps=2, hidden=3)
    assert_slopes_are_differences(learner, episode(n_tasks=1))


@pytest.mark.parametrize("steps", [1, 3])
def test_without_a_proposal_it_is_maml(steps: int) -> None:
    options = {"inner_rate": 0.7, "inner_steps": steps}
    maml = MAML(network(), MAMLConfig(**options), target=TARGET, max_way=3, input_kind="vector")
    metal, tasks = tiny(proposal_weight=0.0, train_on="query", **options), episode()
    losses = metal.loss(tasks), maml.loss(tasks)
    torch.testing.assert_close(*losses)
    found = gradients_of(metal, losses[0])
    for name, gradient in gradients_of(maml, losses[1]).items():
        torch.testing.assert_close(found[name], gradient)


def test_it_begins_as_maml() -> None:
    options = {"inner_steps": 2}
    maml = MAML(network(), MAMLConfig(**options), target=TARGET, max_way=3, input_kind="vector")
    config = METALConfig(**options)
    metal = METAL(network(), config, target=TARGET, max_way=3, input_kind="vector").double()
    tasks = episode()
    answers = [x.adapt(tasks.support, TARGET)(tasks.query.inputs) for x in (metal, maml)]
    torch.testing.assert_close(*answers)


@pytest.mark.parametrize(("unit", "proposed"), [("one", 0.5), ("gradient", 0.5 * 8)])
def test_one_step_by_hand(unit: Any, proposed: float) -> None:
    """(2w - 3)² has gradient -8 at w = 1/2; the proposal's tanh is 1/2 by its bias alone."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 0.5)
    target = Target("values", 1)
    config = METALConfig(inner_rate=0.1, proposal_weight=3.0, proposal_unit=unit)
    learner = METAL(net, config, target=target, max_way=1, input_kind="vector")
    nn.init.constant_(learner.meta_network.output.bias, math.atanh(0.5))
    with torch.no_grad():
        learner.log_factors.copy_(torch.tensor([2.0, 1 / 3]).log())  # α = 0.2, β = 1
    support = LabelledSet(torch.tensor([[[2.0]]]), torch.tensor([[[3.0]]]), torch.zeros(1))
    answer = learner.adapt(support, target)(torch.ones(1, 1, 1))
    assert answer.item() == pytest.approx(0.5 - 0.2 * (-8 + 1 * proposed))


def test_first_order_leaves_the_answers_and_changes_the_gradient() -> None:
    first, second, tasks = tiny(first_order=True), tiny(), episode()
    first.load_state_dict(second.state_dict())
    losses = first.loss(tasks), second.loss(tasks)
    torch.testing.assert_close(*losses)
    one, other = gradients_of(first, losses[0]), gradients_of(second, losses[1])
    assert max(float((one[name] - other[name]).abs().max()) for name in one) > 1e-3
    name = "meta_network.output.weight"  # one step: only it is read after the gradients
    torch.testing.assert_close(one[name], other[name])
    assert not first.traits.differentiable
    assert second.traits.differentiable


def test_signals_do_not_depend_on_the_scale_of_gradients_and_weights() -> None:
    random = torch.Generator().manual_seed(0)
    weight, gradient = torch.randn(2, 4, 3, generator=random)
    own, shared = normalised(weight, gradient, torch.tensor(2.0))
    scaled, other = normalised(100 * weight, 1000 * gradient, torch.tensor(2.0))
    torch.testing.assert_close(own, scaled, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shared[[0, 3, 4]], other[[0, 3, 4]], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(own.square().mean(0), torch.ones(2), rtol=1e-4, atol=0)
    torch.testing.assert_close((other - shared)[1:3], torch.tensor([1.0, 2 / 3]))


def test_where_there_is_no_gradient_a_proposal_in_its_unit_is_nothing() -> None:
    nothing = torch.zeros(3, requires_grad=True)
    size = root_mean_square_of_layer(nothing)
    assert size.item() == pytest.approx(0, abs=1e-15)
    assert torch.autograd.grad(size, nothing)[0].abs().max() == 0


def test_signals_of_nothing_are_finite() -> None:
    nothing = torch.zeros(3, requires_grad=True)
    own, shared = normalised(nothing, nothing, nothing.sum())
    assert own.abs().max() == 0
    slopes = torch.autograd.grad(own.sum() + shared.sum(), nothing)[0]
    assert bool(torch.isfinite(slopes).all())


LABELS = {
    "one shot and one query": [[0, 1, 2, 0, 1, 2], [2, 1, 0, 0, 1, 2]],
    "uneven": [[0, 0, 0, 0, 0, 1, 1, 2, 2, 2], [2, 1, 2, 1, 2, 1, 2, 1, 0, 0]],
    "even": [[0, 1, 2] * 4, [2, 2, 1, 1, 0, 0] * 2],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("folds", [2, 3, 4])
def test_folds_cover_all_once_and_share_the_classes_out(
    folds: int, labels: list[list[int]]
) -> None:
    classes = torch.tensor(labels)
    parts = list(stratified_folds(classes, folds))
    assert len(parts) == folds
    for t, row in enumerate(classes):
        everything = torch.cat([left_out[t] for _, left_out in parts]).tolist()
        assert sorted(everything) == list(range(len(row)))
        for learned_from, left_out in parts:
            both = learned_from[t].tolist() + left_out[t].tolist()
            assert sorted(both) == list(range(len(row)))
            for label in range(3):
                share = int((row == label).sum()) / folds
                held = int((row[left_out[t]] == label).sum())
                assert math.floor(share) <= held <= math.ceil(share)


def test_two_images_of_a_class_are_never_left_out_together() -> None:
    for learned_from, _ in stratified_folds(torch.tensor([[0, 1, 2, 2, 0, 1]]), 2):
        assert sorted(torch.tensor([0, 1, 2, 2, 0, 1])[learned_from[0]].tolist()) == [0, 1, 2]


def test_values_are_spread_over_the_folds() -> None:
    values = torch.tensor([[[5.0], [1.0], [4.0], [2.0], [3.0], [0.0]]])
    held = [values[0, left[0], 0].tolist() for _, left in stratified_folds(values, 2)]
    assert held == [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]


def test_no_fold_is_empty() -> None:
    assert len(list(stratified_folds(torch.tensor([[0, 1, 0]]), 9))) == 3


def test_a_step_count_for_tests_is_that_of_evaluation_mode_only() -> None:
    learner, other, tasks = tiny(inner_steps=1, test_steps=3), tiny(inner_steps=3), episode()
    other.load_state_dict(learner.state_dict())
    images = tasks.query.inputs
    three = other.adapt(tasks.support, TARGET)(images)
    torch.testing.assert_close(learner.eval().adapt(tasks.support, TARGET)(images), three)
    training = learner.train().adapt(tasks.support, TARGET)(images)
    assert not torch.allclose(training, three, atol=1e-3)


def test_fixed_rates_have_no_gradient() -> None:
    learner = tiny(learn_rates=False, inner_steps=2, inner_checkpoint=True)
    assert "log_factors" not in dict(
        (name, p) for name, p in learner.named_parameters() if p.requires_grad
    )
    learner.loss(episode()).mean().backward()  # type: ignore[no-untyped-call]
    assert learner.log_factors.grad is None
    assert learner.meta_network.of_layer.bias.grad is not None


def test_the_size_of_the_meta_network_is_that_of_no_network() -> None:
    sizes = set()
    for width in (4, 8):
        config = {"encoder": {"options": {"width": width}}}
        learner = build_learner("metal", config, InputSpec(1, (16, 16)), TARGET)
        assert isinstance(learner, METAL)
        sizes.add(sum(p.numel() for p in learner.meta_network.parameters()))
    assert sizes == {7 * 128 + 128 + 128 + 1}


def test_the_query_s_labels_matter_to_the_loss_and_not_to_adapting() -> None:
    learner, tasks = tiny(), episode()
    shuffled = replace(tasks, query=replace(tasks.query, labels=tasks.query.labels.roll(1, 1)))
    assert not torch.allclose(learner.loss(tasks), learner.loss(shuffled))


def test_more_classes_and_running_statistics_are_refused() -> None:
    with pytest.raises(UnsupportedTaskError, match=r"METAL was built for at most 3 classes"):
        tiny().loss(replace(episode(), target=Target("classes", 4)))
    with pytest.raises(SettingsError, match="metal takes no encoder with running statistics"):
        build_learner("metal", {"encoder": {"norm": "running"}}, InputSpec(3, (16, 16)), TARGET)


@pytest.mark.parametrize("train_on", ["folds", "query"])
def test_after_some_meta_training_it_beats_fine_tuning_from_the_same_weights(
    train_on: str,
) -> None:
    config = METALConfig(inner_steps=2, train_on=train_on)
    learner = METAL(vector_tasks.network(), config, target=TARGET, max_way=3, input_kind="vector")
    vector_tasks.meta_train(learner, lessons=25)
    rival = vector_tasks.after_fine_tuning(2)
    assert vector_tasks.loss_on_new_tasks(learner) < 0.97 * rival
