"""Ridge regression on pixels: what a linear look at filters, or at a trained encoder, can do."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from medmeta.encoders import AbstractEncoder
from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits, check_target, check_task_fits
from medmeta.learners._spec import EncodedConfig, LearnerSpec
from medmeta.learners.segmentation._parts import MASKS, pixel_encoder
from medmeta.learners.segmentation._pixels import SCALE, fit_ridge, random_weights


class PixelRidgeConfig(EncodedConfig):
    """Options of ridge regression on pixels.

    ``penalty`` is relative to the features' mean square; ``random_features``: rectified random sums
    of the features that are regressed on too (0: a plain ridge regression).
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3, tasks_per_step=4)
    penalty: float = Field(1e-3, gt=0)
    random_features: int = Field(48, ge=0, le=1000)


class PixelRidge(AbstractLearner):
    """One-hot masks regressed on features of the support's pixels, in closed form.

    The features are the encoder's, and random ones made of them (Rahimi and Recht 2008). With an
    encoder that can be trained it is the head of R2-D2 (Bertinetto et al. 2019) for each pixel.
    """

    def __init__(
        self, encoder: AbstractEncoder, config: PixelRidgeConfig, *, input_kind: str = "image"
    ) -> None:
        super().__init__()
        self.encoder = pixel_encoder(encoder)
        self.config = config
        hidden = random_weights(self.encoder.dense_size, config.random_features, seed=0)
        self.register_buffer("hidden", hidden)
        self.traits = Traits(
            trainable=any(p.requires_grad for p in encoder.parameters()),
            targets=MASKS,
            input_kinds=frozenset({input_kind}),
        )

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Fit each task; the predictor holds the weights of its features."""
        check_task_fits(self, target, support)
        fitted = fit_ridge(
            self._features(any_tensor(support.inputs)), support.labels, target.size, self.hidden,
            penalty=self.config.penalty,
        )  # fmt: skip

        def predict(inputs: Inputs) -> Tensor:
            return SCALE * fitted.scores(self._features(any_tensor(inputs)))

        return predict

    hidden: Tensor

    def _features(self, images: Tensor) -> Tensor:
        found = self.encoder.dense(images.flatten(0, 1))
        return found.reshape(*images.shape[:2], *found.shape[1:])


def _build(
    config: PixelRidgeConfig, encoder: AbstractEncoder, input_spec: InputSpec, target: Target
) -> PixelRidge:
    check_target("pixel_ridge", MASKS, target)
    return PixelRidge(encoder, config, input_kind=input_spec.kind)


SPEC = LearnerSpec(
    name="pixel_ridge",
    family="segmentation",
    summary="ridge regression on the pixels of the support, by filters or an encoder",
    paper="Bertinetto et al. 2019, Meta-learning with Differentiable Closed-form Solvers",
    config=PixelRidgeConfig,
    build=_build,
    default_norm="group",
    dense_encoder="filters",
)
