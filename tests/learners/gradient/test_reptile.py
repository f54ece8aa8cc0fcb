"""Reptile against arithmetic and against torch's own optimisers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.errors import SettingsError
from medmeta.learners import build_learner, learner_spec
from medmeta.learners._mini_batches import mini_batches
from medmeta.learners.gradient.reptile import Reptile, ReptileConfig
from medmeta.tasks import TaskMap, preferring
from tests.learners.gradient.tiny_tasks import TARGET, episode, gradients_of, network, task


def tiny(**options: Any) -> Reptile:
    config = ReptileConfig(**options)
    return Reptile(network(), config, target=TARGET, max_way=3, input_kind="vector")


def together(tasks: Episode) -> LabelledSet:
    assert isinstance(tasks.support.inputs, Tensor)
    assert isinstance(tasks.query.inputs, Tensor)
    inputs = torch.cat([tasks.support.inputs, tasks.query.inputs], 1)
    return LabelledSet(
        inputs, torch.cat([tasks.support.labels, tasks.query.labels], 1), tasks.support.task_ids
    )


def ends_by_torch(learner: Reptile, labelled: LabelledSet, steps: int) -> list[nn.Module]:
    """Each task's network after steps of torch's own optimiser, begun afresh."""
    config, ends = learner.config, []
    order = mini_batches(labelled, steps, config.inner_batch)
    for t in range(labelled.n_tasks):
        net = copy.deepcopy(learner.network)
        optimiser: torch.optim.Optimizer = torch.optim.Adam(
            net.parameters(), lr=config.inner_rate or 1e-3, betas=(0.0, 0.999)
        )
        if config.inner_optimiser == "sgd":
            optimiser = torch.optim.SGD(net.parameters(), lr=config.inner_rate or 0.1)
        images, labels = task(labelled, t)
        for chosen in order[t]:
            optimiser.zero_grad()
            loss = F.cross_entropy(net(images[chosen]), labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        ends.append(net)
    return ends


def test_one_step_of_descent_by_hand() -> None:
    """(2w - 3)² has gradient -12 at w = 0: at rate 0.1, w' = 1.2, loss 0.72, gradient -1.2."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    target = Target("values", 1)
    config = ReptileConfig(inner_optimiser="sgd", inner_rate=0.1, inner_steps=1, train_on="support")
    learner = Reptile(net, config, target=target, max_way=1, input_kind="vector")
    labelled = LabelledSet(torch.tensor([[[2.0]]]), torch.tensor([[[3.0]]]), torch.zeros(1))
    loss = learner.loss(Episode(labelled, labelled, target))
    assert loss.shape == (1,)
    assert float(loss.detach()) == pytest.approx(0.72)
    torch.optim.SGD(learner.parameters(), lr=1.0).zero_grad()
    loss.mean().backward()  # type: ignore[no-untyped-call]
    assert net.weight.grad is not None
    assert float(net.weight.grad) == pytest.approx(-1.2)


@pytest.mark.parametrize("task_map", ["loop", "vmap"])
@pytest.mark.parametrize("train_on", ["all", "support"])
@pytest.mark.parametrize("inner_batch", [None, 4])
@pytest.mark.parametrize("inner_optimiser", ["adam", "sgd"])
def test_the_gradient_is_how_far_torch_s_optimiser_goes(
    inner_optimiser: str, inner_batch: int | None, train_on: str, task_map: TaskMap
) -> None:
    learner = tiny(inner_optimiser=inner_optimiser, inner_batch=inner_batch, train_on=train_on)
    tasks = episode()
    learned_from = together(tasks) if train_on == "all" else tasks.support
    with preferring(task_map):
        loss = learner.loss(tasks)
        found = gradients_of(learner, loss)
    ends = [dict(net.named_parameters()) for net in ends_by_torch(learner, learned_from, 5)]
    start = dict(learner.network.named_parameters())
    ways = {n: torch.stack([w - end[n] for end in ends]).detach() for n, w in start.items()}
    for name, way in ways.items():
        torch.testing.assert_close(found[f"network.{name}"], way.mean(0), rtol=1e-6, atol=1e-12)
    squares = torch.stack([way.square().flatten(1).sum(1) for way in ways.values()])
    torch.testing.assert_close(loss, squares.sum(0) / 2)


