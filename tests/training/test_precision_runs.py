"""Half precision beside single precision: whole runs, by their accuracy on the same other tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medmeta.episodes.protocol import Protocol
from medmeta.evaluation.evaluate import evaluate
from medmeta.evaluation.intervals import paired_difference
from tests.training.tiny_run import SOURCE, tasks, tiny_learner, trainer

OTHER = Protocol(
    sources=("easy",),
    n_way=(3, 3),
    n_shot=(2, 2),
    n_query=5,
    episodes=200,
    tasks_per_batch=50,
    seed=9,
)
RUNS: dict[str, dict[str, Any]] = {
    "prototypical": {"steps": 60},
    "ridge": {"steps": 60},
    "maml": {"steps": 400},  # at 200 one seed in three is still on its way in bfloat16
}


@pytest.mark.parametrize("name", RUNS)
def test_whole_runs_in_half_precision_are_as_accurate(name: str, tmp_path: Path) -> None:
    accuracies = {}
    for precision in ("float32", "bfloat16"):
        learner = tiny_learner(name, options={"width": 8})
        run = tmp_path / precision
        settings = {"precision": precision, "validate_every": 0, "checkpoint_every": 100}
        trainer(
            run, learner, episodes=tasks(4, n_shot=(2, 2), n_query=4), **settings, **RUNS[name]
        ).fit()
        found = evaluate(learner.eval(), SOURCE, OTHER)
        accuracies[precision] = found.records["accuracy"]
    gap = paired_difference(accuracies["bfloat16"], accuracies["float32"])
    assert accuracies["float32"].mean() > 0.6  # a third is chance
    assert gap.low > -0.05
    assert gap.high < 0.05
