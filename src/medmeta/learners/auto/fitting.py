"""A choice carried out: its members fitted to a whole support, and their answers averaged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from medmeta.episode import Target
from medmeta.learners._mixture import mixture
from medmeta.learners.auto.candidates import Candidate, Preparation, members_of, part_weights
from medmeta.learners.auto.choosing import Choice
from medmeta.learners.auto.comparing import wanted_of
from medmeta.learners.auto.preparing import Scale, gaussian
from medmeta.learners.auto.solving import SCALES, solve, solve_values
from medmeta.learners.heads._class_blocks import solving_precision
from medmeta.learners.heads.ridge import ridge_weights, with_constant

MANY = 2000
"""Images above which only ridge is solved, by the numbers of an embedding and not by the images."""
Answer = Callable[[Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Prepared:
    """One task's images as a candidate sees them: ``(S, D)``, and how others become such."""

    scales: dict[str, Scale]
    weights: tuple[float, ...]
    known: Tensor

    @classmethod
    def of(
        cls,
        embeddings: Mapping[str, Tensor],
        candidate: Candidate,
        variances: Mapping[str, Tensor],
    ) -> Prepared:
        """Prepare a candidate's parts ``(S, D)`` by all images."""
        scales = {
            name: _scale(embeddings[name], candidate.preparation, variances.get(name))
            for name in candidate.parts
        }
        weights = part_weights(candidate.parts, candidate.preparation)
        return cls(scales, weights, _joined(scales, weights, embeddings))

    def queries(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Others ``(Q, D)``, prepared likewise."""
        return _joined(self.scales, self.weights, embeddings)


def _scale(numbers: Tensor, preparation: Preparation, variances: Tensor | None) -> Scale:
    mask = numbers.new_ones(1, 1, len(numbers))
    return Scale.of(numbers[None], mask, preparation, variances)


def _joined(
    scales: Mapping[str, Scale], weights: tuple[float, ...], embeddings: Mapping[str, Tensor]
) -> Tensor:
    """Parts side by side, each of its say: of all together the mean squared length is 1."""
    parts = [
        scale.apply(embeddings[name][None])[0, 0] * math.sqrt(weight)
        for (name, scale), weight in zip(scales.items(), weights, strict=True)
    ]
    return torch.cat(parts, dim=-1) / math.sqrt(sum(weights))


def fit(
    choice: Choice,
    embeddings: Mapping[str, Tensor],
    labels: Tensor,
    target: Target,
    variances: Mapping[str, Tensor],
) -> Answer:
    """A predictor of one task, of parts ``(S, D)`` and labels ``(S,)`` or ``(S, size)``.

    It takes parts ``(Q, D)`` and gives logits or values ``(Q, size)``.
    """
    answers = []
    for name, temperature in zip(choice.members, choice.temperatures, strict=True):
        members = members_of(Candidate.read(name))
        fitted = [_fitted(one, embeddings, labels, target, variances) for one in members]
        answers.append((fitted, temperature))

    def answer(queries: Mapping[str, Tensor]) -> Tensor:
        found = [
            mixture([member(queries) for member in fitted]) * temperature
            for fitted, temperature in answers
        ]
        return torch.stack(found).mean(0) if target.kind == "values" else mixture(found)

    return answer


def _fitted(
    candidate: Candidate,
    embeddings: Mapping[str, Tensor],
    labels: Tensor,
    target: Target,
    variances: Mapping[str, Tensor],
) -> Answer:
    prepared = Prepared.of(embeddings, candidate, variances)
    member = _member(candidate, prepared, labels, target)
    return lambda queries: member(prepared.queries(queries))


def _member(
    candidate: Candidate, prepared: Prepared, labels: Tensor, target: Target
) -> Callable[[Tensor], Tensor]:
    """One candidate, fitted: prepared queries ``(Q, D)`` to logits or values, in full precision."""
    wanted = wanted_of(labels[None], target)[0]
    if candidate.head == "ridge" and len(labels) > MANY:
        return _many(candidate, prepared.known, wanted, target)
    known = prepared.known
    kernel, own = solving_precision(known @ known.mT), solving_precision(known.square().sum(-1))
    gaussed = candidate.head == "kernel"
    kernel = gaussian(kernel, own, own) if gaussed else kernel
    mask = torch.ones_like(own)
    if target.kind == "values":
        coefficients, constants = solve_values(candidate.penalty, kernel, wanted, mask)
    else:
        coefficients, constants = solve(candidate.head, candidate.penalty, kernel, wanted, mask)

    def answer(queries: Tensor) -> Tensor:
        products = solving_precision(queries @ known.mT)
        if gaussed:
            products = gaussian(products, solving_precision(queries.square().sum(-1)), own)
        return (products @ coefficients + constants).to(queries.dtype)

    return answer


def _many(
    candidate: Candidate, known: Tensor, wanted: Tensor, target: Target
) -> Callable[[Tensor], Tensor]:
    """Ridge by the numbers of an embedding, fewer than the images; classes count alike."""
    roots, scale = torch.ones_like(wanted[:, 0]), 1.0
    if target.kind == "classes":
        roots = (wanted / wanted.sum(0).clamp(min=1)).sum(-1).mul(len(wanted) / target.size).sqrt()
        wanted, scale = wanted - 1 / target.size, SCALES["ridge"]
    design = solving_precision(with_constant(known[None])) * roots[None, :, None]
    strength = design.new_tensor([candidate.penalty])
    weights = ridge_weights(design, (roots[:, None] * wanted)[None], strength)[0] * scale

    def answer(queries: Tensor) -> Tensor:
        return (solving_precision(with_constant(queries[None])[0]) @ weights).to(queries.dtype)

    return answer
