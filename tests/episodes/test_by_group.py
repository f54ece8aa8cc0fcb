"""Tasks of one group of patients each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medmeta.data.index import Column
from medmeta.data.source import Source
from medmeta.episodes.by_group import by_group
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SamplingError

PROTOCOL = Protocol(
    sources=("clinic",), n_way=(2, 2), n_shot=(1, 1), n_query=2, episodes=50, seed=1
)


def _source() -> Source:
    """60 images of two classes; sex alternates by pair, the last ten patients' is not known."""
    n = 60
    pixels = np.random.default_rng(0).integers(0, 255, (n, 1, 16, 16), dtype=np.uint8)
    source = Source.from_arrays("clinic", pixels, ["ab"[i % 2] for i in range(n)])
    sex = [("F" if i // 2 % 2 else "M") if i < 50 else None for i in range(n)]
    band = ["40-49" if i < 44 else "50-59" for i in range(n)]
    others = {"sex": Column.from_texts(sex), "age_band": Column.from_texts(band)}
    return replace(source, index=replace(source.index, others=others))


def test_every_task_is_of_patients_that_are_alike() -> None:
    parts, notes = by_group([_source()], ["sex"], PROTOCOL)
    assert [part.name for part in parts] == ["clinic (sex F)", "clinic (sex M)"]
    assert sum(len(part) for part in parts) == 50
    assert any("10 images without sex are not used" in note for note in notes)
    sampler = TaskSampler(parts, PROTOCOL)
    for task in range(50):
        drawn = sampler.draw(task)
        column = sampler.sources[drawn.source].index.column("sex")
        rows = np.concatenate([drawn.support_rows, drawn.query_rows])
        assert len(set(column.codes[rows].tolist())) == 1


def test_groups_of_several_columns_and_those_too_small() -> None:
    parts, notes = by_group([_source()], ["sex", "age_band"], PROTOCOL)
    assert [part.name for part in parts] == [
        "clinic (sex F, age_band 40-49)",
        "clinic (sex M, age_band 40-49)",
    ]
    assert any("too small for such tasks are sex F, age_band 50-59" in note for note in notes)


def test_a_group_of_few_classes_gives_the_smaller_tasks_of_a_range() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 1, 8, 8), dtype=np.uint8)
    source = Source.from_arrays("clinic", pixels, ["abcdef"[i % 6] for i in range(60)])
    ward = ["B" if i >= 30 and i % 6 < 3 else "A" for i in range(60)]
    index = replace(source.index, others={"ward": Column.from_texts(ward)})
    asked = PROTOCOL.model_copy(update={"n_way": (2, 5)})
    parts, notes = by_group([replace(source, index=index)], ["ward"], asked)
    assert [part.name for part in parts] == ["clinic (ward A)", "clinic (ward B)"]
    assert not any("too small" in note for note in notes)
    drawn = {TaskSampler(parts, asked).draw(task).source for task in range(40)}
    assert drawn == {0, 1}


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(SamplingError, match="--task-by smoker: no group is large enough"):
        by_group([_source()], ["smoker"], PROTOCOL)
