"""Checks of what is learned across tasks: the loss, the weights, and that it learns at all."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from medmeta.checks.case import N_QUERY, N_TASKS, Case, expect_close
from medmeta.checks.held_state import unregistered_tensors
from medmeta.errors import ContractError
from medmeta.learner import AbstractLearner
from medmeta.training.checkpoint import tensors_from_bytes, tensors_to_bytes

LESSONS, LESSONS_PER_EXAM, EXAM_TASKS = 120, 10, 48


def works_without_gradients(case: Case) -> None:
    """Adapting under ``no_grad`` and ``inference_mode`` gives the same answers."""
    with_gradients = case.logits(case.episode, gradients=True)
    expect_close(with_gradients, case.logits(case.episode), "no_grad changes the logits")
    with torch.inference_mode():
        episode = case.episode
        predictor = case.learner.adapt(episode.support, episode.target)
        inferred = predictor(episode.query.inputs)
    expect_close(with_gradients, inferred.clone(), "inference_mode changes the logits")


def loss_is_per_task(case: Case) -> None:
    """``loss`` is ``(T,)``, finite, of each task alone, and trains exactly if ``trainable``."""
    learner, episode = case.learner, case.episode
    with torch.enable_grad():
        loss = learner.loss(episode)
        if tuple(loss.shape) != (N_TASKS,) or not bool(torch.isfinite(loss).all()):
            raise ContractError(
                f"loss is {tuple(loss.shape)}, not one finite number per task (T,)."
            )
        alone = [learner.loss(episode.tasks(t, t + 1)).detach() for t in range(N_TASKS)]
        expect_close(loss.detach(), torch.cat(alone), "a task's loss depends on the other tasks")
        reached = _gradient_arrives(learner, loss)
    if reached != learner.traits.trainable:
        found = "reaches a" if reached else "reaches no"
        raise ContractError(
            f"traits.trainable is {learner.traits.trainable}, but the gradient of the loss "
            f"{found} parameter."
        )


def _gradient_arrives(learner: AbstractLearner, loss: Tensor) -> bool:
    parameters = [p for p in learner.parameters() if p.requires_grad]
    if not loss.requires_grad or not parameters:
        return False
    found = torch.autograd.grad(loss.mean(), parameters, allow_unused=True, materialize_grads=True)
    if not all(bool(torch.isfinite(g).all()) for g in found):
        raise ContractError("the gradient of the loss is not finite.")
    return any(bool((g != 0).any()) for g in found)


def survives_a_round_trip(case: Case) -> None:
    """Weights saved and loaded into a disturbed copy give the same logits."""
    saved = tensors_to_bytes(case.learner.state_dict())
    other = copy.deepcopy(case.learner)
    unregistered = unregistered_tensors(other)
    with torch.no_grad():
        for tensor in (*other.state_dict().values(), *unregistered.values()):
            if tensor.is_floating_point():
                tensor.add_(1.0)
    other.load_state_dict(tensors_from_bytes(saved, where=Path("check")))
    named = f"; self.{', self.'.join(unregistered)} is no parameter or buffer"
    expect_close(
        case.logits(case.episode),
        case.logits(case.episode, other),
        "after saving and loading the logits differ: something that matters is not in state_dict"
        + (named if unregistered else ""),
    )


def beats_chance(case: Case) -> None:
    """On easy tasks it does better than an answer that ignores the support.

    A learner that is trainable may first be trained a little, on other easy tasks.
    """
    complaint = _chance_complaint(case, case.learner)
    if complaint and case.learner.traits.trainable:
        complaint = _complaint_after_lessons(case, copy.deepcopy(case.learner))
    if complaint:
        raise ContractError(complaint)


def _complaint_after_lessons(case: Case, pupil: AbstractLearner) -> str:
    complaint = ""
    optimiser = torch.optim.Adam(pupil.parameters(), lr=1e-2)
    for lesson in range(LESSONS):
        optimiser.zero_grad()
        with torch.enable_grad():
            episode = case.maker.episode(8, n_shot=3, n_query=4, seed=100 + lesson, noise=0.3)
            pupil.train().loss(episode).mean().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
        optimiser.step()
        if (lesson + 1) % LESSONS_PER_EXAM == 0:
            complaint = _chance_complaint(case, pupil.eval())
            if not complaint:
                break
    return complaint


def _chance_complaint(case: Case, learner: AbstractLearner) -> str:
    """What is wrong with its answers to easy tasks; empty when nothing is."""
    episode = case.maker.episode(EXAM_TASKS, n_shot=5, n_query=N_QUERY, seed=4, noise=0.3)
    answers, labels = case.logits(episode, learner), episode.query.labels
    if case.target.kind == "values":
        error = float((answers - labels).square().mean())
        guess = episode.support.labels.mean(1, keepdim=True)
        ignorant = float((guess - labels).square().mean())
        words = f"squared error {error:.3f} on easy tasks; the support's mean has {ignorant:.3f}."
        return "" if error < 0.9 * ignorant else words
    accuracy = float((answers.argmax(2) == labels).float().mean())
    chance = 1 / case.target.size
    margin = 4 * (chance * (1 - chance) / labels.numel()) ** 0.5
    words = f"accuracy {accuracy:.2f} on easy tasks, where chance is {chance:.2f}."
    return "" if accuracy > chance + margin else words
