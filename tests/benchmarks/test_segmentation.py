"""The tables of segmentation, and learners that begin with others' weights."""

from __future__ import annotations

from typing import Any

import torch

import segmentation_table
from medmeta.episode import InputSpec, Target
from medmeta.learner import AbstractLearner
from medmeta.learners import build_learner
from segmentation_training import begin_with


def row(learner: str, by_task: list[float], **others: Any) -> dict[str, Any]:
    """As the record holds it; the Dice is the mean of the tasks'."""
    dice = sum(by_task) / len(by_task)
    found = {"learner": learner, "dice": dice, "tasks": len(by_task), "by_task": by_task}
    return {"structure": "one", "shot": 1, "meta_learned": True, **found, **others}


def test_learners_are_compared_on_the_tasks_that_both_were_asked() -> None:
    ours = row(segmentation_table.CHOSEN[0], [0.5, 0.5, 0.0, 0.0])
    few = row("few", [0.4, 0.4])
    many = row("many", [0.9, 0.9, 0.2])
    text = segmentation_table._verdict([ours, few, many], ours["learner"])
    assert "| few | 1 of 1 | – | – |" in text
    assert "| many | 0 of 1 | – | – |" in text


def test_where_it_is_not_known_on_which_tasks_nothing_is_compared() -> None:
    ours = row(segmentation_table.CHOSEN[0], [0.5, 0.1])
    alike, more = row("alike", [0.2, 0.6]), row("more", [0.2, 0.6, 0.1])
    for one in (alike, more):
        del one["by_task"]
    assert segmentation_table._side_by_side(ours, alike) == (0.3, 0.4)
    assert segmentation_table._side_by_side(ours, more) is None
    assert "| more | – | – | – |" in segmentation_table._verdict([ours, more], ours["learner"])


def small(name: str, **options: object) -> AbstractLearner:
    unet = {"encoder": {"options": {"width": 4, "levels": 1}}}
    spec, target = InputSpec(1, (16, 16)), Target("masks", 2)
    return build_learner(
        name, {**(unet if name != "conditioned_unet" else {}), **options}, spec, target
    )


def test_a_learner_of_two_begins_with_both_and_maml_with_the_unet() -> None:
    shape = {"width": 4, "levels": 2}
    conditioned, ridge = small("conditioned_unet", **shape), small("ridge_unet")
    joint = small("joint_unet", conditioned_width=4, conditioned_levels=2)
    begin_with(joint, [conditioned, ridge])
    for name, weight in {
        **{f"conditioned.{name}": w for name, w in conditioned.state_dict().items()},
        **{f"ridge.{name}": w for name, w in ridge.state_dict().items()},
    }.items():
        assert torch.equal(joint.state_dict()[name], weight)
    maml = small("maml")
    last = {n: w.clone() for n, w in maml.state_dict().items() if n.startswith("network.1.")}
    begin_with(maml, [ridge])
    for name, weight in ridge.state_dict().items():
        if name.startswith("network.encoder."):
            own = name.replace("network.encoder.", "network.0.encoder.")
            assert torch.equal(maml.state_dict()[own], weight)
    assert all(torch.equal(maml.state_dict()[name], weight) for name, weight in last.items())
