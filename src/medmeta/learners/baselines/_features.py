"""Embeddings centred and brought to unit length before they are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmeta.episode import Episode, Inputs, any_tensor
from medmeta.errors import SettingsError
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig

Centre = Literal["base", "support", "none"]
Transform = Callable[[Tensor], Tensor]
SLOWEST = 0.01  # weight of one batch in the mean, once a hundred were seen


class FeatureConfig(HeadConfig):
    """Options of how embeddings are prepared.

    ``centre``: what is taken off them. The mean over the ``base`` tasks that the head was trained
    on (of the support, as long as none were seen), the mean of each task's ``support``, or
    ``none``. ``normalise``: whether they are then brought to unit length.
    """

    centre: Centre = "base"
    normalise: bool = True


class FeatureScaling(nn.Module):
    """Centring and unit length: the UN, L2N and CL2N of Wang et al. 2019, section 3.

    ``base_mean`` ``(D,)`` is the mean embedding of the base classes: kept up by ``observe`` while
    training, or set by ``set_base_mean``; it is saved with the weights.
    """

    base_mean: Tensor
    n_seen: Tensor

    def __init__(self, config: FeatureConfig, size: int) -> None:
        super().__init__()
        self.centre: Centre = config.centre
        self.normalise = config.normalise
        if config.centre == "base":
            self.register_buffer("base_mean", torch.zeros(size))
            self.register_buffer("n_seen", torch.zeros((), dtype=torch.int64))

    def fitted(self, support: Tensor) -> Transform:
        """What prepares the embeddings of the tasks with this support ``(T, S, D)``."""
        centre = self._centre(at_least_single(support))

        def prepared(embeddings: Tensor) -> Tensor:
            centred = at_least_single(embeddings) - centre
            return F.normalize(centred, dim=-1) if self.normalise else centred

        return prepared

    @torch.no_grad()
    def observe(self, episode: Episode) -> None:
        """Take a training batch's embeddings into the base mean.

        All batches weigh the same at first; later the newest more, since the encoder changes.
        """
        if self.centre != "base":
            return
        embeddings = at_least_single(_all_of(episode))
        self.n_seen += 1
        weight = (1 / self.n_seen.to(self.base_mean.dtype)).clamp(min=SLOWEST)
        newest = embeddings.to(self.base_mean.dtype).flatten(0, 1).mean(0)
        self.base_mean += weight * (newest - self.base_mean)

    @torch.no_grad()
    def set_base_mean(self, embeddings: Tensor) -> None:
        """Centre on the mean of these embeddings ``(n, D)`` of the base classes.

        Raises ``SettingsError`` where the options say to centre otherwise.
        """
        if self.centre != "base":
            raise SettingsError(
                f"this head has centre={self.centre}, so a base mean would change nothing; build "
                "it with centre=base."
            )
        self.base_mean.copy_(embeddings.mean(0))
        self.n_seen.fill_(1)

    def _centre(self, support: Tensor) -> Tensor:
        if self.centre == "none":
            return support.new_zeros(())
        of_support = support.mean(1, keepdim=True)
        if self.centre == "support":
            return of_support
        return torch.where(self.n_seen > 0, self.base_mean.to(support.dtype), of_support)


def _all_of(episode: Episode) -> Tensor:
    inputs: list[Inputs] = [episode.support.inputs, episode.query.inputs]
    return torch.cat([any_tensor(part) for part in inputs], dim=1)
