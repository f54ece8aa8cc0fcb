"""A linear probe: logistic regression on embeddings, whose penalty goes by the number of shots."""

from __future__ import annotations

from typing import TypeVar

from pydantic import Field
from torch import Tensor

from medmeta.episode import Episode, Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits
from medmeta.learners._class_sums import memberships
from medmeta.learners._spec import LearnerSpec
from medmeta.learners.baselines._features import FeatureConfig, FeatureScaling
from medmeta.learners.heads.logistic import logistic_weights, mean_length
from medmeta.learners.heads.ridge import with_constant

Shots = TypeVar("Shots", float, Tensor)


class LinearProbeConfig(FeatureConfig):
    """Options of the linear probe.

    ``regularisation``: the penalty λ at one shot; with K images per class (their mean, where
    classes differ) it is λ / K. ``steps``: most Newton steps within a task. ``centre`` and
    ``normalise`` prepare the embeddings, as of SimpleShot.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    regularisation: float = Field(0.1, gt=0)
    steps: int = Field(30, ge=1, le=100)


class LinearProbeHead(AbstractLearner):
    """Multinomial logistic regression on prepared embeddings ``(T, S, D)``.

    Minimises ``Σ CE + λ / (2 K) ‖W‖²`` over the S images, on embeddings of a mean square length
    of 1. With one image per class a strong penalty costs nothing, for any λ points between the
    images; with many, a weak one lets directions be weighed by how far they vary. Nothing is
    learned across tasks: on unit vectors it is the classifier of Tian et al. 2020 (RFS).
    """

    def __init__(self, config: LinearProbeConfig, size: int) -> None:
        super().__init__()
        self.config = config
        self.features = FeatureScaling(config, size)
        self.traits = Traits(trainable=False, input_kinds=frozenset({"vector"}), one_graph=True)

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Solve the task; the predictor is linear in the prepared embedding."""
        embeddings = any_tensor(support.inputs)
        prepared = self.features.fitted(embeddings)
        known = prepared(embeddings)
        length = mean_length(known)
        design = with_constant(known / length)
        wanted = memberships(support.labels, target.size).to(design.dtype)
        shots = known.new_ones(()) * known.shape[1] / target.size
        strength = penalty(self.config.regularisation, shots)
        weights = logistic_weights(design, wanted, strength, steps=self.config.steps)

        def predict(inputs: Inputs) -> Tensor:
            return with_constant(prepared(any_tensor(inputs)) / length) @ weights

        return predict

    def loss(self, episode: Episode) -> Tensor:
        """Cross-entropy; in training the base mean is kept up too."""
        if self.training:
            self.features.observe(episode)
        return super().loss(episode)


def penalty(at_one_shot: float, shots: Shots) -> Shots:
    """The penalty λ for a number of images per class.

    >>> penalty(0.1, 1), penalty(0.1, 5)
    (0.1, 0.02)
    """
    return at_one_shot / shots


def _build_head(config: LinearProbeConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return LinearProbeHead(config, embedding.channels)


SPEC = LearnerSpec.of_head(
    name="linear_probe",
    family="baselines",
    summary="logistic regression whose penalty goes by the number of shots",
    paper="Tian et al. 2020, Rethinking Few-Shot Image Classification: a Good Embedding Is All "
    "You Need?",
    config=LinearProbeConfig,
    build_head=_build_head,
)
