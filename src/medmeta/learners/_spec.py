"""What the registry holds of each learner: its name, its paper, its options, how to build it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medmeta.encoders import AbstractEncoder, EncoderConfig, Norm, uses_batch_statistics
from medmeta.episode import InputSpec, Target
from medmeta.errors import UnsupportedTaskError
from medmeta.learner import AbstractLearner, LearnerConfig
from medmeta.learners._embedding import EmbeddingLearner
from medmeta.learners.standardised import StandardisedValues


class EncodedConfig(LearnerConfig):
    """Options of a learner that has an encoder."""

    encoder: EncoderConfig = EncoderConfig()


class HeadConfig(EncodedConfig):
    """Options of a head over embeddings, and of the encoder it is used with."""


BuildLearner = Callable[[Any, AbstractEncoder, InputSpec, Target], AbstractLearner]
BuildHead = Callable[[Any, InputSpec, Target], AbstractLearner]


@dataclass(frozen=True)
class LearnerSpec:
    """A registered learner.

    ``build(config, encoder, input_spec, target)`` makes it from a ready encoder;
    ``build_head(config, embedding_spec, target)`` makes its head alone, for use on any trained
    encoder; None where it has none. ``default_norm`` is how its encoder normalises unless told.
    ``dense_encoder`` is the encoder of tasks of masks unless told.
    ``tunes``: it trains the encoder within each task and learns nothing across them, so it serves
    on any trained encoder as a head does. ``tried``: its options that a long search tries.
    """

    name: str
    family: str
    summary: str
    paper: str
    config: type[EncodedConfig]
    build: BuildLearner
    build_head: BuildHead | None = None
    default_norm: Norm = "running"
    tunes: bool = False
    tried: tuple[Mapping[str, Any], ...] = ()
    dense_encoder: str = "unet"

    @property
    def serves_on_encoders(self) -> bool:
        """Whether it is usable as ``--head`` of any trained encoder."""
        return self.build_head is not None or self.tunes

    @classmethod
    def of_head(
        cls,
        *,
        name: str,
        family: str,
        summary: str,
        paper: str,
        config: type[HeadConfig],
        build_head: BuildHead,
    ) -> LearnerSpec:
        """A learner that is an encoder with this head."""

        def build(
            settings: HeadConfig, encoder: AbstractEncoder, input_spec: InputSpec, target: Target
        ) -> AbstractLearner:
            if target.kind == "masks":
                raise UnsupportedTaskError(
                    f"{name} answers embeddings of whole images, not masks.", wanted="masks"
                )
            head = build_head(settings, InputSpec(encoder.embedding_size, ()), target)
            if target.kind == "values":
                head = StandardisedValues(head)
            return EmbeddingLearner(
                encoder, head, input_kind=input_spec.kind, coupled=uses_batch_statistics(encoder)
            )

        return cls(name, family, summary, paper, config, build, build_head)
