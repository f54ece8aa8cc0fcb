"""The heads that an ensemble may be made of, and the options that each is tried with."""

from __future__ import annotations

from typing import Any

from medmeta.episode import InputSpec, Target, TargetKind
from medmeta.errors import SettingsError
from medmeta.learner import AbstractLearner
from medmeta.learners._spec import LearnerSpec
from medmeta.learners.classical import (
    gradient_boosting,
    kernel_svm,
    mlp,
    nearest_centroid,
    random_forest,
    sgd,
)
from medmeta.learners.heads import logistic, ridge, svm

# The first options of each are taken where there are too few images to compare them.
MEMBERS: dict[str, tuple[LearnerSpec, tuple[dict[str, Any], ...]]] = {
    "gradient_boosting": (gradient_boosting.SPEC, ({"rounds": 20}, {"rounds": 60})),
    "kernel_svm": (kernel_svm.SPEC, ({"slack": 1.0}, {"slack": 0.1}, {"slack": 10.0})),
    "logistic": (
        logistic.SPEC,
        ({"regularisation": 0.1}, {"regularisation": 0.01}, {"regularisation": 1.0}),
    ),
    "mlp": (mlp.SPEC, ({"decay": 1.0, "steps": 50}, {"decay": 1e-3, "steps": 200})),
    "nearest_centroid": (nearest_centroid.SPEC, ({}, {"shrink": 0.5}, {"shrink": 1.5})),
    "random_forest": (random_forest.SPEC, ({"trees": 20}, {"trees": 20, "depth": 2})),
    "ridge": (
        ridge.SPEC,
        ({"regularisation": 0.01}, {"regularisation": 1e-6}, {"regularisation": 1.0}),
    ),
    "sgd": (sgd.SPEC, ({"penalty": 1e-2}, {"penalty": 1e-4}, {"penalty": 1.0})),
    "svm": (svm.SPEC, ({"slack": 1.0}, {"slack": 0.1}, {"slack": 10.0})),
}
DEFAULT: dict[TargetKind, tuple[str, ...]] = {
    "classes": ("nearest_centroid", "kernel_svm", "logistic", "mlp"),
    "values": ("ridge", "sgd", "mlp"),  # linear by normal equations and by descent; a network
}


def candidates(name: str, embedding: InputSpec, target: Target) -> list[AbstractLearner]:
    """The member with each of its options.

    Raises ``SettingsError`` where there is no such member, or it takes no such targets.
    """
    heads = _built(name, embedding, target) if name in MEMBERS else []
    if not heads:
        taking = [other for other in sorted(MEMBERS) if _built(other, embedding, target)]
        why = f"takes no {target.kind}" if name in MEMBERS else "is no member of an ensemble"
        raise SettingsError(
            f"learner ensemble: members: {name} {why}; members for {target.kind} are "
            f"{', '.join(taking)}."
        )
    return heads


def _built(name: str, embedding: InputSpec, target: Target) -> list[AbstractLearner]:
    """Empty where it takes no such targets."""
    spec, options = MEMBERS[name]
    assert spec.build_head is not None
    heads = [spec.build_head(spec.config(**o), embedding, target) for o in options]
    return [head for head in heads if target.kind in head.traits.targets]
