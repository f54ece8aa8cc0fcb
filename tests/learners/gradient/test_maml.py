"""MAML against arithmetic, finite differences and a reimplementation with plain autograd."""

from __future__ import annotations

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
from medmeta.task_loss import task_loss
from medmeta.tasks import TaskMap, preferring
from tests.learners.gradient.tiny_tasks import episode

TARGET = Target("classes", 3)
IMAGE = InputSpec(3, (16, 16))
NARROW = {"options": {"width": 4}}


def tiny(seed: int = 0, outputs: int = 3, **options: Any) -> MAML:
    """A two-layer network of vectors, smooth and in double precision."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, outputs)).double()
    return MAML(network, MAMLConfig(**options), target=TARGET, max_way=outputs, input_kind="vector")


def meta_gradient(learner: MAML, tasks: Episode) -> dict[str, Tensor]:
    learner.zero_grad()
    learner.loss(tasks).mean().backward()  # type: ignore[no-untyped-call]
    gradients = {}
    for name, parameter in learner.network.named_parameters():
        assert parameter.grad is not None
        gradients[name] = parameter.grad
        parameter.grad = None
    return gradients


def reimplemented(learner: MAML, tasks: Episode, *, rate: float, steps: int) -> Tensor:
    """The meta-loss by Finn's algorithm 2, one task after the other, with ``autograd.grad``."""
    losses = []
    for t in range(tasks.support.n_tasks):
        weights = dict(learner.network.named_parameters())
        for _ in range(steps):
            logits = functional_call(learner.network, weights, (tasks.support.inputs[t],))  # type: ignore[index]
            loss = F.cross_entropy(logits, tasks.support.labels[t])
            found = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {
                name: weight - rate * gradient
                for (name, weight), gradient in zip(weights.items(), found, strict=True)
            }
        logits = functional_call(learner.network, weights, (tasks.query.inputs[t],))  # type: ignore[index]
        losses.append(F.cross_entropy(logits, tasks.query.labels[t]))
    return torch.stack(losses)


def test_one_inner_step_of_a_linear_network_by_hand() -> None:
    """Two classes, weights zero: the gradient of the mean loss is the mean of (p - y) x'."""
    network = nn.Linear(2, 2)
    nn.init.zeros_(network.weight)
    nn.init.zeros_(network.bias)
    fitting = {"target": Target("classes", 2), "max_way": 2, "input_kind": "vector"}
    learner = MAML(network, MAMLConfig(inner_rate=0.8), **fitting)
    images = torch.tensor([[[1.0, 0.0], [0.0, 3.0]]])
    support = LabelledSet(images, torch.tensor([[0, 1]]), torch.zeros(1))
    predictor = learner.adapt(support, Target("classes", 2))
    # p is 1/2 everywhere: dL/dW = ((-1/2, 1/2)' (1, 0) + (1/2, -1/2)' (0, 3)) / 2, dL/db = 0,
    # so W = -0.8 dL/dW = ((0.2, -0.6), (-0.2, 0.6)).
    torch.testing.assert_close(
        predictor(torch.eye(2)[None]), torch.tensor([[[0.2, -0.2], [-0.6, 0.6]]])
    )


@pytest.mark.parametrize("name", ["maml", "anil", "meta_sgd", "metal"])
@pytest.mark.parametrize(("side", "rate"), [(16, 0.4), (64, 0.025)])
def test_the_default_rate_falls_with_the_embeddings_size(name: str, side: int, rate: float) -> None:
    """Conv-4 of 64 channels halves four times: 64 numbers at 16×16, 1,024 at 64×64."""
    learner = build_learner(name, None, InputSpec(1, (side, side)), TARGET)
    adapting = learner.head if hasattr(learner, "head") else learner
    assert adapting.config.inner_rate == pytest.approx(rate)


def test_a_rate_that_was_given_stays() -> None:
    learner = build_learner("maml", {"inner_rate": 0.4}, InputSpec(1, (64, 64)), TARGET)
    assert learner.config.inner_rate == 0.4


def test_the_inner_rate_is_on_the_mean_not_the_sum() -> None:
    """The same support twice over is the same task: the update must not double."""
    learner, tasks = tiny(inner_rate=0.7), episode()
    images, labels = tasks.support.inputs, tasks.support.labels
    assert isinstance(images, Tensor)
    twice = LabelledSet(torch.cat([images] * 2, 1), torch.cat([labels] * 2, 1), torch.arange(2))
    once_answers = learner.adapt(tasks.support, TARGET)(tasks.query.inputs)
    torch.testing.assert_close(learner.adapt(twice, TARGET)(tasks.query.inputs), once_answers)
    unadapted = learner.network(tasks.query.inputs)
    assert not torch.allclose(once_answers, unadapted, atol=1e-3)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("task_map", ["loop", "vmap"])
