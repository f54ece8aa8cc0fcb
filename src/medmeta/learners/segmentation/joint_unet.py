"""Two ways of learning to mark, asked together: one that looks at the support, one that trains."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from medmeta.encoders import AbstractEncoder
from medmeta.episode import Episode, InputSpec, LabelledSet, Predictor, Target
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits, check_target
from medmeta.learners._mixture import mixture
from medmeta.learners._spec import LearnerSpec
from medmeta.learners.segmentation._parts import MASKS
from medmeta.learners.segmentation.conditioned_unet import ConditionedUNet, ConditionedUNetConfig
from medmeta.learners.segmentation.ridge_unet import RidgeUNet, RidgeUNetConfig, filters_for


class JointUNetConfig(RidgeUNetConfig):
    """Options of the two together: those of ``ridge_unet``, and the conditioned U-Net's.

    ``conditioned_width`` and ``conditioned_levels`` are the latter's ``width`` and ``levels``; the
    regressions of both have the same ``random_features`` and ``penalty``.
    """

    training_defaults = TrainingDefaults(learning_rate=2e-3, tasks_per_step=4)
    conditioned_width: int = Field(16, ge=4, le=256)
    conditioned_levels: int = Field(4, ge=1, le=6)


class JointUNet(AbstractLearner):
    """The mean of what a conditioned U-Net and a U-Net trained on the support say.

    The one is right about structures like those it was trained on and takes no step; the other
    fits what no training structure was like. Their mistakes are not the same, so that the mean of
    their probabilities is better than either (Lakshminarayanan, Pritzel and Blundell 2017, equation
    for the mixture, of unlike members). Across tasks each learns by its own loss.
    """

    def __init__(self, conditioned: ConditionedUNet, ridge: RidgeUNet) -> None:
        super().__init__()
        self.conditioned, self.ridge = conditioned, ridge
        self.traits = Traits(
            order_free=ridge.traits.order_free,
            label_equivariant=False,
            differentiable=False,
            targets=MASKS,
            input_kinds=conditioned.traits.input_kinds,
        )

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Adapt both; the predictor holds theirs."""
        members = [one.adapt(support, target) for one in (self.conditioned, self.ridge)]
        return lambda inputs: mixture([member(inputs) for member in members], dim=2)

    def loss(self, episode: Episode) -> Tensor:
        """``(T,)``: the sum of the two learners' own."""
        return self.conditioned.loss(episode) + self.ridge.loss(episode)


def _build(
    config: JointUNetConfig, encoder: AbstractEncoder, input_spec: InputSpec, target: Target
) -> JointUNet:
    check_target("joint_unet", MASKS, target)
    own = ConditionedUNetConfig(
        width=config.conditioned_width, levels=config.conditioned_levels, focal=config.focal,
        random_features=config.random_features, penalty=config.penalty,
    )  # fmt: skip
    conditioned = ConditionedUNet(filters_for(input_spec), own, input_spec)
    return JointUNet(
        conditioned,
        RidgeUNet(encoder, filters_for(input_spec), config, input_kind=input_spec.kind),
    )


SPEC = LearnerSpec(
    name="joint_unet",
    family="segmentation",
    summary="a conditioned U-Net and a U-Net trained on the support, and the mean of their answers",
    paper="Butoi et al. 2023, UniverSeg; Bertinetto et al. 2019, R2-D2; Lakshminarayanan, Pritzel "
    "and Blundell 2017, Deep Ensembles",
    config=JointUNetConfig,
    build=_build,
    default_norm="group",
)
