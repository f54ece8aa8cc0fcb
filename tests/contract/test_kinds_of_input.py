"""Every registered learner on signals, images, volumes, records and both together."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medmeta import check_learner
from medmeta.check_tasks import SMALL
from medmeta.episode import Target
from medmeta.errors import UnsupportedTaskError
from medmeta.learners import LEARNERS, build_learner, targets_of
from tests.learners.few import FEW

NARROW: dict[str, dict[str, Any]] = {
    "vector": {"options": {"width": 8}},
    "signal": {"options": {"width": 8}},
    "image": {"options": {"width": 8}},
    "volume": {"options": {"width": 16, "downsample": "stride", "pools": 3}},
    "mapping": {
        "options": {
            "image": {"options": {"width": 8}},
            "record": {"options": {"width": 8}},
            "width": 8,
        }
    },
}
QUICK = ("prototypical", "relation", "maml", "reptile", "metal", "meta_lstm", "leo", "ridge")
SLOW = {("meta_lstm", "volume")}  # half a minute: among the long ones
PAIRS = [(name, kind) for kind in NARROW if kind != "image" for name in QUICK]


def _checked(name: str, kind: str) -> tuple[str, ...]:
    torch.manual_seed(0)
    config = {**FEW.get(name, {}), "encoder": NARROW[kind]}
    learner = build_learner(name, config, SMALL[kind], Target("classes", 3))
    assert learner.traits.input_kinds == {kind}
    return check_learner(learner, input_spec=SMALL[kind])


@pytest.mark.parametrize(("name", "kind"), [pair for pair in PAIRS if pair not in SLOW])
def test_learners_of_each_family_keep_the_contract(name: str, kind: str) -> None:
    assert "beats_chance" in _checked(name, kind)


@pytest.mark.long
@pytest.mark.parametrize("kind", NARROW)
@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_keeps_the_contract(name: str, kind: str) -> None:
    if "classes" in targets_of(name):
        assert "one_task_at_a_time" in _checked(name, kind)
        return
    with pytest.raises(UnsupportedTaskError, match=f"{name} takes masks, not classes"):
        _checked(name, kind)
