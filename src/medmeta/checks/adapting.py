"""Checks of ``adapt`` and its predictor: values, each task and each query for itself."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from medmeta.check_tasks import TaskMaker
from medmeta.checks.case import (
    N_QUERY,
    N_SHOT,
    N_TASKS,
    Case,
    expect_answers,
    expect_close,
)
from medmeta.checks.held_state import changed_names, held_state
from medmeta.episode import Episode, LabelledSet, Target, map_inputs
from medmeta.errors import ContractError, MedmetaError
from medmeta.learner import check_task_fits


def adapt_changes_nothing(case: Case) -> None:
    """``adapt`` and prediction leave the learner, the images and the labels bit-identical."""
    episode = case.episode
    before = held_state(case.learner)
    copied = copy.deepcopy(episode)
    case.logits(episode, gradients=True)
    changed = changed_names(before, case.learner)
    if changed:
        raise ContractError(
            f"adapt or predict changed self.{', self.'.join(changed[:5])}; all that is learned "
            "within a task belongs in the predictor."
        )
    for part, kept in ((episode.support, copied.support), (episode.query, copied.query)):
        same_inputs = _same_inputs(part.inputs, kept.inputs)
        if not (same_inputs and _same_inputs(_labels(part), _labels(kept))):
            raise ContractError("adapt or predict changed the images or labels it was given.")


def _labels(labelled: LabelledSet) -> dict[str, Tensor]:
    return {"labels": labelled.labels, "task_ids": labelled.task_ids}


def _same_inputs(first: object, second: object) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    assert isinstance(first, Mapping)
    assert isinstance(second, Mapping)
    return all(torch.equal(first[name], second[name]) for name in first)


def answers_have_the_right_shape(case: Case) -> None:
    """Logits are ``(T, Q, size, *space)``, floating and finite."""
    episode = case.episode
    expect_answers(case.logits(episode, gradients=True), episode)


def predictors_are_values(case: Case) -> None:
    """Two predictors do not disturb each other; the same query twice gives the same logits.

    So does the same support twice, and torch's own random numbers are neither drawn nor reset.
    """
    one = case.episode
    two = case.maker.episode(N_TASKS, n_shot=N_SHOT, n_query=N_QUERY, seed=2)
    torch.rand(())  # so that also a reset to a seed that was used before is seen
    chance = torch.get_rng_state()
    with torch.no_grad():
        first = case.learner.adapt(one.support, one.target)
        answers = first(one.query.inputs).clone()
        second = case.learner.adapt(two.support, two.target)
        second(two.query.inputs)
        again = first(one.query.inputs)
    if not torch.equal(answers, again):
        raise ContractError(
            "the same query gave other logits after another adapt: state is shared, or chance is "
            "not seeded from task_ids."
        )
    if not torch.equal(answers, case.logits(one)):
        raise ContractError(
            "the same support gave other logits when adapted to again: chance is not seeded from "
            "task_ids."
        )
    if not torch.equal(chance, torch.get_rng_state()):
        raise ContractError(
            "torch's global random numbers were drawn or reset; use a torch.Generator of its own "
            "for each task, seeded from task_ids."
        )


def one_task_at_a_time(case: Case) -> None:
    """A batch of T tasks equals T batches of one."""
    episode = case.episode
    together = case.logits(episode)
    alone = torch.cat([case.logits(episode.tasks(t, t + 1)) for t in range(N_TASKS)])
    expect_close(together, alone, "a batch of tasks differs from the same tasks one by one")


def queries_do_not_help_each_other(case: Case) -> None:
    """A query's logits do not depend on the other queries, unless ``transductive``."""
    if case.learner.traits.transductive:
        return
    episode = case.episode
    together = case.logits(episode)
    for q in (0, episode.query.n_examples - 1):
        take = partial(_take, examples=torch.tensor([q]))
        alone = case.logits(replace(episode, query=take(episode.query)))
        expect_close(
            together[:, q : q + 1],
            alone,
            "a query alone gets other logits than among others; set traits.transductive, or do "
            "not use the batch's statistics",
        )


def _take(labelled: LabelledSet, examples: Tensor) -> LabelledSet:
    """Some of the images, in the order given."""
    return labelled.images(examples)


def support_order_does_not_matter(case: Case) -> None:
    """Shuffling the support changes nothing, unless ``order_free`` is false."""
    if not case.learner.traits.order_free:
        return
    episode = case.episode
    order = torch.randperm(episode.support.n_examples, generator=torch.Generator().manual_seed(3))
    expect_close(
        case.logits(episode),
        case.logits(replace(episode, support=_take(episode.support, order))),
        "the order of the support images changes the logits; set order_free=False if it should",
    )


def relabelling_permutes_logits(case: Case) -> None:
    """Renaming the classes permutes the logits, where ``label_equivariant``.

    The background of masks keeps its name.
    """
    if not case.learner.traits.label_equivariant or case.target.kind == "values":
        return
    episode = case.episode
    first = 1 if case.target.kind == "masks" else 0
    permutation = torch.arange(case.target.size)
    permutation[first:] = torch.roll(permutation[first:], 1)
    support = replace(episode.support, labels=permutation[episode.support.labels])
    renamed = case.logits(replace(episode, support=support))
    expect_close(
        case.logits(episode),
        renamed[:, :, permutation],
        "renaming the classes does not permute the logits; set label_equivariant=False if the "
        "output layer is fixed",
    )


def shots_may_be_uneven(case: Case) -> None:
    """Classes may have different numbers of support images."""
    episode = case.episode
    kept = torch.arange(episode.support.n_examples - N_SHOT + 1)
    uneven = replace(episode, support=_take(episode.support, kept))
    expect_answers(case.logits(uneven), uneven)


def refuses_what_it_cannot_take(case: Case) -> None:
    """More classes than ``max_way`` are refused in plain words."""
    most = case.learner.traits.max_way
    if most is None or case.target.kind == "values":
        return
    target = Target(case.target.kind, most + 1)
    episode = TaskMaker(case.maker.input_spec, target).episode(1, n_shot=1, n_query=1, seed=5)
    for refuse in (
        lambda: check_task_fits(case.learner, target),
        lambda: case.learner.adapt(episode.support, target),
    ):
        try:
            refuse()
        except MedmetaError:
            continue
        raise ContractError(f"{most + 1} classes are not refused, though max_way is {most}.")


def devices_agree(case: Case) -> None:
    """CPU and GPU give the same logits within tolerance, where there is a GPU."""
    if not torch.cuda.is_available():
        return
    episode = case.episode
    moved = copy.deepcopy(case.learner).to("cuda")
    there = Episode(_on_gpu(episode.support), _on_gpu(episode.query), episode.target)
    gpu = case.logits(there, moved).cpu()
    expect_close(case.logits(episode), gpu, "CPU and GPU differ", tolerance=1e-2)


def _on_gpu(labelled: LabelledSet) -> LabelledSet:
    inputs = map_inputs(lambda x: x.cuda(), labelled.inputs)
    return LabelledSet(inputs, labelled.labels.cuda(), labelled.task_ids.cuda())
