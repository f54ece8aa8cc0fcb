"""LEO against the plain slow way, its gradient against differences, its chance task by task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.learner import AbstractLearner
from medmeta.learners import build_head, build_learner
from medmeta.learners.gradient.leo import LEOConfig, LEOHead, TaskChance, column_likeness
from tests.learners.gradient.tiny_tasks import (
    TARGET,
    assert_slopes_are_differences,
    episode,
    gradients_of,
    task,
)

SMALL = {"latent_size": 2, "latent_steps": 2, "tuning_steps": 2, "tuning_rate": 0.1}
FREE = {"kl_weight": 0.0, "encoder_penalty": 0.0, "orthogonality_penalty": 0.0, "l2_penalty": 0.0}


def head(**options: Any) -> LEOHead:
    """A small head of embeddings of 4 numbers, in evaluation mode and double precision."""
    torch.manual_seed(0)
    return LEOHead(LEOConfig(**{**SMALL, **options}), 4).double().eval()


def plain_latents(leo: LEOHead, images: Tensor, labels: Tensor) -> Tensor:
    """Means and raw spreads of each class, pair by pair."""
    codes = images @ leo.encoder.weight.T
    rows = []
    for k in range(3):
        seen = []
        for i in torch.nonzero(labels == k).flatten():
            for j in range(len(images)):
                hidden = F.relu(leo.pairs.weight @ torch.cat([codes[i], codes[j]]))
                seen.append(leo.summary.weight @ F.relu(leo.related.weight @ hidden))
        rows.append(torch.stack(seen).mean(0) if seen else codes.new_zeros(4))
    return torch.stack(rows)


def plain_weights(leo: LEOHead, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of one task in evaluation mode, its first latents and its adapted ones."""

    def loss(weights: Tensor) -> Tensor:
        return 3 * F.cross_entropy(images @ weights.T, labels)

    def decoded(latents: Tensor) -> Tensor:
        return (latents @ leo.decoder.weight.T)[:, :4]

    first = latents = plain_latents(leo, images, labels)[:, :2]
    for _ in range(2):
        (slope,) = torch.autograd.grad(loss(decoded(latents)), latents, create_graph=True)
        latents = latents - leo.latent_rates * slope
    weights = decoded(latents)
    for _ in range(2):
        (slope,) = torch.autograd.grad(loss(weights), weights, create_graph=True)
        weights = weights - leo.tuning_rates * slope
    return weights, first, latents


def test_answers_and_gradients_are_those_of_the_plain_slow_way() -> None:
    leo, tasks = head(**FREE), episode()
    answers = leo.adapt(tasks.support, TARGET)(tasks.query.inputs)
    losses = []
    for t in range(2):
        (images, labels), (queries, truth) = task(tasks.support, t), task(tasks.query, t)
        weights, *_ = plain_weights(leo, F.normalize(images, dim=1), labels)
        wanted = F.normalize(queries, dim=1) @ weights.T
        torch.testing.assert_close(answers[t], wanted)
        losses.append(F.cross_entropy(wanted, truth))
    found = gradients_of(leo, leo.loss(tasks))
    torch.testing.assert_close(found, gradients_of(leo, torch.stack(losses)))
    assert all(bool(g.any()) for g in found.values())


def test_the_loss_adds_divergence_and_penalties() -> None:
    leo, tasks = head(kl_weight=0.7, encoder_penalty=0.5, l2_penalty=0.3), episode(1)
    bare = head(**FREE)
    (images, labels) = task(tasks.support, 0)
    images = F.normalize(images, dim=1)
    _, first, adapted = plain_weights(leo, images, labels)
    mean, raw = plain_latents(leo, images, labels).chunk(2, 1)
    spread = (raw.exp() - 1).clamp(min=1e-3)
    normal = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, spread), normal
    ).mean()
    matrices = [p for p in leo.parameters() if p.ndim == 2]
    assert len(matrices) == 5
    squares = sum((p.square().sum() for p in matrices), torch.zeros(())) / 2
    wanted = (
        bare.loss(tasks)[0]
        + 0.7 * divergence
        + 0.5 * (adapted - first).square().mean()
        + 0.3 * squares
        + 1e-3 * column_likeness(leo.decoder.weight)
    )
    torch.testing.assert_close(leo.loss(tasks)[0], wanted)


@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_those_of_finite_differences(training: bool) -> None:
    """Without the penalty whose gradient is stopped; chance is the same at each call."""
    leo = head(encoder_penalty=0.0, kl_weight=0.1).train(training)
    assert_slopes_are_differences(leo, episode(1))


