"""Every registered learner on signals, images, volumes, records and both together."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medmeta import check_learner
from medmeta.check_tasks import SMALL
from medmeta.episode import Target
from medmeta.learners import LEARNERS, build_learner
from tests.learners.few import FEW

NARROW: dict[str, dict[str, Any]] = {
    "vector": {"options": {"width": 8}},
    "signal": {"options": {"width": 8}},
    "image": {"options": {"width": 8}},
    "volume": {"options": {"width": 16}},
    "mapping": {
        "options": {
            "image": {"options": {"width": 8}},
            "record": {"options": {"width": 8}},
            "width": 8,
        }
    },
}
HEADS = ("prototypical", "relation", "leo", "ridge")
WHOLE = ("maml", "reptile", "metal", "meta_lstm")
QUICK = [(name, kind) for kind in NARROW for name in (*HEADS, *WHOLE) if kind != "image"]
# Convolutions over three axes take minutes to train within tasks: those are among the long ones.
QUICK = [(name, kind) for name, kind in QUICK if kind != "volume" or name in HEADS]


def _checked(name: str, kind: str) -> tuple[str, ...]:
    torch.manual_seed(0)
    config = {**FEW.get(name, {}), "encoder": NARROW[kind]}
    learner = build_learner(name, config, SMALL[kind], Target("classes", 3))
    assert learner.traits.input_kinds == {kind}
    return check_learner(learner, input_spec=SMALL[kind])


@pytest.mark.parametrize(("name", "kind"), QUICK)
def test_learners_of_each_family_keep_the_contract(name: str, kind: str) -> None:
    assert "beats_chance" in _checked(name, kind)


@pytest.mark.long
@pytest.mark.parametrize("kind", NARROW)
@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_keeps_the_contract(name: str, kind: str) -> None:
    assert "one_task_at_a_time" in _checked(name, kind)
