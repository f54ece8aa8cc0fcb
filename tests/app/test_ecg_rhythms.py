"""Rhythms that were never trained on are told apart from five labelled ECGs of each."""

from __future__ import annotations

from pathlib import Path

from medmeta.app.evaluate_run import EvaluationRequest, evaluate_model
from medmeta.app.models import load_model
from medmeta.app.train_run import TrainRequest, train
from medmeta.data.preprocess import Preprocessing
from medmeta.data.synthetic_signals import ECG_CLASSES, synthetic_ecgs
from medmeta.training.settings import TrainingSettings

RHYTHMS = (
    "sinus rhythm",
    "sinus bradycardia",
    "atrial fibrillation",
    "ventricular tachycardia",
    "third-degree AV block",
)


def test_five_new_rhythms_at_five_shots(tmp_path: Path) -> None:
    shape = Preprocessing(samples=400, rate=80)
    known = [kind for kind in ECG_CLASSES if kind not in RHYTHMS]
    request = TrainRequest(
        learner="prototypical",
        way="5",
        shot="5",
        query=5,
        preprocessing=shape,
        options={"encoder": {"options": {"width": 24, "embed": "stages"}}},
        validation="none",
        training=TrainingSettings(steps=40, learning_rate=5e-3),
    )
    train(request, tmp_path / "run", sources=[synthetic_ecgs(shape, each=12, classes=known)])
    asked = synthetic_ecgs(shape, each=16, seed=1, classes=RHYTHMS)
    tasks = EvaluationRequest(shots=(5,), query=5, episodes=100)
    (row,) = evaluate_model(load_model(tmp_path / "run"), [asked], tasks)
    accuracy = row.evaluation.summary["accuracy"]
    assert row.novelty == "new classes"
    assert accuracy.low > 0.9, accuracy
    assert row.to_dict()["baselines"]["ridge on raw pixels"]["mean"] < 0.6
