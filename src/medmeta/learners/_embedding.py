"""Embedding learners: an encoder, and a head that is itself a learner over embeddings."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, cat

from medmeta.encoders import AbstractEncoder, channels_innermost
from medmeta.episode import (
    Episode,
    Inputs,
    LabelledSet,
    Predictor,
    Target,
    any_tensor,
    joined_inputs,
    map_inputs,
)
from medmeta.learner import AbstractLearner, HeadedLearner, Settled, check_task_fits
from medmeta.spans import span


class EmbeddingLearner(HeadedLearner):
    """Embeds support and query with one encoder and leaves the task to the head.

    ``encoder`` maps ``(N, C, *space)`` to ``(N, D)``; ``head`` takes ``(T, S, D)``.
    ``input_kind`` is the kind of input that the encoder takes; ``coupled`` says that the encoder
    normalises by the batch at hand, so that images help each other.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        head: AbstractLearner,
        *,
        input_kind: str = "image",
        coupled: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.coupled = coupled
        encoder_learns = any(p.requires_grad for p in encoder.parameters())
        self.traits = replace(
            head.traits,
            has_head=True,
            trainable=head.traits.trainable or (encoder_learns and head.traits.differentiable),
            transductive=head.traits.transductive or coupled,
            input_kinds=frozenset({input_kind}),
        )

    def encode(self, inputs: Inputs) -> Tensor:
        """Inputs ``(T, S, ...)`` to embeddings ``(T, S, D)``."""
        n_tasks = len(any_tensor(inputs))
        if self.coupled and n_tasks > 1:  # tasks must not help each other
            return cat([self.encode(_task(inputs, t)) for t in range(n_tasks)])
        lead = any_tensor(inputs).shape[:2]
        flat = map_inputs(lambda x: channels_innermost(x.flatten(0, 1)), inputs)
        with span("encode"):
            embeddings: Tensor = self.encoder(flat)
        return embeddings.reshape(*lead, -1)

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Adapt the head to the embedded support."""
        check_task_fits(self, target, support)
        embedded = support.with_inputs(self.encode(support.inputs))
        head_predictor = self.head.adapt(embedded, target)
        return lambda inputs: head_predictor(self.encode(inputs))

    def settled(
        self, support: LabelledSet, target: Target, *, seconds: float | None = None
    ) -> Settled:
        """The head's choices, made on the embedded support."""
        if not self.head.traits.chooses:
            return Settled(self)
        embedded = support.with_inputs(self.encode(support.inputs))
        found = self.head.settled(embedded, target, seconds=seconds)
        settled = Settled(self) if found.learner is self.head else found.within(self._with_head)
        return replace(settled, support_embeddings=any_tensor(embedded.inputs))

    def _with_head(self, head: AbstractLearner) -> AbstractLearner:
        (kind,) = self.traits.input_kinds
        learner = EmbeddingLearner(self.encoder, head, input_kind=kind, coupled=self.coupled)
        learner.traits = replace(learner.traits, name=self.traits.name)
        return learner.train(self.training)

    def loss(self, episode: Episode) -> Tensor:
        """The head's loss on embeddings, support and query encoded in one pass.

        (In two where the encoder normalises by the batch at hand, as when it predicts.)
        """
        support, query = episode.support, episode.query
        if self.coupled:
            examples, queries = self.encode(support.inputs), self.encode(query.inputs)
        else:
            together = self.encode(joined_inputs(support.inputs, query.inputs))
            examples, queries = together[:, : support.n_examples], together[:, support.n_examples :]
        embedded = Episode(
            support.with_inputs(examples), query.with_inputs(queries), episode.target
        )
        return self.head.loss(embedded)


def _task(inputs: Inputs, t: int) -> Inputs:
    return map_inputs(lambda x: x[t : t + 1], inputs)
