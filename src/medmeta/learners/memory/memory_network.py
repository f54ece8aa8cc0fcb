"""End-to-end memory networks: a query reads the support in several hops before it is answered."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits
from medmeta.learners._class_sums import class_means
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec

Tying = Literal["adjacent", "layer_wise"]


class MemoryNetworkConfig(HeadConfig):
    """Options of end-to-end memory networks.

    ``hops``: how often a query reads the support. ``tying``: ``adjacent``, the values of one hop
    are the keys of the next (and the query is embedded as the first keys are, the classes as the
    last values), or ``layer_wise``, all hops share one map for keys and one for values, and a
    learned map H stands between hops. ``memory_size``: numbers in a key and in a value.
    ``scale``: where the factor on the products of embeddings of length 1 starts; it is learned.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    hops: int = Field(3, ge=1, le=20)
    tying: Tying = "adjacent"
    memory_size: int = Field(64, ge=1, le=4096)
    scale: float = Field(10.0, gt=0)


class MemoryNetworkHead(AbstractLearner):
    """Reads the support ``hops`` times, each time asking with what it has read so far.

    Takes embeddings ``(T, S, D)`` of ``size`` D. A memory's value is the image's, with its label
    as one-hot beside it; so the state of a query has a part u, as in the paper, and a part v that
    counts how much of each class was read: ``p = softmax(u·key + pull · v[label])``, then
    ``u ← H u + Σ p value`` and ``v ← v + Σ p one_hot``. Logits are u times the mean of each class
    under W, plus v times a learned weight. Sukhbaatar et al. 2015, equations 1 to 4 and section
    2.2, with a ``W`` that is made from the support, since classes are new in each task.

    >>> head = MemoryNetworkHead(MemoryNetworkConfig(hops=1, memory_size=2, scale=1.0), 2)
    >>> for embedding in head.maps:
    ...     _ = torch.nn.init.eye_(embedding)
    >>> support = LabelledSet(torch.eye(2)[None], torch.tensor([[0, 1]]), torch.zeros(1))
    >>> head.adapt(support, Target("classes", 2))(torch.tensor([[[5.0, 0.0]]])).detach()
    tensor([[[2.4621, 0.5379]]])
    """

    def __init__(self, config: MemoryNetworkConfig, size: int) -> None:
        super().__init__()
        self.hops, self.tying, d = config.hops, config.tying, config.memory_size
        # From one start, products are those of the embeddings and a query finds its like.
        start = nn.init.orthogonal_(torch.empty(d, size), gain=max(1.0, size / d) ** 0.5)
        n_maps = config.hops + 1 if config.tying == "adjacent" else 4
        self.maps = nn.ParameterList(start.clone() for _ in range(n_maps))
        self.between = nn.Parameter(torch.eye(d)) if config.tying == "layer_wise" else None
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale)))
        self.label_pull = nn.Parameter(torch.zeros(()))
        self.label_weight = nn.Parameter(torch.ones(()))
        self.traits = Traits(input_kinds=frozenset({"vector"}))

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Store the support's keys and values for every hop; the predictor reads them."""
        question, keys_by, values_by, answer = self._maps_of_hops()
        images = self._scaled(support.inputs)
        keys, values = ([images @ m.mT for m in maps] for maps in (keys_by, values_by))
        labels = F.one_hot(support.labels, target.size).to(images.dtype)
        classes = class_means(images @ answer.mT, support.labels, target.size)

        def predict(inputs: Inputs) -> Tensor:
            state = self._scaled(inputs) @ question.mT
            seen = state.new_zeros(*state.shape[:2], target.size)
            for key, value in zip(keys, values, strict=True):
                attention = read_weights(state, key, self.label_pull * seen, labels)
                carried = state if self.between is None else state @ self.between.mT
                state, seen = carried + attention @ value, seen + attention @ labels
            return state @ classes.mT + self.label_weight * seen

        return predict

    def _maps_of_hops(self) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
        """B; A and C of each hop; W: each ``(memory_size, D)``."""
        maps = list(self.maps)
        if self.tying == "adjacent":
            return maps[0], maps[:-1], maps[1:], maps[-1]
        question, key, value, answer = maps
        return question, [key] * self.hops, [value] * self.hops, answer

    def _scaled(self, inputs: Inputs) -> Tensor:
        """Embeddings of one length, so that the product of a pair is at most the scale."""
        directions = F.normalize(at_least_single(any_tensor(inputs)), dim=-1)
        return directions * (self.log_scale / 2).exp()


def read_weights(state: Tensor, keys: Tensor, pull: Tensor, labels: Tensor) -> Tensor:
    """Attention ``(T, Q, S)`` of queries over memories, which sums to 1.

    ``state`` ``(T, Q, d)``, ``keys`` ``(T, S, d)``, ``pull`` towards each class ``(T, Q, N)``,
    one-hot ``labels`` ``(T, S, N)``. Sukhbaatar et al. 2015, equation 1.
    """
    return (state @ keys.mT + pull @ labels.mT).softmax(dim=-1)


def _build_head(
    config: MemoryNetworkConfig, embedding: InputSpec, target: Target
) -> AbstractLearner:
    return MemoryNetworkHead(config, embedding.channels)


SPEC = LearnerSpec.of_head(
    name="memory_network",
    family="memory",
    summary="a query reads the support in several hops, asking each time with what it has read",
    paper="Sukhbaatar, Szlam, Weston and Fergus 2015, End-To-End Memory Networks",
    config=MemoryNetworkConfig,
    build_head=_build_head,
)