@pytest.mark.parametrize(("training", "steps"), [(True, 2), (False, 6)])
def test_adapting_takes_the_steps_of_its_mode(training: bool, steps: int) -> None:
    learner, tasks = tiny(inner_steps=2, test_steps=6, inner_batch=3), episode()
    assert isinstance(tasks.query.inputs, Tensor)
    with torch.no_grad():
        answers = learner.train(training).adapt(tasks.support, TARGET)(tasks.query.inputs)
    ends = ends_by_torch(learner, tasks.support, steps)
    wanted = [net(images) for net, images in zip(ends, tasks.query.inputs, strict=True)]
    torch.testing.assert_close(answers, torch.stack(wanted).detach())


def test_each_pass_goes_through_all_images_by_the_task_s_own_chance() -> None:
    labelled = LabelledSet(torch.zeros(2, 6, 1), torch.zeros(2, 6), torch.tensor([3, 8]))
    order = mini_batches(labelled, 6, 4)
    assert order.shape == (2, 6, 4)
    for passes in order.reshape(2, 4, 6):
        assert all(sorted(one.tolist()) == list(range(6)) for one in passes)
    assert not torch.equal(order[0], order[1])
    alone = LabelledSet(torch.zeros(1, 6, 1), torch.zeros(1, 6), torch.tensor([8]))
    assert torch.equal(mini_batches(alone, 6, 4)[0], order[1])


@pytest.mark.parametrize("size", [None, 6, 9])
def test_a_batch_as_large_as_the_set_is_the_set(size: int | None) -> None:
    labelled = LabelledSet(torch.zeros(1, 6, 1), torch.zeros(1, 6), torch.zeros(1))
    assert mini_batches(labelled, 2, size).tolist() == [[list(range(6))] * 2]


def test_gathered_moments_are_those_of_one_adam_that_goes_from_task_to_task() -> None:
    """A task a step, at outer rate 1: the authors' loop, as torch's own Adam runs it."""
    learner = tiny(inner_moments="gathered", inner_batch=None, train_on="support").train()
    net = copy.deepcopy(learner.network)
    theirs = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.0, 0.999))
    outer = torch.optim.SGD(learner.parameters(), lr=1.0)
    whole = episode()
    for t in (0, 1, 0):
        images, labels = task(whole.support, t)
        for _ in range(5):
            theirs.zero_grad()
            F.cross_entropy(net(images), labels).backward()  # type: ignore[no-untyped-call]
            theirs.step()
        one = LabelledSet(images[None], labels[None], whole.support.task_ids[t : t + 1])
        outer.zero_grad()
        learner.loss(Episode(one, one, TARGET)).sum().backward()  # type: ignore[no-untyped-call]
        outer.step()
        for name, weight in net.named_parameters():
            ours = dict(learner.network.named_parameters())[name]
            torch.testing.assert_close(ours, weight, rtol=1e-6, atol=1e-9)
    assert learner.moments is not None
    assert float(learner.moments.taken) == 15
    squares = {n: theirs.state[w]["exp_avg_sq"] for n, w in net.named_parameters()}
    for name, own in learner.moments.of_weight.items():
        torch.testing.assert_close(learner.moments.get_buffer(own), squares[name])


def test_a_batch_of_tasks_gathers_their_mean_and_an_answer_moves_nothing() -> None:
    together, tasks = tiny(inner_moments="gathered"), episode()
    alone = [copy.deepcopy(together) for _ in range(tasks.support.n_tasks)]
    together.train().loss(tasks)
    for t, learner in enumerate(alone):
        support, query = (
            LabelledSet(*(part[None] for part in task(side, t)), side.task_ids[t : t + 1])
            for side in (tasks.support, tasks.query)
        )
        learner.train().loss(Episode(support, query, TARGET))
    gathered = [dict(learner.named_buffers()) for learner in (together, *alone)]
    for name, found in gathered[0].items():
        wanted = torch.stack([one[name] for one in gathered[1:]]).mean(0)
        torch.testing.assert_close(found, wanted)
    before = copy.deepcopy(together.state_dict())
    assert any(name.startswith("moments.") for name in before)
    with torch.no_grad():
        together.eval().adapt(tasks.support, TARGET)(tasks.query.inputs)
        together.loss(tasks)
    assert all(torch.equal(before[n], x) for n, x in together.state_dict().items())


