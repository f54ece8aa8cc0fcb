"""The tasks of values are what they say, and the table is filled once over several sittings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import sinusoid
from medmeta.episode import Episode
from value_tasks import Drawn, Lines, Sinusoids, ValueTasks, draw_lines, other
from values_table import BEGIN, END, key_of, table, write_table

DRAWN = Drawn(points=10, queries=5, tasks=6, seed=3)


def only(tasks: ValueTasks, batch: int = 0) -> Episode:
    (episode,) = tasks.batches(batch, batch + 1)
    return episode


def points_of(episode: Episode) -> tuple[Tensor, Tensor]:
    """Inputs and values of support and query together."""
    sides = (episode.support, episode.query)
    inputs = [side.inputs for side in sides if isinstance(side.inputs, Tensor)]
    return torch.cat(inputs, 1), torch.cat([side.labels for side in sides], 1)


def test_sinusoids_have_the_amplitudes_and_phases_of_the_paper() -> None:
    """``A sin(x + φ) = a sin x + b cos x``, solved by least squares, leaves nothing over."""
    x, y = points_of(only(other(Sinusoids(DRAWN), tasks=200)))
    assert float(x.abs().max()) <= 5
    design = torch.cat([x.sin(), x.cos()], 2).double()
    found = torch.linalg.lstsq(design, y.double()).solution[..., 0]
    torch.testing.assert_close((design @ found[..., None]).float(), y, rtol=0, atol=1e-5)
    sizes, phases = found.norm(dim=1), torch.atan2(found[:, 1], found[:, 0])
    assert 0.1 <= float(sizes.min()) < 0.5 < 4.5 < float(sizes.max()) <= 5
    assert 0 <= float(phases.min()) < 0.3 < 2.8 < float(phases.max()) <= 3.1416


@pytest.mark.parametrize("tasks", [Sinusoids(DRAWN), Lines(DRAWN)])
def test_a_batch_is_a_function_of_its_number_and_seed(tasks: ValueTasks) -> None:
    first, again = points_of(only(tasks)), points_of(next(iter(tasks.batches(0, 2))))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for changed in (only(tasks, 1), only(other(tasks, seed=4))):
        assert not torch.equal(points_of(changed)[1], first[1])
    ids = torch.cat([episode.support.task_ids for episode in tasks.batches(0, 3)])
    assert len(ids.unique()) == 3 * DRAWN.tasks


def test_a_line_s_length_and_angle_can_be_measured_off_its_image() -> None:
    """Its ink is thickness × (length + rounded ends); its angle is that of its second moments."""
    random = np.random.Generator(np.random.Philox(5))
    of_length, of_angle = random.uniform(size=(2, 4, 8))
    thickness = np.full((4, 1), 2.0)
    images = draw_lines(of_length, of_angle, thickness, random.uniform(size=(2, 4, 8)))
    length = images.sum((2, 3)) / 2.0 - np.pi / 2
    np.testing.assert_allclose(length, 6 + 18 * of_length, atol=0.8)
    column, row = np.meshgrid(np.arange(32), np.arange(32))
    ink = images / images.sum((2, 3), keepdims=True)
    x = column - (ink * column).sum((2, 3), keepdims=True)
    y = row - (ink * row).sum((2, 3), keepdims=True)
    xx, yy, xy = ((ink * m).sum((2, 3)) for m in (x * x, y * y, x * y))
    angle = np.degrees(np.arctan2(2 * xy, xx - yy) / 2)
    np.testing.assert_allclose(angle, -75 + 150 * of_angle, atol=1.5)
    edge = np.concatenate([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]])
    assert edge.max() == 0


def test_sinusoids_are_learned_in_the_units_given() -> None:
    """With all weights zero a step moves the last bias alone, by 2 × rate × the mean value."""
    learner = sinusoid.fresh(sinusoid.BENCHES["sinusoid"], "maml", {"test_steps": 1}).eval()
    support = only(Sinusoids(DRAWN)).support
    target = sinusoid.VALUE
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.zero_()
        answers = learner.adapt(support, target)(support.inputs)
    rate, mean = 0.01, support.labels.mean(1, keepdim=True)
    torch.testing.assert_close(answers, (2 * rate * mean).expand_as(answers))


def test_the_table_is_filled_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "results.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    sitting = sinusoid.Sitting(tmp_path, tmp_path / "values.json", page, 4, share=4e-5)
    sinusoid.run_one("sinusoid", "ridge", sitting)
    rows = json.loads(sitting.results.read_text())
    assert [row["points"] for row in rows] == [5, 10]
    assert all(row["train_steps"] == 2 and row["tasks"] == 4 for row in rows)
    assert {"steps_at_test", "mse", "interval", "paper", "seconds", "seed", "command"} <= set(
        rows[0]
    )
    assert page.read_text() == f"before\n{BEGIN}\n{table(rows)}\n{END}\nafter\n"
    capsys.readouterr()
    sinusoid.run_one("sinusoid", "ridge", sitting)
    assert "done before" in capsys.readouterr().out


def test_figures_of_papers_stand_beside_one_step_alone(tmp_path: Path) -> None:
    row = {
        "task": "sinusoid of any frequency",
        "points": 5,
        "learner": "meta_sgd",
        "mse": 1.0,
        "interval": 0.1,
        "trained_points": 5,
        "train_steps": 1,
        "whole_schedule": 1000,
        "seconds": 90.0,
    }
    rows = [{**row, "steps_at_test": steps} for steps in (1, 10)]
    write_table(tmp_path / "values.json", tmp_path / "none.md", rows)
    written = json.loads((tmp_path / "values.json").read_text())
    assert [(key_of(r)[-1], r["paper"]) for r in written] == [(1, 0.9), (10, None)]
    assert "| 1 | 1 ± 0.1 | 0.9 | 5 points | 1 of 1,000 | 1.5 |" in table(written)
    wild = [{**written[0], "mse": 46.0, "interval": 89.0}]
    assert "| 1 | diverges in single tasks | 0.9 |" in table(wild)


def test_every_recipe_builds_and_takes_a_step_of_its_kind() -> None:
    for bench in sinusoid.BENCHES.values():
        episode = only(other(bench.tasks, tasks=2))
        for name, recipe in bench.recipes.items():
            learner = sinusoid.fresh(bench, name, recipe.options)
            assert learner.loss(episode).shape == (2,)
            assert learner.traits.trainable or not recipe.steps
