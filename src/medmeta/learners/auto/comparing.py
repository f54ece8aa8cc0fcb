"""Candidates compared by answers to images held out, of many tasks and folds at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.episode import LabelledSet, Target
from medmeta.learners._folds import folds_of
from medmeta.learners._mixture import mixture
from medmeta.learners.auto.candidates import Candidate, Preparation, members_of
from medmeta.learners.auto.preparing import gaussian, joined_kernel, part_kernels
from medmeta.learners.auto.solving import solve, solve_values
from medmeta.learners.classical._estimators import task_seed
from medmeta.learners.heads._class_blocks import solving_precision

MOST_FOLDS = 5
REPEATS = ((30, 3), (60, 2))  # up to so many images, so many repeats; else one
TEMPERATURES = tuple(2.0 ** (step / 2) for step in range(-6, 7))
Embeddings = Mapping[str, Tensor]


@dataclass(frozen=True)
class Rounds:
    """Which images ``(T, F, S)`` are learned from and which are asked about in each fold, as 0, 1.

    ``folds`` and ``repeats`` are those of the first task.
    """

    learn: Tensor
    ask: Tensor
    folds: int
    repeats: int


@dataclass(frozen=True)
class Compared:
    """What was found of ``C`` candidates on ``T`` tasks, by images held out.

    ``loss`` ``(T, C)``: log loss, or squared error of values; ``accuracy`` ``(T, C)``, balanced;
    both count classes alike. ``temperature`` ``(T, C)`` multiplies logits. ``likely`` ``(T, C, F,
    S, K)`` are the logarithms of probabilities, or the values.
    """

    loss: Tensor
    accuracy: Tensor
    temperature: Tensor
    likely: Tensor


def draw_rounds(support: LabelledSet, target: Target) -> Rounds | None:
    """Folds of each task, stratified, by groups, repeated; None where a task has none."""
    n = support.n_examples
    repeats = next((count for most, count in REPEATS if n <= most), 1)
    drawn = [_folds_of_task(support, t, target, repeats) for t in range(support.n_tasks)]
    if any(not folds for folds in drawn):
        return None
    most = max(sum(int(f.max()) + 1 for f in folds) for folds in drawn)
    ask = np.zeros((support.n_tasks, most, n))
    for task, folds in enumerate(drawn):
        held = [f == number for f in folds for number in range(int(f.max()) + 1)]
        ask[task, : len(held)] = np.stack(held)
    asked = torch.from_numpy(ask).to(support.labels.device)
    return Rounds(1 - asked, asked, int(drawn[0][0].max()) + 1, len(drawn[0]))


def _folds_of_task(
    support: LabelledSet, task: int, target: Target, repeats: int
) -> list[np.ndarray]:
    chance = np.random.default_rng(task_seed(support.task_ids[task]))
    labels = support.labels[task].cpu().numpy() if target.kind == "classes" else None
    groups = None if support.groups is None else support.groups[task].cpu().numpy()
    found = (
        folds_of(labels, groups, support.n_examples, MOST_FOLDS, chance) for _ in range(repeats)
    )
    return [folds for folds in found if folds is not None]


def compare(
    embeddings: Embeddings,
    support: LabelledSet,
    target: Target,
    rounds: Rounds,
    candidates: Sequence[Candidate],
    variances: Embeddings,
    *,
    until: float | None = None,
) -> Compared:
    """Each candidate's answers to images held out, of parts ``(T, S, D)``.

    Where the clock (``time.perf_counter``) passes ``until``, what is left is not tried; the first
    always is.
    """
    learn = rounds.learn.to(next(iter(embeddings.values())))
    kernels: dict[Preparation, dict[str, Tensor]] = {}
    found: list[tuple[Tensor, ...]] = []
    for candidate in candidates:
        if found and until is not None and time.perf_counter() > until:
            break
        preparation: Preparation = "plain" if candidate.preparation == "plain" else "standardised"
        if preparation not in kernels:
            kernels[preparation] = part_kernels(embeddings, learn, preparation, variances)
        outputs = [
            _outputs(
                member, kernel_of(member, kernels[preparation]), support.labels, target, rounds
            )
            for member in members_of(candidate)
        ]
        found.append(scored(mixture(outputs), support.labels, target, rounds))
    parts = zip(*found, strict=True)
    return Compared(*(torch.stack(part, dim=1) for part in parts))


def kernel_of(candidate: Candidate, kernels: Mapping[str, Tensor]) -> Tensor:
    """A candidate's kernel between the images that were learned from."""
    kernel = joined_kernel(kernels, candidate.parts, candidate.preparation)
    if candidate.head != "kernel":
        return kernel
    own = kernel.diagonal(dim1=-2, dim2=-1)
    return gaussian(kernel, own, own)