def test_plain_descent_has_no_moments_to_gather() -> None:
    options = {"inner_moments": "gathered", "inner_optimiser": "sgd"}
    message = "^learner reptile: inner_moments: gathered needs inner_optimiser=adam; .* none[.]$"
    with pytest.raises(SettingsError, match=message):
        build_learner("reptile", options, InputSpec(3, (16, 16)), TARGET)


def by_batches(**options: Any) -> tuple[Reptile, Episode]:
    """One on tiny images that normalises by the batch at hand, and tasks for it."""
    torch.manual_seed(0)
    encoder = {"norm": "batch", "options": {"width": 4}}
    options = {"encoder": encoder, "max_way": 3, "inner_batch": None, **options}
    learner = build_learner("reptile", options, InputSpec(1, (16, 16)), TARGET)
    random = torch.Generator().manual_seed(1)

    def labelled(n: int) -> LabelledSet:
        images = torch.randn(2, n, 1, 16, 16, generator=random)
        return LabelledSet(images, torch.arange(n).remainder(3).expand(2, n), torch.arange(2))

    assert isinstance(learner, Reptile)
    return learner.eval(), Episode(labelled(6), labelled(4), TARGET)


@pytest.mark.parametrize("statistics", ["support_and_queries", "support", "queries"])
def test_queries_are_normalised_with_the_images_that_the_option_names(statistics: str) -> None:
    """A normalisation by hand would be long; torch's own, of the batch that is meant, is not."""
    learner, tasks = by_batches(query_statistics=statistics)
    queries = tasks.query.inputs
    assert isinstance(tasks.support.inputs, Tensor)
    assert isinstance(queries, Tensor)
    with torch.no_grad():
        found = learner.adapt(tasks.support, TARGET)(queries)
        ends = learner.adapted(tasks.support, TARGET)
    for t, shown in enumerate(tasks.support.inputs):
        weights = {name: weight[t] for name, weight in ends.items()}
        batches = {
            "support_and_queries": [torch.cat([shown, queries[t]])],
            "support": [torch.cat([shown, one[None]]) for one in queries[t]],
            "queries": [queries[t]],
        }[statistics]
        last = -1 if statistics == "support" else -4
        with torch.no_grad():
            wanted = [functional_call(learner.network, weights, (b,))[last:] for b in batches]
        torch.testing.assert_close(found[t], torch.cat(wanted)[:, :3])


def test_with_the_support_alone_no_query_helps_another() -> None:
    for statistics in ("support_and_queries", "support"):
        learner, tasks = by_batches(query_statistics=statistics)
        assert isinstance(tasks.query.inputs, Tensor)
        alone = statistics == "support"
        assert learner.traits.transductive == (not alone)
        with torch.no_grad():
            predictor = learner.adapt(tasks.support, TARGET)
            gap = predictor(tasks.query.inputs)[:, :1] - predictor(tasks.query.inputs[:, :1])
            assert predictor(tasks.query.inputs[:, :0]).shape == (2, 0, 3)
        assert (float(gap.abs().max()) < 1e-5) == alone


def test_traits_and_defaults() -> None:
    assert tiny(inner_batch=None).traits.order_free
    assert not tiny(inner_batch=4).traits.order_free
    assert tiny().traits.maps_tasks
    assert not tiny().traits.label_equivariant
    defaults = learner_spec("reptile").config.training_defaults
    assert (defaults.optimiser, defaults.learning_rate) == ("sgd", 1.0)


def test_running_statistics_are_refused() -> None:
    with pytest.raises(SettingsError, match="reptile takes no encoder with running statistics"):
        build_learner("reptile", {"encoder": {"norm": "running"}}, InputSpec(3, (16, 16)), TARGET)
