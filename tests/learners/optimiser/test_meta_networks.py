"""Fast weights against autograd and a plain loop over tasks, queries and support images."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.errors import UnsupportedTaskError
from medmeta.learners import build_head, build_learner
from medmeta.learners.gradient.reptile import mini_batches
from medmeta.learners.optimiser._signals import log_and_sign
from medmeta.learners.optimiser.meta_networks import (
    FromGradients,
    FromOneGradient,
    MetaNetworksConfig,
    MetaNetworksHead,
    backpropagated,
    cosines,
    example_gradients,
    through_mean,
)
from tests.learners.normal_numbers import normal

THREE = Target("classes", 3)


def small_head(*, max_way: int = 3, samples: int = 2) -> MetaNetworksHead:
    torch.manual_seed(0)
    config = MetaNetworksConfig(hidden=5, meta_hidden=4, samples=samples)
    return MetaNetworksHead(config, 4, max_way).double()


def episode(n_tasks: int = 2) -> Episode:
    labels = torch.tensor([[0, 1, 2, 2, 1, 0]]).expand(n_tasks, 6)
    support = LabelledSet(normal(n_tasks, 6, 4), labels, torch.arange(n_tasks))
    query = LabelledSet(normal(n_tasks, 3, 4, seed=1), labels[:, :3], torch.arange(n_tasks))
    return Episode(support, query, THREE)


def slopes_by_autograd(
    image: Tensor, label: Tensor, hidden: Tensor, output: Tensor
) -> tuple[Tensor, ...]:
    weights = [hidden.detach().requires_grad_(), output.detach().requires_grad_()]
    logits = weights[1] @ (weights[0] @ image).relu()
    return torch.autograd.grad(F.cross_entropy(logits, label), weights)


def test_gradients_are_those_of_autograd_for_each_image() -> None:
    images, labels = normal(2, 6, 4), torch.tensor([[0, 1, 2, 2, 1, 0]] * 2)
    hidden, output = normal(5, 4, seed=2), normal(3, 5, seed=3)
    found = example_gradients(images, labels, hidden, output)
    for t in range(2):
        for s in range(6):
            wanted = slopes_by_autograd(images[t, s], labels[t, s], hidden, output)
            for mine, other in zip(found, wanted, strict=True):
                torch.testing.assert_close(mine[t, s], other)


def test_size_and_sign_by_hand() -> None:
    """Below e^-7 a number counts in proportion; above, by its logarithm."""
    found = log_and_sign(torch.tensor([math.e, -math.exp(-6.0), math.exp(-8.0), 0.0]), 7.0)
    wanted = [[1 / 7, 1.0], [-6 / 7, -1.0], [-1.0, math.exp(-1.0)], [-1.0, 0.0]]
    assert found.flatten().tolist() == pytest.approx([x for row in wanted for x in row], rel=1e-5)


def test_one_perceptron_serves_all_coordinates() -> None:
    torch.manual_seed(0)
    network, gradients = FromOneGradient(4).double(), normal(2, 3, 5)
    found = network(gradients)
    assert found.shape == gradients.shape
    torch.testing.assert_close(found[1, 2, 3], network(gradients[1, 2, 3]))
    assert sum(p.numel() for p in network.parameters()) == (2 * 4 + 4) + (4 * 4 + 4) + (4 + 1)


def test_the_lstm_reads_a_coordinate_s_gradients_in_turn() -> None:
    torch.manual_seed(0)
    network, gradients = FromGradients(4).double(), normal(2, 3, 5, 6)
    found = network(gradients)
    assert found.shape == (2, 5, 6)
    signals = log_and_sign(gradients[1, :, 4, 2], 7.0)
    torch.testing.assert_close(found[1, 4, 2], network.output(network.reading(signals)[0][-1])[0])
    turned = network(gradients.flip(1))
    assert not torch.allclose(found, turned, atol=1e-4)


def test_through_the_mean_equals_the_mean_made_for_each_query() -> None:
    attention, weights = normal(2, 3, 6).softmax(-1), normal(2, 6, 5, 4, seed=1)
    inputs = normal(2, 3, 4, seed=2)
    of_queries = torch.einsum("tqs,tshd->tqhd", attention, weights)
    wanted = torch.einsum("tqhd,tqd->tqh", of_queries, inputs)
    torch.testing.assert_close(through_mean(attention, weights, inputs), wanted)


def test_likeness_of_keys_is_their_cosine() -> None:
    queries, keys = 100 * normal(2, 3, 4), 100 * normal(2, 6, 4, seed=1)
    wanted = torch.cosine_similarity(queries[:, :, None], keys[:, None], dim=-1)
    torch.testing.assert_close(cosines(queries, keys), wanted, rtol=0, atol=1e-8)
    assert cosines(queries, torch.zeros_like(keys)).abs().max() == 0


def plain_logits(head: MetaNetworksHead, support: LabelledSet, queries: Tensor) -> Tensor:
    """Algorithm 1 for each task, step by step, its gradients by autograd."""
    images, labels = support.inputs, support.labels
    assert isinstance(images, Tensor)
    slow_key, slow_hidden, slow_output = (
        layer.weight.detach() for layer in (head.key, head.hidden, head.output)
    )
    rows = []
    for t in range(len(labels)):
        gradients = []
        for sample in mini_batches(support, head.samples, 6 // head.samples)[t]:
            found = [
                slopes_by_autograd(images[t, s], labels[t, s], slow_key, head.key_output)[0]
                for s in sample
            ]
            gradients.append(torch.stack(found).mean(0))
        fast_key = head.of_key(torch.stack(gradients)[None])[0]
        keys, memory = [], []
        for image, label in zip(images[t], labels[t], strict=True):
            keys.append(slow_key @ image + fast_key @ image)
            found = slopes_by_autograd(image, label, slow_hidden, slow_output)
            memory.append([head.of_hidden(slope) for slope in found])
        for query in queries[t]:
            key = slow_key @ query + fast_key @ query
            likeness = torch.stack([torch.cosine_similarity(key, k, dim=0) for k in keys])
            attention = likeness.softmax(0)
            hidden, output = (
                sum(a * entry[i] for a, entry in zip(attention, memory, strict=True))
                for i in (0, 1)
            )
            active = (slow_hidden @ query).relu() + (hidden @ query).relu()
            rows.append(slow_output @ active + output @ active)
    return torch.stack(rows).reshape(*queries.shape[:2], -1)


@pytest.mark.parametrize("samples", [1, 2, 6])
def test_logits_equal_the_algorithm_step_by_step(samples: int) -> None:
    head, tasks = small_head(samples=samples), episode()
    assert isinstance(tasks.query.inputs, Tensor)
    found = head.adapt(tasks.support, THREE)(tasks.query.inputs)
    wanted = plain_logits(head, tasks.support, tasks.query.inputs)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_gradients_of_the_support_count_as_constants() -> None:
    """Slow weights learn through the query alone; all parameters do learn."""
    head, tasks = small_head(), episode()
    found = torch.autograd.grad(head.loss(tasks).sum(), list(head.parameters()))
    assert all(bool((slope != 0).any()) for slope in found)
    assert "key_output" not in dict(head.named_parameters())
    assert "key_output" in head.state_dict()
    of_logits, active, of_hidden = backpropagated(
        normal(1, 2, 4), torch.tensor([[0, 1]]), head.hidden.weight, head.output.weight
    )
    assert not any(part.requires_grad for part in (of_logits, active, of_hidden))


def test_images_count_as_constants_in_the_gradients_that_make_fast_weights() -> None:
    """An encoder learns through queries and keys: the fast weights have no slope to the images."""
    head, support = small_head(), episode().support
    shown = normal(2, 6, 4).requires_grad_()
    fast = head._fast_key(shown, support.with_inputs(shown), 3)
    fast = fast.square().sum()
    of_images, of_maker = torch.autograd.grad(
        fast, [shown, head.of_key.output.weight], allow_unused=True
    )
    assert of_images is None
    assert bool((of_maker != 0).any())


def test_the_samples_are_drawn_by_each_task_s_own_id() -> None:
    head, tasks = small_head(), episode(1)

    def logits(task_id: int) -> Tensor:
        support = replace(tasks.support, task_ids=torch.tensor([task_id]))
        return head.adapt(support, THREE)(tasks.query.inputs)

    assert torch.equal(logits(3), logits(3))
    assert any(not torch.equal(logits(3), logits(other)) for other in range(4, 8))


def test_fewer_classes_use_the_first_rows_and_more_are_refused() -> None:
    head, tasks = small_head(max_way=4), episode()
    first = small_head(max_way=4)
    with torch.no_grad():
        first.output.weight[3:] = 7.0
        first.key_output[3:] = 7.0
    answers = [h.adapt(tasks.support, THREE)(tasks.query.inputs) for h in (head, first)]
    assert answers[0].shape == (2, 3, 3)
    torch.testing.assert_close(*answers)
    with pytest.raises(UnsupportedTaskError, match="built for at most 4 classes"):
        head.adapt(tasks.support, Target("classes", 5))
    with pytest.raises(UnsupportedTaskError, match="takes classes, not values"):
        build_learner("meta_networks", None, InputSpec(1, (16, 16)), Target("values", 1))


def test_half_precision_around_it_does_not_reach_the_fast_weights() -> None:
    head = build_head("meta_networks", {"hidden": 8}, InputSpec(4, ()), THREE)
    images, queries = normal(1, 6, 4).float(), normal(1, 3, 4, seed=1).float()
    support = episode(1).support.with_inputs(images)
    plain = head.adapt(support, THREE)(queries)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head.adapt(support, THREE)(queries), plain)