def _outputs(
    candidate: Candidate, kernel: Tensor, labels: Tensor, target: Target, rounds: Rounds
) -> Tensor:
    """``(T, F, S, K)`` of all images, learned from those of each fold."""
    wanted = wanted_of(labels, target)[:, None].expand(-1, kernel.shape[1], -1, -1).to(kernel)
    mask = rounds.learn.to(kernel)
    if target.kind == "values":
        coefficients, constants = solve_values(candidate.penalty, kernel, wanted, mask)
    else:
        coefficients, constants = solve(candidate.head, candidate.penalty, kernel, wanted, mask)
    return kernel @ coefficients + constants[..., None, :]


def wanted_of(labels: Tensor, target: Target) -> Tensor:
    """One-hot classes, or values: ``(T, S, size)``."""
    wanted = F.one_hot(labels, target.size) if target.kind == "classes" else labels
    return solving_precision(wanted)


def scored(outputs: Tensor, labels: Tensor, target: Target, rounds: Rounds) -> tuple[Tensor, ...]:
    """Loss, accuracy and temperature ``(T,)``, and what each fold says ``(T, F, S, K)``.

    The temperature is that of the least log loss over all images held out, but for a belief that
    it is 1: a normal one of the logarithm, with a deviation of 1.
    """
    asked = rounds.ask.to(outputs)
    if target.kind == "values":
        errors = (outputs - labels[:, None].to(outputs)).square().mean(-1)
        loss = (errors * asked).sum((1, 2)) / asked.sum((1, 2))
        return loss, torch.full_like(loss, torch.nan), torch.ones_like(loss), outputs
    weights = asked * image_weights(labels, target.size)[:, None].to(outputs)
    weights = weights / weights.sum((1, 2), keepdim=True)
    truth = labels[:, None, :, None].expand(*outputs.shape[:3], 1)
    n_images = labels.shape[1]
    losses, tried = [], outputs.new_tensor(TEMPERATURES)
    for temperature in TEMPERATURES:
        right = (outputs * temperature).log_softmax(-1).gather(-1, truth)[..., 0]
        losses.append(-(right * weights).sum((1, 2)))
    every = torch.stack(losses)
    best = (every * n_images + 0.5 * tried.log().square()[:, None]).argmin(0)
    loss = every.gather(0, best[None])[0]
    likely = (outputs * tried[best][:, None, None, None]).log_softmax(-1)
    return loss, _accuracy(likely, labels, weights), tried[best], likely


def average_of(
    compared: Compared, members: Tensor, labels: Tensor, target: Target, rounds: Rounds
) -> tuple[Tensor, Tensor]:
    """Loss and accuracy ``(T,)`` of the mean of the answers of ``members`` ``(T, m)``."""
    places = members[:, :, None, None, None].expand(-1, -1, *compared.likely.shape[2:])
    chosen = compared.likely.gather(1, places)
    asked = rounds.ask.to(chosen)
    if target.kind == "values":
        errors = (chosen.mean(1) - labels[:, None].to(chosen)).square().mean(-1)
        loss = (errors * asked).sum((1, 2)) / asked.sum((1, 2))
        return loss, torch.full_like(loss, torch.nan)
    likely = chosen.logsumexp(1) - float(np.log(members.shape[1]))
    weights = asked * image_weights(labels, target.size)[:, None].to(chosen)
    weights = weights / weights.sum((1, 2), keepdim=True)
    truth = labels[:, None, :, None].expand(*likely.shape[:3], 1)
    loss = -(likely.gather(-1, truth)[..., 0] * weights).sum((1, 2))
    return loss, _accuracy(likely, labels, weights)


def _accuracy(likely: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    right = (likely.argmax(-1) == labels[:, None]).to(likely)
    return (right * weights).sum((1, 2))


def image_weights(labels: Tensor, n_way: int) -> Tensor:
    """Of each image ``(T, S)``, so that classes count alike and all add to 1."""
    members = F.one_hot(labels, n_way).double()
    counts = members.sum(1, keepdim=True).clamp(min=1)
    return (members / counts).sum(-1) / n_way
