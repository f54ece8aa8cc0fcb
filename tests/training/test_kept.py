"""A part of what is trained may be the run's model: it is scored and saved, the rest is not."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from medmeta.episode import Episode, LabelledSet, Predictor, Target
from medmeta.learner import AbstractLearner
from medmeta.training.checkpoint import WEIGHTS, model_folder, tensors_from_bytes
from medmeta.training.loop import Trainer
from tests.training.tiny_run import end_of, state_of, tiny_learner, trainer


class Scaffolded(AbstractLearner):
    """A learner with a weight that only the loss needs."""

    def __init__(self, learner: AbstractLearner) -> None:
        super().__init__()
        self.learner = learner
        self.scaffold = nn.Parameter(torch.ones(()))
        self.traits = learner.traits

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        return self.learner.adapt(support, target)

    def loss(self, episode: Episode) -> Tensor:
        return self.learner.loss(episode) * self.scaffold.square()


def scaffolded(run: Path, scored: list[AbstractLearner], steps: int = 12) -> Trainer:
    learner = Scaffolded(tiny_learner())

    def validate(part: AbstractLearner) -> float:
        assert not part.training
        scored.append(part)
        return float(len(scored))

    whole = trainer(run, learner, validate=validate, steps=steps)
    return Trainer(**{**vars(whole), "kept": learner.learner})


def weights_of(run: Path) -> dict[str, Tensor]:
    file = model_folder(run) / WEIGHTS
    return tensors_from_bytes(file.read_bytes(), where=file)


def test_the_model_is_the_part_and_the_checkpoint_the_whole(tmp_path: Path) -> None:
    scored: list[AbstractLearner] = []
    whole = scaffolded(tmp_path, scored)
    whole.fit()
    assert scored == [whole.kept] * 3
    assert whole.kept is not None
    state = whole.kept.state_dict()
    assert weights_of(tmp_path).keys() == state.keys()
    assert all(torch.equal(v, state[k]) for k, v in weights_of(tmp_path).items())
    assert "learner.scaffold" in state_of(tmp_path)
    assert float(state_of(tmp_path)["learner.scaffold"]) != 1.0


def test_without_validation_too(tmp_path: Path) -> None:
    whole = scaffolded(tmp_path, [])
    Trainer(**{**vars(whole), "validate": None}).fit()
    assert weights_of(tmp_path).keys() == whole.kept.state_dict().keys()  # type: ignore[union-attr]


def test_it_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    scaffolded(tmp_path / "whole", []).fit()
    scaffolded(tmp_path / "parts", [], steps=8).fit()
    scaffolded(tmp_path / "parts", [torch.nn.Identity()] * 2).fit()  # type: ignore[list-item]
    assert end_of(tmp_path / "parts") == end_of(tmp_path / "whole")
