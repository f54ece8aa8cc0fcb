"""The registry of learners: all that can be named.

A learner is added by one file and one name here.
"""

from __future__ import annotations

from medmeta.errors import UnknownNameError
from medmeta.learners._spec import LearnerSpec
from medmeta.learners.auto import automatic
from medmeta.learners.baselines import (
    baseline,
    baseline_plus_plus,
    fine_tuning,
    linear_probe,
    simple_shot,
)
from medmeta.learners.classical import (
    ensemble,
    gradient_boosting,
    kernel_svm,
    meta_gd,
    meta_nn,
    meta_rf,
    meta_svm,
    mlp,
    nearest_centroid,
    random_forest,
    sgd,
)
from medmeta.learners.gradient import anil, leo, maml, meta_sgd, reptile
from medmeta.learners.heads import logistic, ridge, svm
from medmeta.learners.memory import mann, memory_network, meta_memory
from medmeta.learners.metric import matching, prototypical, relation, siamese
from medmeta.learners.optimiser import lstm, meta_networks, metal
from medmeta.learners.segmentation import (
    conditioned_unet,
    joint_unet,
    pixel_forest,
    pixel_ridge,
    prototype_masks,
    ridge_unet,
    tuned_unet,
)
from medmeta.learners.transductive import bd_cspn, laplacian_shot, pt_map, tim

LEARNERS: dict[str, LearnerSpec] = {
    spec.name: spec
    for spec in (
        automatic.SPEC,
        anil.SPEC,
        leo.SPEC,
        maml.SPEC,
        meta_sgd.SPEC,
        reptile.SPEC,
        mann.SPEC,
        memory_network.SPEC,
        meta_memory.SPEC,
        matching.SPEC,
        prototypical.SPEC,
        relation.SPEC,
        siamese.SPEC,
        lstm.SPEC,
        meta_networks.SPEC,
        metal.SPEC,
        logistic.SPEC,
        ridge.SPEC,
        svm.SPEC,
        baseline.SPEC,
        baseline_plus_plus.SPEC,
        fine_tuning.SPEC,
        linear_probe.SPEC,
        simple_shot.SPEC,
        bd_cspn.SPEC,
        laplacian_shot.SPEC,
        pt_map.SPEC,
        tim.SPEC,
        ensemble.SPEC,
        gradient_boosting.SPEC,
        kernel_svm.SPEC,
        meta_gd.SPEC,
        meta_nn.SPEC,
        meta_rf.SPEC,
        meta_svm.SPEC,
        mlp.SPEC,
        nearest_centroid.SPEC,
        random_forest.SPEC,
        sgd.SPEC,
        conditioned_unet.SPEC,
        joint_unet.SPEC,
        pixel_forest.SPEC,
        pixel_ridge.SPEC,
        prototype_masks.SPEC,
        ridge_unet.SPEC,
        tuned_unet.SPEC,
    )
}


def learner_spec(name: str) -> LearnerSpec:
    """The registered learner of this name; raises ``UnknownNameError`` with the nearest names."""
    if name not in LEARNERS:
        raise UnknownNameError("learner", name, LEARNERS)
    return LEARNERS[name]
