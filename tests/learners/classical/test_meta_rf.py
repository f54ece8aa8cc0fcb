"""Meta-RF: its loss and gradient by hand, what it learns, and its gain over the plain form."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from medmeta.episode import InputSpec
from medmeta.errors import SettingsError
from medmeta.learners import build_head
from medmeta.learners.classical._choice import SHARPNESS
from medmeta.learners.classical.meta_rf import MetaRFConfig, MetaRFHead
from tests.learners.classical.source_tasks import SIZE, TARGET, accuracy, episode, trained

SPEC = InputSpec(SIZE, ())


def head(**options: Any) -> MetaRFHead:
    few = {"trees": 5, "depths": "100", "leaves": "1,3", "shares": "0.1,1"}
    return cast(MetaRFHead, build_head("meta_rf", {**few, **options}, SPEC, TARGET))


def test_all_combinations_are_candidates_and_the_first_is_where_it_starts() -> None:
    config = MetaRFConfig()
    settings = {(c.depth, c.leaf, c.share) for c in config.candidates()}
    assert len(settings) == 12
    assert MetaRFHead(config).choice.best == 0
    first = config.candidates()[0]
    assert (first.depth, first.leaf, first.share) == (100, 1, 0.3)


def test_the_loss_is_expected_and_its_gradient_exact() -> None:
    """dΣ p L / dv = 10 p (L - mean L) for each weight v."""
    built, tasks = head(), episode(3, 5)
    options = [{"leaf": leaf, "share": share} for leaf in (1, 3) for share in (0.1, 1.0)]
    forests = [
        build_head("random_forest", {"trees": 5, "depth": 100, **o}, SPEC, TARGET) for o in options
    ]
    losses = torch.stack([forest.loss(tasks) for forest in forests], dim=1)
    shares = built.choice.shares().detach()
    loss = built.loss(tasks)
    torch.testing.assert_close(loss.detach(), losses @ shares)
    (found,) = torch.autograd.grad(loss.mean(), list(built.parameters()))
    mean = losses.mean(0)
    torch.testing.assert_close(found, SHARPNESS * shares * (mean - shares @ mean))


def test_adapting_takes_the_likeliest_also_after_loading() -> None:
    built, tasks = head(), episode(2, 5)
    with torch.no_grad():
        built.choice.preferences.copy_(torch.tensor([0.0, 0.1, 0.3, 0.2]))
    other = head()
    other.load_state_dict(built.state_dict())
    forest = build_head(
        "random_forest", {"trees": 5, "depth": 100, "leaf": 3, "share": 0.1}, SPEC, TARGET
    )
    wanted = forest.adapt(tasks.support, TARGET)(tasks.query.inputs)
    for learner in (built, other):
        found = learner.adapt(tasks.support, TARGET)(tasks.query.inputs)
        torch.testing.assert_close(found, wanted)


def test_learned_across_tasks_it_beats_its_plain_form() -> None:
    """Three of sixteen features tell, so splits are better chosen among all of them."""
    learned = head(trees=10, leaves="1", shares="0.3,1")
    trained(learned, 8, rate=3e-2, tasks=4)
    plain = build_head("random_forest", {"trees": 10}, SPEC, TARGET)
    assert learned.forests[learned.choice.best].config.share == 1.0
    assert accuracy(learned, 40) > accuracy(plain, 40)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"shares": (1.5,)}, "shares: .*at most 1"),
        ({"depths": ()}, "depths: .*one number or more"),
        ({"leaves": "0"}, "leaves: .*above zero"),
        ({"depths": "200,2"}, "depths: .*at most 100"),
        ({"leaves": "2000"}, "leaves: .*at most 1000"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        head(**options)
