"""Matching Networks: a query takes its label from the support images it resembles."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec

FLOOR = -1e4  # log of the attention to each image that is not of a class


class MatchingConfig(HeadConfig):
    """Options of Matching Networks.

    ``scale``: the factor on the cosine similarities within the attention's softmax; the paper has
    none (1), with which an answer is never sure. ``learn_scale``: it only starts there.
    ``full_context``: embeddings see the whole support (the paper's fully conditional embeddings;
    then the order of the support matters); ``processing_steps`` is its K, how often a query reads
    the support.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    scale: float = Field(10.0, gt=0)
    learn_scale: bool = True
    full_context: bool = False
    processing_steps: int = Field(5, ge=1, le=100)


class FullContext(nn.Module):
    """Embeddings that see the support: Vinyals et al. 2016, appendices A.1 and A.2.

    Two LSTMs of the embedding's own ``size``; a query starts from its plain embedding.
    """

    def __init__(self, size: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.over_support = nn.LSTM(size, size, batch_first=True, bidirectional=True)
        self.reading = nn.LSTMCell(2 * size, size)

    def of_support(self, embeddings: Tensor) -> Tensor:
        """g: ``(T, S, D)`` in the order given to the same shape (A.2)."""
        context, _ = self.over_support(embeddings)
        forward, backward = context.chunk(2, dim=-1)
        seen: Tensor = forward + backward + embeddings
        return seen

    def of_queries(self, embeddings: Tensor, support: Tensor) -> Tensor:
        """f: ``(T, Q, D)``, each reading the support ``(T, S, D)`` K times (A.1, equations 3-6)."""
        plain = embeddings.flatten(0, 1)
        hidden, cell = plain, torch.zeros_like(plain)
        for _ in range(self.steps):
            asked = hidden.view_as(embeddings)
            read = torch.softmax(asked @ support.mT, dim=-1) @ support
            seen = torch.cat([plain, read.flatten(0, 1)], dim=-1)
            hidden, cell = self.reading(seen, (hidden, cell))
            hidden = hidden + plain
        return hidden.view_as(embeddings)


class MatchingHead(AbstractLearner):
    """Logits are the logarithm of the attention that each class's support images get.

    Takes embeddings ``(T, S, D)``. Attention is a softmax over the support of cosine similarities;
    a class's probability is the sum over its images, so classes may differ in number, and a larger
    one is likelier. Vinyals et al. 2016, equation 1 and section 2.1.1.

    >>> support = LabelledSet(torch.eye(2)[None], torch.tensor([[0, 1]]), torch.zeros(1))
    >>> head = MatchingHead(MatchingConfig(scale=1.0, learn_scale=False), 2)
    >>> head.adapt(support, Target("classes", 2))(torch.tensor([[[5.0, 0.0]]])).exp()
    tensor([[[0.7311, 0.2689]]])
    """

    def __init__(self, config: MatchingConfig, size: int) -> None:
        super().__init__()
        log_scale = torch.tensor(math.log(config.scale))
        self.log_scale = nn.Parameter(log_scale, requires_grad=config.learn_scale)
        self.context = FullContext(size, config.processing_steps) if config.full_context else None
        self.traits = Traits(
            trainable=config.learn_scale or config.full_context,
            order_free=not config.full_context,
            input_kinds=frozenset({"vector"}),
        )

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Keep the embedded support; the predictor attends to it."""
        images = at_least_single(any_tensor(support.inputs))
        context = self.context
        if context is not None:
            images = context.of_support(images)
        directions = F.normalize(images, dim=-1)

        def predict(inputs: Inputs) -> Tensor:
            queries = at_least_single(any_tensor(inputs))
            if context is not None:
                queries = context.of_queries(queries, images)
            cosine = F.normalize(queries, dim=-1) @ directions.mT
            return class_log_attention(cosine * self.log_scale.exp(), support.labels, target.size)

        return predict


def class_log_attention(similarities: Tensor, labels: Tensor, n_way: int) -> Tensor:
    """Log of the softmax over ``(T, Q, S)``, summed over each class's images: ``(T, Q, n_way)``.

    Summed as logarithms, so that a class which gets next to nothing still has a gradient; one
    without images has about ``FLOOR``.

    >>> class_log_attention(torch.zeros(1, 1, 4), torch.tensor([[0, 0, 0, 1]]), 2).exp()
    tensor([[[0.7500, 0.2500]]])
    """
    attention = similarities.log_softmax(dim=-1)[:, :, None]
    members = F.one_hot(labels, n_way).mT.bool()[:, None]
    return attention.where(members, attention.new_tensor(FLOOR)).logsumexp(dim=-1)


def _build_head(config: MatchingConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return MatchingHead(config, embedding.channels)


SPEC = LearnerSpec.of_head(
    name="matching",
    family="metric",
    summary="a query takes its label from the support images it resembles",
    paper="Vinyals et al. 2016, Matching Networks for One Shot Learning",
    config=MatchingConfig,
    build_head=_build_head,
)
