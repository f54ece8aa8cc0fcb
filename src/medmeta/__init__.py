"""medmeta learns a diagnostic imaging task from a handful of labelled images.

Names are loaded when they are first used, so that ``import medmeta`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from medmeta.version import __version__

if TYPE_CHECKING:
    from medmeta.app.brought import save_encoder
    from medmeta.app.evaluate_run import EvaluationRequest, evaluate_model
    from medmeta.app.mask_predictor import MaskAnswer, SavedMaskPredictor
    from medmeta.app.mask_workbench import adapt_masks, load_mask_predictor
    from medmeta.app.models import LoadedModel, load_model
    from medmeta.app.pretrain_run import PretrainRequest, pretrain
    from medmeta.app.train_run import TrainRequest, train
    from medmeta.app.workbench import SavedPredictor, adapt, load_predictor
    from medmeta.checks import check_learner
    from medmeta.data.mask_sources import open_mask_source
    from medmeta.data.preprocess import Preprocessing
    from medmeta.data.source import Source
    from medmeta.data.sources import open_source
    from medmeta.data.superpixel_structures import superpixel_structures
    from medmeta.data.synthetic import synthetic_sources
    from medmeta.data.synthetic_structures import synthetic_structures
    from medmeta.episode import Episode, InputSpec, LabelledSet, Predictor, Target
    from medmeta.episodes.loader import EpisodeLoader
    from medmeta.episodes.protocol import Protocol
    from medmeta.episodes.sampler import TaskSampler
    from medmeta.errors import MedmetaError
    from medmeta.evaluation.evaluate import Evaluation, evaluate
    from medmeta.evaluation.intervals import paired_difference
    from medmeta.learner import AbstractLearner, AdaptedTask, Traits, adapt_task
    from medmeta.learners import LEARNERS, build_learner
    from medmeta.tasks import map_tasks
    from medmeta.training.loop import Trainer
    from medmeta.training.settings import TrainingSettings

_HOMES = {
    "AbstractLearner": "medmeta.learner",
    "AdaptedTask": "medmeta.learner",
    "Episode": "medmeta.episode",
    "EpisodeLoader": "medmeta.episodes.loader",
    "Evaluation": "medmeta.evaluation.evaluate",
    "EvaluationRequest": "medmeta.app.evaluate_run",
    "InputSpec": "medmeta.episode",
    "LEARNERS": "medmeta.learners",
    "LabelledSet": "medmeta.episode",
    "LoadedModel": "medmeta.app.models",
    "MaskAnswer": "medmeta.app.mask_predictor",
    "MedmetaError": "medmeta.errors",
    "Predictor": "medmeta.episode",
    "Preprocessing": "medmeta.data.preprocess",
    "PretrainRequest": "medmeta.app.pretrain_run",
    "Protocol": "medmeta.episodes.protocol",
    "SavedMaskPredictor": "medmeta.app.mask_predictor",
    "SavedPredictor": "medmeta.app.workbench",
    "Source": "medmeta.data.source",
    "Target": "medmeta.episode",
    "TaskSampler": "medmeta.episodes.sampler",
    "TrainRequest": "medmeta.app.train_run",
    "Trainer": "medmeta.training.loop",
    "TrainingSettings": "medmeta.training.settings",
    "Traits": "medmeta.learner",
    "adapt": "medmeta.app.workbench",
    "adapt_masks": "medmeta.app.mask_workbench",
    "adapt_task": "medmeta.learner",
    "build_learner": "medmeta.learners",
    "check_learner": "medmeta.checks",
    "evaluate": "medmeta.evaluation.evaluate",
    "evaluate_model": "medmeta.app.evaluate_run",
    "load_mask_predictor": "medmeta.app.mask_workbench",
    "load_model": "medmeta.app.models",
    "load_predictor": "medmeta.app.workbench",
    "map_tasks": "medmeta.tasks",
    "open_mask_source": "medmeta.data.mask_sources",
    "open_source": "medmeta.data.sources",
    "paired_difference": "medmeta.evaluation.intervals",
    "pretrain": "medmeta.app.pretrain_run",
    "save_encoder": "medmeta.app.brought",
    "synthetic_sources": "medmeta.data.synthetic",
    "superpixel_structures": "medmeta.data.superpixel_structures",
    "synthetic_structures": "medmeta.data.synthetic_structures",
    "train": "medmeta.app.train_run",
}

__all__ = [
    "LEARNERS",
    "AbstractLearner",
    "AdaptedTask",
    "Episode",
    "EpisodeLoader",
    "Evaluation",
    "EvaluationRequest",
    "InputSpec",
    "LabelledSet",
    "LoadedModel",
    "MaskAnswer",
    "MedmetaError",
    "Predictor",
    "Preprocessing",
    "PretrainRequest",
    "Protocol",
    "SavedMaskPredictor",
    "SavedPredictor",
    "Source",
    "Target",
    "TaskSampler",
    "TrainRequest",
    "Trainer",
    "TrainingSettings",
    "Traits",
    "__version__",
    "adapt",
    "adapt_masks",
    "adapt_task",
    "build_learner",
    "check_learner",
    "evaluate",
    "evaluate_model",
    "load_mask_predictor",
    "load_model",
    "load_predictor",
    "map_tasks",
    "open_mask_source",
    "open_source",
    "paired_difference",
    "pretrain",
    "save_encoder",
    "superpixel_structures",
    "synthetic_sources",
    "synthetic_structures",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'medmeta' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