@pytest.mark.parametrize("inner_checkpoint", [False, True])
def test_loss_and_meta_gradient_are_those_of_a_reimplementation(
    steps: int, task_map: TaskMap, inner_checkpoint: bool
) -> None:
    options = {"inner_rate": 0.5, "inner_steps": steps, "inner_checkpoint": inner_checkpoint}
    learner, tasks = tiny(**options), episode()
    wanted = reimplemented(learner, tasks, rate=0.5, steps=steps)
    gradients = torch.autograd.grad(wanted.mean(), list(learner.network.parameters()))
    with preferring(task_map):
        torch.testing.assert_close(learner.loss(tasks), wanted)
        found = meta_gradient(learner, tasks)
    for one, other in zip(found.values(), gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def central_difference(
    learner: MAML, tasks: Episode, weight: Tensor, place: int, step: float = 1e-5
) -> float:
    losses = []
    with torch.no_grad():
        for sign in (1, -1):
            weight.view(-1)[place] += sign * step
            losses.append(float(learner.loss(tasks).mean()))
            weight.view(-1)[place] -= sign * step
    return (losses[0] - losses[1]) / (2 * step)


def test_the_second_order_meta_gradient_is_that_of_finite_differences() -> None:
    learner, tasks = tiny(inner_rate=0.9, inner_steps=2), episode()
    found = meta_gradient(learner, tasks)
    for name, weight in learner.network.named_parameters():
        for place in range(weight.numel()):
            difference = central_difference(learner, tasks, weight, place)
            assert float(found[name].flatten()[place]) == pytest.approx(difference, abs=1e-9)


def test_the_first_order_meta_gradient_is_the_gradient_at_the_adapted_weights() -> None:
    tasks = episode(n_tasks=1)
    first, second = tiny(inner_rate=0.9, first_order=True), tiny(inner_rate=0.9)
    start = {name: p.detach() for name, p in first.network.named_parameters()}
    assert isinstance(tasks.support.inputs, Tensor)
    assert isinstance(tasks.query.inputs, Tensor)

    def loss(weights: dict[str, Tensor], labelled: LabelledSet) -> Tensor:
        assert isinstance(labelled.inputs, Tensor)
        logits = functional_call(first.network, weights, (labelled.inputs[0],))
        return F.cross_entropy(logits, labelled.labels[0])

    step = torch.func.grad(loss)(start, tasks.support)
    adapted = {name: start[name] - 0.9 * step[name] for name in start}
    wanted = torch.func.grad(loss)(adapted, tasks.query)
    found, other = meta_gradient(first, tasks), meta_gradient(second, tasks)
    for name in start:
        torch.testing.assert_close(found[name], wanted[name])
    assert max(float((found[n] - other[n]).abs().max()) for n in start) > 1e-2
    torch.testing.assert_close(first.loss(tasks), second.loss(tasks))


def of_images(seed: int = 0) -> Episode:
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(2, 12, *IMAGE.shape, generator=random, dtype=torch.float64)
    labels = torch.arange(3).repeat(4).expand(2, 12)
    ids = torch.arange(2)
    support = LabelledSet(images[:, :6], labels[:, :6], ids)
    return Episode(support, LabelledSet(images[:, 6:], labels[:, 6:], ids), TARGET)


def convolutional(encoder: nn.Module | None = None, **options: Any) -> MAML:
    torch.manual_seed(0)
    norm = options.pop("norm", "group")
    config = {**options, "encoder": {**NARROW, "norm": norm}}
    learner = build_learner("maml", config, IMAGE, TARGET, encoder=encoder).double()
    assert isinstance(learner, MAML)
    return learner


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"first_order": True},
        {"norm": "batch"},
        {"norm": "none"},
        {"inner_steps": 2},
        {"inner_steps": 3, "inner_checkpoint": True},
    ],
    ids=str,
)
def test_loop_and_vmap_agree_on_convolutions(options: dict[str, Any]) -> None:
    """Torch's own layer of batch statistics fails this under vmap, by 0.2 % of the gradient."""
    tasks = of_images()
    learner = convolutional(**options)
    losses, gradients = [], []
    methods: tuple[TaskMap, ...] = ("loop", "vmap")
    for method in methods:
        with preferring(method):
            losses.append(learner.loss(tasks).detach())
            gradients.append(meta_gradient(learner, tasks))
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)
    one, other = gradients
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", ["loop", "vmap"])
@pytest.mark.parametrize("norm", ["group", "batch", "none"])
def test_meta_gradients_through_normalisation_are_those_of_finite_differences(
    norm: str, method: TaskMap
) -> None:
    learner, tasks = convolutional(norm=norm), of_images()
    with preferring(method):
        found = meta_gradient(learner, tasks)
    for name, weight in learner.network.named_parameters():
        place = weight.numel() // 2
        difference = central_difference(learner, tasks, weight, place, step=1e-6)
        assert float(found[name].flatten()[place]) == pytest.approx(difference, abs=1e-6), name