def test_the_encoder_penalty_moves_the_first_latents_alone() -> None:
    """The adapted latents are held constant, so the rates that led to them learn nothing of it."""
    tasks = episode()
    without = gradients_of(leo := head(encoder_penalty=0.0), leo.loss(tasks))
    with_it = gradients_of(leo := head(encoder_penalty=100.0), leo.loss(tasks))
    torch.testing.assert_close(without["latent_rates"], with_it["latent_rates"])
    torch.testing.assert_close(without["decoder.weight"], with_it["decoder.weight"])
    assert float((without["encoder.weight"] - with_it["encoder.weight"]).abs().max()) > 1e-3


def test_a_task_in_training_draws_by_its_own_id() -> None:
    leo, tasks = head(dropout=0.5).train(), episode(3)
    before = torch.get_rng_state()
    together = leo.loss(tasks).detach()
    alone = torch.cat([leo.loss(tasks.tasks(t, t + 1)).detach() for t in range(3)])
    torch.testing.assert_close(together, alone)
    renamed = replace(tasks, support=replace(tasks.support, task_ids=torch.tensor([7, 8, 9])))
    assert float((leo.loss(renamed).detach() - together).abs().min()) > 1e-4
    assert torch.equal(before, torch.get_rng_state())


def test_every_look_at_the_images_drops_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder's, that of each of 2 + 2 steps, and the query's."""
    shapes = []
    plainly = TaskChance.dropped

    def noted(self: TaskChance, numbers: Tensor, share: float) -> Tensor:
        shapes.append((numbers.shape[1], share))
        return plainly(self, numbers, share)

    monkeypatch.setattr(TaskChance, "dropped", noted)
    head(dropout=0.25).train().loss(episode())
    assert shapes == 5 * [(6, 0.25)] + [(5, 0.25)]


def test_latents_that_run_away_leave_numbers() -> None:
    """The authors' code leaves out steps whose loss is no number; spreads are bounded here."""
    leo, tasks = head(latent_rate=1e3).train(), episode(3)
    with torch.no_grad():
        leo.summary.weight *= 1e3
        leo.decoder.weight *= 1e3
    loss = leo.loss(tasks)
    assert bool(loss.isfinite().all())
    assert all(bool(g.isfinite().all()) for g in gradients_of(leo, loss).values())


def test_evaluation_takes_the_means() -> None:
    leo, tasks = head(), episode()
    renamed = replace(tasks.support, task_ids=torch.tensor([7, 8]))
    one, other = (leo.adapt(s, TARGET)(tasks.query.inputs) for s in (tasks.support, renamed))
    assert torch.equal(one, other)


def test_dropout_keeps_the_expectation() -> None:
    kept = TaskChance(torch.tensor([0])).dropped(torch.ones(1, 10_000), 0.25)
    assert sorted(set(kept[0].tolist())) == pytest.approx([0, 4 / 3])
    assert float(kept.mean()) == pytest.approx(1, abs=0.02)


def test_one_head_takes_any_number_of_classes_and_uneven_shots() -> None:
    leo = head()
    for n_way, labels in ((2, [0, 1, 1]), (7, [0, 1, 2, 3, 4, 5, 6, 6, 6])):
        images = torch.randn(1, len(labels), 4, dtype=torch.float64)
        support = LabelledSet(images, torch.tensor([labels]), torch.zeros(1))
        assert leo.adapt(support, Target("classes", n_way))(images).shape == (1, len(labels), n_way)


def test_the_length_of_embeddings_counts_nothing() -> None:
    leo, tasks = head(), episode()
    assert isinstance(tasks.support.inputs, Tensor)
    longer = tasks.support.with_inputs(7 * tasks.support.inputs)
    one, other = (leo.adapt(s, TARGET)(tasks.query.inputs) for s in (tasks.support, longer))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", ["alone", "with an encoder"])
def test_it_is_a_head_and_teaches_the_encoder_before_it(kind: str) -> None:
    vector = InputSpec(4, ())
    if kind == "alone":
        assert isinstance(build_head("leo", None, vector, TARGET), LEOHead)
        return
    encoder = nn.Linear(4, 6)
    learner: AbstractLearner = build_learner("leo", SMALL, vector, TARGET, encoder=encoder)
    found = gradients_of(learner, learner.double().loss(episode()))
    assert learner.traits.has_head
    assert bool(found["encoder.module.weight"].any())


def test_steps_lower_the_support_s_loss() -> None:
    tasks = episode(4)
    again = Episode(tasks.support, tasks.support, TARGET)
    still = head(**FREE, latent_steps=0, tuning_steps=0).loss(again)
    latent = head(**FREE, latent_steps=5, tuning_steps=0).loss(again)
    both = head(**FREE, latent_steps=5, tuning_steps=5).loss(again)
    assert bool((latent < still).all())
    assert bool((both < latent).all())
