"""No patient, and no picture, is in the support and in the query of a task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from tests.episodes.tables import table

TASKS = 10_000


def crossing(source: Source, n_shot: int, n_query: int, *, disjoint: bool = True) -> int:
    """In how many of 10,000 tasks a patient or a picture is on both sides."""
    ways = len(source.index.class_names)
    protocol = Protocol(
        sources=(source.name,),
        n_way=(2, ways),
        n_shot=(n_shot, n_shot),
        n_query=n_query,
        patient_disjoint=disjoint,
        seed=11,
    )
    sampler = TaskSampler([source], protocol)
    patients, pictures = source.index.patients.codes, source.hashes
    found = 0
    for number in range(TASKS):
        task = sampler.draw(number)
        both = np.intersect1d(pictures[task.support_rows], pictures[task.query_rows])
        ours, theirs = patients[task.support_rows], patients[task.query_rows]
        found += bool(len(both)) or bool(np.isin(ours[ours >= 0], theirs).any())
    return found


@pytest.mark.parametrize(("name", "n_shot"), [("pneumonia_cxr", 5), ("oct_dme", 5)])
def test_in_ten_thousand_tasks_of_real_patients(name: str, n_shot: int, shared_data: Path) -> None:
    path = shared_data / "classification" / f"{name}.npz"
    source = open_source(path, preprocessing=Preprocessing(size=16, channels=1))
    assert source.index.patients.known
    assert crossing(source, n_shot, 15) == 0


def test_in_ten_thousand_tasks_of_made_patients() -> None:
    """Patients of one to six images in three classes, a fifth of them in two classes."""
    random = np.random.default_rng(4)
    patients = np.repeat(np.arange(120), random.integers(1, 7, 120))
    labels = np.repeat(random.integers(0, 3, 120), np.bincount(patients))
    moved = np.isin(patients, np.arange(0, 120, 5)) & (random.random(len(labels)) < 0.5)
    labels = np.where(moved, (labels + 1) % 3, labels)
    source = table(labels, patients=patients)
    assert crossing(source, 3, 5) == 0
    assert crossing(source, 3, 5, disjoint=False) > TASKS // 20
