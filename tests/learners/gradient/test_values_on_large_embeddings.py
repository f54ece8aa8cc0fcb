"""Default inner rates of values, where the embedding is large and where it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medmeta.check_tasks import TaskMaker
from medmeta.episode import InputSpec, Target
from medmeta.learners import build_learner, configuration
from medmeta.learners.gradient._adapting import DescentConfig, FixedLayerConfig
from medmeta.learners.gradient.reptile import ReptileConfig
from medmeta.learners.optimiser.lstm import MetaLSTMConfig
from medmeta.task_loss import task_loss

VALUE, MASKS, FIVE = Target("values", 1), Target("masks", 2), Target("classes", 5)
PICTURE = InputSpec(1, (64, 64))  # on which Conv-4 makes 1,024 numbers
ADAPTING: list[tuple[str, dict[str, Any]]] = [
    ("maml", {"inner_steps": 5}),
    ("meta_sgd", {}),
    ("anil", {}),
    ("metal", {"inner_steps": 5}),
    ("meta_lstm", {}),
    ("reptile", {}),
    ("reptile", {"inner_optimiser": "sgd"}),
    ("fine_tuning", {}),
]


@pytest.mark.parametrize(("name", "options"), ADAPTING, ids=lambda given: str(given))
def test_the_untrained_do_not_diverge_on_conv4_s_embedding_of_a_picture(
    name: str, options: dict[str, Any]
) -> None:
    """Answering with the support's mean has an error of about its variance."""
    torch.manual_seed(0)
    learner = build_learner(name, options, PICTURE, VALUE).eval()
    tasks = TaskMaker(PICTURE, VALUE).episode(2, n_shot=2, n_query=2, seed=4)
    with torch.no_grad():
        answers = learner.adapt(tasks.support, VALUE)(tasks.query.inputs)
    errors = task_loss(answers, tasks.query.labels, VALUE)
    assert bool((errors < 3 * tasks.support.labels.var(1, unbiased=False)[:, 0]).all())


@pytest.mark.parametrize(
    ("name", "size", "target", "rate"),
    [
        ("maml", 40, VALUE, 0.01),  # the network of the paper's sinusoids
        ("maml", 64, VALUE, 0.01),
        ("maml", 1024, VALUE, 0.01 / 16),
        ("metal", 128, VALUE, 0.005),
        ("maml", 1024, MASKS, 0.1),
        ("anil", 1024, FIVE, 0.4 / 16),
    ],
)
def test_rates_fall_with_the_size_except_for_masks(
    name: str, size: int, target: Target, rate: float
) -> None:
    config = configuration(name, None)
    assert isinstance(config, DescentConfig)
    assert config.on_embedding(size, target).inner_rate == pytest.approx(rate)
    told = config.model_copy(update={"inner_rate": 0.3})
    assert told.on_embedding(size, target).inner_rate == 0.3


@pytest.mark.parametrize(
    ("inside", "target", "rates"),
    [
        ("sgd", VALUE, (0.01, 0.01, 0.001)),
        ("sgd", FIVE, (0.1, 0.1, 0.1)),
        ("adam", VALUE, (0.001, 0.001, 0.001)),
    ],
)
def test_rates_of_reptile(inside: Any, target: Target, rates: tuple[float, ...]) -> None:
    config = ReptileConfig(inner_optimiser=inside)
    found = [config.rate_for(target)]
    found += [config.on_embedding(size, target).rate_for(target) for size in (64, 640)]
    assert found == pytest.approx(rates)


def test_the_lstm_begins_at_a_rate_that_falls_with_the_size() -> None:
    def rate(config: FixedLayerConfig) -> float:
        assert isinstance(config, MetaLSTMConfig)
        return float(torch.tensor(config.first_input_bias, dtype=torch.float64).sigmoid())

    plain = rate(MetaLSTMConfig())
    assert plain == pytest.approx(0.0109869, rel=1e-5)
    found = [rate(MetaLSTMConfig().on_embedding(size, VALUE)) for size in (40, 64, 1024)]
    assert found == pytest.approx([plain, plain, plain / 16])
    assert rate(MetaLSTMConfig().on_embedding(1024, FIVE)) == plain
    assert MetaLSTMConfig(input_bias=0.0).on_embedding(1024, VALUE).input_bias == 0  # type: ignore[attr-defined]
