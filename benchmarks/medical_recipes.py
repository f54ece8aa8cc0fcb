"""What is compared on medical sources: collections, learners, encoders, and how much training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TRAINED_ON = ("pbc_blood", "mednist", "malaria_cells_iml", "brain_tumor_mri", "pneumonia_cxr")
TESTED_ON = ("busi_breast_us", "ph2", "wbc1", "oct_dme")
SHOTS = (1, 5, 10)
CURVE_SHOTS = (1, 2, 5, 10, 20, 40)
CURVE_SOURCE = "busi_breast_us"
N_QUERY, TASKS, FEW_TASKS, SEED = 8, 300, 60, 2026

STEPS = 800
"""The budget: the same for all that train, so many steps of two tasks."""


def budget(steps: int = STEPS) -> str:
    """The flags of ``medmeta train`` that all share."""
    return (
        "--encoder conv4 --augment light --way 2-5 --shot 1-10 --query 8 --tasks-per-step 2 "
        f"--schedule cosine --precision bfloat16 --steps {steps} --validation none --seed 0 "
        "--drop-small"
    )


def called_after(encoder: str, steps: int) -> str:
    """An encoder's name in the table, with its steps where they are not those of the budget.

    >>> called_after("Conv-4", 800), called_after("Conv-4", 3200)
    ('Conv-4', 'Conv-4, 3,200 steps')
    """
    return encoder if steps == STEPS else f"{encoder}, {steps:,} steps"


TRAINED: dict[str, str] = {
    "prototypical": "--learning-rate 0.001",
    "prototypical_by_groups": "--learning-rate 0.001 --norm group",
    "matching": "--learning-rate 0.001",
    "siamese": "--learning-rate 0.001 --set balanced=true",
    "relation": "--learning-rate 0.001",
    "ridge": "--learning-rate 0.001",
    "logistic": "--learning-rate 0.001",
    "svm": "--learning-rate 0.001",
    "memory_network": "--learning-rate 0.001",
    "meta_memory": "--learning-rate 0.001",
    "anil": "",
    "maml": "--set max_way=5",
    "meta_sgd": "--set max_way=5",
    "reptile": "--set max_way=5",
    "meta_lstm": "--set max_way=5",
    "metal": "--set max_way=5",
    "meta_networks": "--set max_way=5",
    "mann": "--set max_way=5",
}
"""Learners that are trained, with what their training has of its own."""

WHOLE_NETWORK = (
    "maml",
    "meta_sgd",
    "reptile",
    "meta_lstm",
    "metal",
    "meta_networks",
    "mann",
)
"""Of these, seconds per task: tested on the first ``FEW_TASKS`` of the same tasks."""

SHARED = "prototypical"
"""The learner whose encoder the heads are used on."""

GROUPED = "prototypical_by_groups"
"""The same, normalised by groups: fine-tuning takes no running statistics."""

CHEAP_HEADS = (
    "ridge",
    "nearest_centroid",
    "simple_shot",
    "linear_probe",
    "logistic",
    "svm",
    "kernel_svm",
)
SLOW_HEADS = (
    "random_forest",
    "baseline",
    "baseline_plus_plus",
    "mlp",
    "sgd",
    "gradient_boosting",
    "ensemble",
)
TRANSDUCTIVE_HEADS = ("bd_cspn", "laplacian_shot", "tim", "pt_map")


@dataclass(frozen=True)
class Features:
    """An encoder with nothing trained, under its name in the table."""

    called: str
    encoder: str
    options: dict[str, Any]


HAND_MADE = Features("hand-made", "hog_colour", {})
UNTRAINED = (
    Features("raw pixels", "pixels", {}),
    HAND_MADE,
    Features("border only", "border", {}),
    Features("pixels + hand-made", "joined", {"parts": ["pixels", "hog_colour"]}),
    Features("Conv-4, not trained", "conv4", {}),
)
REFERENCE = ("ridge", HAND_MADE.called)
"""Whom all others are compared with, task by task."""

PENALTIES = (0.01, 0.1, 1.0, 10.0)
"""Of ridge on features without training: chosen on the collections trained on, not on the tests."""
