"""The learner that chooses for the user: its place in the registry."""

from __future__ import annotations

from medmeta.encoders import AbstractEncoder, Parts, beside_hand_made, uses_batch_statistics
from medmeta.episode import InputSpec, Target
from medmeta.errors import UnsupportedTaskError
from medmeta.learner import AbstractLearner
from medmeta.learners._embedding import EmbeddingLearner
from medmeta.learners._spec import LearnerSpec
from medmeta.learners.auto.candidates import LEARNED
from medmeta.learners.auto.head import AutoConfig, AutoHead
from medmeta.learners.standardised import StandardisedValues


def _build(
    settings: AutoConfig, encoder: AbstractEncoder, input_spec: InputSpec, target: Target
) -> AbstractLearner:
    """The choice over an encoder, with hand-made features beside it where the inputs are images."""
    if target.kind == "masks":
        raise UnsupportedTaskError(
            "auto answers embeddings of whole images, not masks.", wanted="masks"
        )
    if settings.hand_made or isinstance(encoder, Parts):
        parts = beside_hand_made(encoder, input_spec)
    else:
        parts = Parts({LEARNED: encoder}, input_spec)
    head: AbstractLearner = AutoHead(settings, parts.sizes, target)
    if target.kind == "values":
        head = StandardisedValues(head)
    return EmbeddingLearner(
        parts, head, input_kind=input_spec.kind, coupled=uses_batch_statistics(parts)
    )


def _build_head(config: AutoConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return AutoHead(config, {LEARNED: embedding.channels}, target)


SPEC = LearnerSpec(
    name="auto",
    family="auto",
    summary="chooses features, preparation and head for each task, by it and by past tasks",
    paper="Feurer et al. 2015, Efficient and Robust Automated Machine Learning (warm start)",
    config=AutoConfig,
    build=_build,
    build_head=_build_head,
)
