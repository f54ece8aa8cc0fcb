"""The package as a library: quick to import, and each public name in use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import medmeta
from tests.app._typed import TRAINED, folder


@pytest.mark.parametrize("name", medmeta.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(medmeta, name) is not None


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, medmeta\n"
        "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'PIL', 'pydantic', 'typer', 'rich'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_the_whole_way_in_python(tmp_path: Path) -> None:
    folder(tmp_path / "trained", TRAINED, 8)
    folder(tmp_path / "mine", ("a", "b", "c"), 5, seed=2)
    request = medmeta.TrainRequest(
        sources=(tmp_path / "trained",),
        options={"encoder": {"options": {"width": 8}}},
        way="2-3",
        shot="1",
        query=2,
        preprocessing=medmeta.Preprocessing(size=32),
        training=medmeta.TrainingSettings(steps=2),
    )
    done = medmeta.train(request, tmp_path / "run")
    assert done.outcome.progress.step == 2
    model = medmeta.load_model(tmp_path / "run")
    mine = medmeta.open_source(tmp_path / "mine", preprocessing=model.preprocessing)
    asked = medmeta.EvaluationRequest(shots=(1,), query=2, episodes=5)
    (row,) = medmeta.evaluate_model(model, [mine], asked)
    assert row.evaluation.summary["accuracy"].tasks == 5
    medmeta.adapt(model, mine).save(tmp_path / "predictor")
    predictor = medmeta.load_predictor(tmp_path / "predictor")
    assert predictor.class_names == ("a", "b", "c")
    assert predictor.predict(mine.pixels).outputs.shape == (15, 3)
    with pytest.raises(medmeta.MedmetaError, match="already there"):
        predictor.save(tmp_path / "predictor")
