"""Learners: the registry of all that can be named, and how one is built from its name."""

from medmeta.learners._embedding import EmbeddingLearner
from medmeta.learners._spec import EncodedConfig, LearnerSpec
from medmeta.learners.building import (
    build_head,
    build_learner,
    build_on,
    configuration,
    head_names,
    learners_taking,
    names_on_encoders,
    targets_of,
)
from medmeta.learners.pretraining import UnionClassifier
from medmeta.learners.registry import LEARNERS, learner_spec
from medmeta.learners.standardised import StandardisedValues
from medmeta.learners.standardised_records import StandardisedRecords

__all__ = [
    "LEARNERS",
    "EmbeddingLearner",
    "EncodedConfig",
    "LearnerSpec",
    "StandardisedRecords",
    "StandardisedValues",
    "UnionClassifier",
    "build_head",
    "build_learner",
    "build_on",
    "configuration",
    "head_names",
    "learner_spec",
    "learners_taking",
    "names_on_encoders",
    "targets_of",
]
