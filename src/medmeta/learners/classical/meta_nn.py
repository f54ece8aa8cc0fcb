"""A small network on embeddings that starts where source tasks say."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import InputSpec, Target, TargetKind
from medmeta.learner import AbstractLearner
from medmeta.learners._inner_loop import Weights
from medmeta.learners._spec import LearnerSpec
from medmeta.learners.classical._descending import DescendingHead, DescentHeadConfig


class MetaNNConfig(DescentHeadConfig):
    """Options of Meta-NN.

    ``hidden``: units of the hidden layer. ``rate``: where the step sizes start, on embeddings of
    mean square length 1 (None: 2 for classes, 0.3 for values); each step learns its own for each
    tensor of weights. ``steps`` at most; after which of them to stop is learned.
    """

    hidden: int = Field(64, ge=1, le=10_000)


class MetaNNHead(DescendingHead):
    """One hidden layer of tanh units; where it starts is learned across tasks.

    All layers are adapted. Finn, Abbeel and Levine 2017, on embeddings. The output layer starts at
    zero, so that any number of classes can be told apart and their names do not matter: one start
    that all classes share would shift their logits alike, and change nothing.
    """

    def __init__(self, config: MetaNNConfig, size: int, kind: TargetKind) -> None:
        super().__init__(config, kind, ["hidden", "hidden_constant", "output", "constant"])
        # On embeddings of length 1 and divided by the root of H, all steps have one size.
        self.hidden = nn.Parameter(torch.randn(size, config.hidden))
        self.hidden_constant = nn.Parameter(torch.zeros(config.hidden))

    def start(self, embeddings: Tensor, size: int) -> Weights:
        """The learned hidden layer ``(D, H)``; zeros ``(H, size)``."""
        zeros = embeddings.new_zeros(len(self.hidden_constant) + 1, size)
        return {
            "hidden": self.hidden,
            "hidden_constant": self.hidden_constant,
            "output": zeros[1:],
            "constant": zeros[0],
        }

    def outputs(self, weights: Weights, embeddings: Tensor) -> Tensor:
        """``tanh(x V + a) W / √H + b``."""
        hidden = embeddings @ weights["hidden"] + weights["hidden_constant"].unsqueeze(-2)
        share = hidden.tanh() / hidden.shape[-1] ** 0.5
        outputs: Tensor = share @ weights["output"] + weights["constant"].unsqueeze(-2)
        return outputs


def _build_head(config: MetaNNConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return MetaNNHead(config, embedding.channels, target.kind)


SPEC = LearnerSpec.of_head(
    name="meta_nn",
    family="classical",
    summary="a small network on embeddings, its start, step sizes and last step learned",
    paper="Finn, Abbeel and Levine 2017, Model-Agnostic Meta-Learning, on embeddings",
    config=MetaNNConfig,
    build_head=_build_head,
)