def test_torch_s_own_batch_statistics_are_looped_over() -> None:
    own = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4, track_running_stats=False))
    learner = convolutional(own)
    assert learner.task_map == "loop"
    found = meta_gradient(learner, of_images())
    for name, weight in learner.network.named_parameters():
        difference = central_difference(learner, of_images(), weight, 0, step=1e-6)
        assert float(found[name].flatten()[0]) == pytest.approx(difference, abs=1e-6), name


def test_fewer_classes_use_the_first_columns_of_the_output_layer() -> None:
    learner, tasks = tiny(outputs=5, inner_steps=1, test_steps=0).eval(), episode()
    predictor = learner.adapt(tasks.support, TARGET)
    assert isinstance(tasks.query.inputs, Tensor)
    wanted = learner.network(tasks.query.inputs)[..., :3]
    torch.testing.assert_close(predictor(tasks.query.inputs), wanted)


def test_columns_beyond_the_ways_are_not_touched() -> None:
    """No probability leaks to them: a task of three classes is one of three, not of five."""
    five, tasks = tiny(outputs=5, inner_rate=0.5), episode()
    three = tiny(outputs=3, inner_rate=0.5)
    with torch.no_grad():
        for mine, other in zip(three.parameters(), five.parameters(), strict=True):
            mine.copy_(other[: len(mine)])
    torch.testing.assert_close(five.loss(tasks), three.loss(tasks))
    gradient = meta_gradient(five, tasks)["2.weight"]
    assert float(gradient[3:].abs().max()) == 0
    assert float(gradient[:3].abs().max()) > 0


def test_more_classes_than_it_was_built_for_are_refused() -> None:
    with pytest.raises(UnsupportedTaskError, match=r"at most 3 classes.*max_way=4"):
        tiny().adapt(episode().support, Target("classes", 4))


def test_the_output_layer_is_as_large_as_asked() -> None:
    learner = build_learner("maml", {"max_way": 7, "encoder": NARROW}, IMAGE, TARGET)
    assert learner.traits.max_way == 7


def test_steps_at_test_are_those_of_evaluation_mode_only() -> None:
    tasks = episode()
    learner, other = tiny(inner_steps=1, test_steps=4), tiny(inner_steps=4)
    assert isinstance(tasks.query.inputs, Tensor)
    training = learner.train().adapt(tasks.support, TARGET)(tasks.query.inputs)
    testing = learner.eval().adapt(tasks.support, TARGET)(tasks.query.inputs)
    four = other.adapt(tasks.support, TARGET)(tasks.query.inputs)
    torch.testing.assert_close(testing, four)
    assert not torch.allclose(training, four, atol=1e-3)


def test_running_statistics_are_refused_with_the_way_out() -> None:
    config = {"encoder": {**NARROW, "norm": "running"}}
    with pytest.raises(SettingsError, match=r"norm=running.*Use norm=group, or norm=batch"):
        build_learner("maml", config, IMAGE, TARGET)


def test_an_encoder_of_one_s_own_with_running_statistics_is_refused_too() -> None:
    own = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    with pytest.raises(SettingsError, match="running statistics"):
        build_learner("maml", None, IMAGE, TARGET, encoder=own)


def test_a_buffer_that_is_no_statistic_is_taken() -> None:
    own = nn.Sequential(nn.Flatten(), nn.Linear(768, 4))
    own.register_buffer("mean_intensity", torch.ones(3))
    assert build_learner("maml", None, IMAGE, TARGET, encoder=own).traits.trainable


def test_batch_statistics_are_declared_transductive() -> None:
    def transductive(norm: str) -> bool:
        config = {"encoder": {**NARROW, "norm": norm}}
        return build_learner("maml", config, IMAGE, TARGET).traits.transductive

    assert transductive("batch")
    assert not transductive("group")
    own = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    assert build_learner("maml", None, IMAGE, TARGET, encoder=own).traits.transductive


def test_values_are_learned_by_steps_on_the_squared_error() -> None:
    """The weight is 0, x = 2 and y = 3: (2w - 3)² has gradient -12, so one step gives 0.12."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    target = Target("values", 1)
    learner = MAML(network, MAMLConfig(), target=target, max_way=1, input_kind="vector")
    support = LabelledSet(torch.tensor([[[2.0]]]), torch.tensor([[[3.0]]]), torch.zeros(1))
    one = torch.ones(1, 1, 1)
    with torch.no_grad():
        answer = learner.adapt(support, target)(one)
    assert float(answer) == pytest.approx(0.12)
    assert float(task_loss(answer, one, target)) == pytest.approx(0.88**2)
