"""A random forest on pixels, as interactive segmentation tools have it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medmeta.encoders import AbstractEncoder
from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, Traits, check_target, check_task_fits
from medmeta.learners._spec import EncodedConfig, LearnerSpec
from medmeta.learners.segmentation._parts import MASKS, pixel_encoder

FLOOR = 1e-3


class PixelForestConfig(EncodedConfig):
    """Options of the random forest on pixels.

    ``trees``: how many; ``leaf``: least number of pixels in one; ``pixels``: how many of each class
    are drawn from the support, at most.
    """

    trees: int = Field(50, ge=1, le=10_000)
    leaf: int = Field(2, ge=1, le=1000)
    pixels: int = Field(2000, ge=10, le=1_000_000)


class PixelForest(AbstractLearner):
    """Trees on features of single pixels (Breiman 2001; ilastik, Berg et al. 2019).

    Pixels are drawn by each task's id, and classes weigh by the root of their share.
    """

    def __init__(
        self, encoder: AbstractEncoder, config: PixelForestConfig, *, input_kind: str = "image"
    ) -> None:
        super().__init__()
        self.encoder = pixel_encoder(encoder)
        self.config = config
        self.traits = Traits(
            trainable=False,
            order_free=False,
            label_equivariant=False,
            differentiable=False,
            targets=MASKS,
            input_kinds=frozenset({input_kind}),
        )

    @torch.no_grad()
    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Grow a forest for each task."""
        check_task_fits(self, target, support)
        features = self._features(any_tensor(support.inputs))
        forests = [
            self._grown(one, labels, int(task_id))
            for one, labels, task_id in zip(
                features, support.labels, support.task_ids.tolist(), strict=True
            )
        ]

        @torch.no_grad()
        def predict(inputs: Inputs) -> Tensor:
            asked = self._features(any_tensor(inputs))
            logits = [_logits(f, one, target.size) for f, one in zip(forests, asked, strict=True)]
            return torch.stack(logits).to(any_tensor(inputs))

        return predict

    def _features(self, images: Tensor) -> Tensor:
        found = self.encoder.dense(images.flatten(0, 1))
        return found.reshape(*images.shape[:2], *found.shape[1:])

    def _grown(self, features: Tensor, labels: Tensor, seed: int) -> Any:
        """A forest, or the one class there is."""
        from sklearn.ensemble import RandomForestClassifier

        flat = features.flatten(2).transpose(1, 2).flatten(0, 1).cpu().numpy()
        wanted = labels.flatten().cpu().numpy()
        random = np.random.Generator(np.random.Philox(key=[seed % 2**63, 3]))
        rows, weights = [], []
        known = int((wanted >= 0).sum())
        for value in np.unique(wanted[wanted >= 0]):
            own = np.flatnonzero(wanted == value)
            drawn = random.permutation(own)[: self.config.pixels]
            rows.append(drawn)
            weights.append(np.full(len(drawn), np.sqrt(len(own) / known) / len(drawn)))
        if len(rows) < 2:
            return int(wanted[rows[0][0]]) if rows else 0
        forest = RandomForestClassifier(
            n_estimators=self.config.trees, min_samples_leaf=self.config.leaf, n_jobs=1,
            random_state=seed % 2**32,
        )  # fmt: skip
        chosen, weight = np.concatenate(rows), np.concatenate(weights)
        return forest.fit(flat[chosen], wanted[chosen], sample_weight=weight / weight.mean())


def _logits(forest: Any, features: Tensor, size: int) -> Tensor:
    """Logarithms of a forest's probabilities, ``(Q, size, *space)``."""
    n, _, *space = features.shape
    flat = features.flatten(2).transpose(1, 2).flatten(0, 1).cpu().numpy()
    shares = np.zeros((len(flat), size))
    if isinstance(forest, int):
        shares[:, forest] = 1
    else:
        shares[:, forest.classes_] = forest.predict_proba(flat)
    logits = torch.from_numpy(np.log(np.maximum(shares, FLOOR))).float()
    return logits.reshape(n, -1, size).transpose(1, 2).reshape(n, size, *space)


def _build(
    config: PixelForestConfig, encoder: AbstractEncoder, input_spec: InputSpec, target: Target
) -> PixelForest:
    check_target("pixel_forest", MASKS, target)
    return PixelForest(encoder, config, input_kind=input_spec.kind)


SPEC = LearnerSpec(
    name="pixel_forest",
    family="segmentation",
    summary="a random forest on the pixels of the support, by filters or an encoder",
    paper="Berg et al. 2019, ilastik: interactive machine learning for (bio)image analysis",
    config=PixelForestConfig,
    build=_build,
    default_norm="group",
    dense_encoder="filters",
)
