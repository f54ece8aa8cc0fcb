"""No patient is on both sides of a task: in ten thousand tasks, of real sources and of a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SamplingError
from tests.episodes.tables import table

TASKS = 10_000


def tasks_sharing(source: Source, *, apart: bool, n: int, shot: int = 5) -> tuple[int, int]:
    """Tasks of which support and query share a patient; a picture."""
    way = len(source.index.class_names)
    asked = Protocol(
        sources=(source.name,), n_way=(2, way), n_shot=(1, shot), n_query=10,
        tasks_per_batch=1, patient_disjoint=apart, seed=3,
    )  # fmt: skip
    sampler = TaskSampler([source], asked)
    patients, pictures = source.index.patients.codes, source.hashes
    by_patient = by_picture = 0
    for task in range(n):
        drawn = sampler.draw(task)
        support, query = drawn.support_rows, drawn.query_rows
        assert not set(support.tolist()) & set(query.tolist())
        known = [set(patients[rows].tolist()) - {-1} for rows in (support, query)]
        by_patient += bool(known[0] & known[1])
        by_picture += bool(set(pictures[support].tolist()) & set(pictures[query].tolist()))
    return by_patient, by_picture


@pytest.mark.parametrize("name", ["pneumonia_cxr", "oct_dme"])
def test_no_patient_crosses_in_ten_thousand_tasks_of_real_sources(
    shared_data: Path, name: str
) -> None:
    path = shared_data / "classification" / f"{name}.npz"
    source = open_source(path, preprocessing=Preprocessing(size=16, channels=1))
    assert source.index.patients.known
    assert tasks_sharing(source, apart=True, n=TASKS) == (0, 0)


@pytest.mark.parametrize("name", ["pneumonia_cxr", "oct_dme"])
def test_where_patients_are_ignored_they_do_cross(shared_data: Path, name: str) -> None:
    """So the test above would see it."""
    path = shared_data / "classification" / f"{name}.npz"
    source = open_source(path, preprocessing=Preprocessing(size=16, channels=1))
    by_patient, by_picture = tasks_sharing(source, apart=False, n=500)
    assert by_patient > 20
    assert by_picture == 0  # identical pictures are kept apart even then


def test_no_patient_crosses_where_they_have_many_images_and_several_classes() -> None:
    """40 patients of 1 to 30 images in four classes; a fifth are of patients nobody knows."""
    chance = np.random.default_rng(1)
    sizes = chance.integers(1, 31, 40)
    patients = np.repeat(np.arange(40), sizes)
    patients[chance.random(len(patients)) < 0.2] = -1
    labels = chance.integers(0, 4, len(patients))
    pictures = np.arange(len(patients))
    pictures[chance.choice(len(patients), 30, replace=False)] = pictures[:30]  # copies
    source = table(labels, patients=patients, pictures=pictures)
    assert tasks_sharing(source, apart=True, n=TASKS) == (0, 0)
    by_patient, by_picture = tasks_sharing(source, apart=False, n=300)
    assert by_patient > 250
    assert by_picture == 0


def conflicting(*, others: int) -> Source:
    """Classes 0 and 1 need the same two patients on opposite sides; the others have their own."""
    labels, patients = [0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 1]
    for number in range(others):
        labels += [2 + number] * 4
        patients += list(range(len(patients), len(patients) + 4))
    return table(labels, patients=patients)


def test_classes_whose_patients_leave_no_task_do_not_end_a_training() -> None:
    source = conflicting(others=2)
    asked = Protocol(sources=(source.name,), n_way=(2, 2), n_shot=(1, 1), n_query=2, seed=1)
    sampler = TaskSampler([source], asked)
    assert sampler.dropped == {}  # each class alone is large enough
    drawn = {frozenset(sampler.draw(task).classes) for task in range(300)}
    pairs = {frozenset({f"class {a}", f"class {b}"}) for b in range(4) for a in range(b)}
    assert drawn == pairs - {frozenset({"class 0", "class 1"})}


def test_where_no_classes_go_together_it_is_said() -> None:
    source = conflicting(others=0)
    asked = Protocol(sources=(source.name,), n_way=(2, 2), n_shot=(1, 1), n_query=2, seed=1)
    with pytest.raises(SamplingError, match=r"no way was found .* share no patient"):
        TaskSampler([source], asked).draw(0)


def test_a_part_keeps_the_links_that_lie_outside_it() -> None:
    """Patients 0 and 1 share a picture at another site: here too they may be one person."""
    source = table([0, 0, 1, 1, 0, 1], patients=[0, 1, 2, 0, 0, 1], pictures=[0, 1, 2, 3, 9, 9])
    part = source.take(np.arange(4)).take(np.array([0, 1, 2]))
    assert part.groups.tolist() == [0, 0, 1]
    assert table([0, 0, 1], patients=[0, 1, 2]).groups.tolist() == [0, 1, 2]
