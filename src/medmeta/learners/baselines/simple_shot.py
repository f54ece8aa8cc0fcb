"""SimpleShot: nearest centroids of embeddings that are centred and of unit length."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from medmeta.episode import Episode, Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits
from medmeta.learners._class_sums import class_means
from medmeta.learners._spec import LearnerSpec
from medmeta.learners.baselines._features import FeatureConfig, FeatureScaling
from medmeta.learners.metric.prototypical import squared_distances


class SimpleShotConfig(FeatureConfig):
    """Options of SimpleShot.

    ``centre``: what is taken off the embeddings. The mean over the ``base`` tasks that it was
    trained on (of the support, as long as none were seen), the mean of each task's ``support``,
    or ``none``. ``normalise``: whether they are then brought to unit length. Both are the paper's
    CL2N, ``centre=none`` its L2N, and ``centre=none normalise=false`` its UN. ``scale`` of the
    logits says how sure it is, never which class is nearest (None: 10 with unit length, else 1).
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    scale: float | None = Field(None, gt=0)


class SimpleShotHead(AbstractLearner):
    """Logits are minus the squared distance to each class's mean of prepared embeddings.

    Takes embeddings ``(T, S, D)``. Wang, Chao, Weinberger and van der Maaten 2019, equations 1
    to 3. The centroids are means of unit vectors, and themselves shorter, as in the paper.

    >>> import torch
    >>> images = torch.tensor([[[3.0, 0.0], [0.0, 2.0]]])
    >>> support = LabelledSet(images, torch.tensor([[0, 1]]), torch.zeros(1))
    >>> head = SimpleShotHead(SimpleShotConfig(centre="none", scale=1.0), 2)
    >>> head.adapt(support, Target("classes", 2))(torch.tensor([[[5.0, 0.0]]]))
    tensor([[[-0., -2.]]])
    """

    def __init__(self, config: SimpleShotConfig, size: int) -> None:
        super().__init__()
        self.features = FeatureScaling(config, size)
        self.scale = config.scale or (10.0 if config.normalise else 1.0)
        self.traits = Traits(trainable=False, input_kinds=frozenset({"vector"}), one_graph=True)

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Centroids of the prepared support; the predictor compares queries with them."""
        embeddings = any_tensor(support.inputs)
        prepared = self.features.fitted(embeddings)
        centroids = class_means(prepared(embeddings), support.labels, target.size)

        def predict(inputs: Inputs) -> Tensor:
            return -self.scale * squared_distances(prepared(any_tensor(inputs)), centroids)

        return predict

    def loss(self, episode: Episode) -> Tensor:
        """Cross-entropy; in training the base mean is kept up too."""
        if self.training:
            self.features.observe(episode)
        return super().loss(episode)


def _build_head(config: SimpleShotConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return SimpleShotHead(config, embedding.channels)


SPEC = LearnerSpec.of_head(
    name="simple_shot",
    family="baselines",
    summary="nearest centroids of embeddings that are centred and of unit length",
    paper="Wang, Chao, Weinberger and van der Maaten 2019, SimpleShot",
    config=SimpleShotConfig,
    build_head=_build_head,
)
