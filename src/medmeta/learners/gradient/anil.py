"""ANIL: MAML that adapts the last layer only, on features learned for that."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from medmeta.encoders import AbstractEncoder, keeps_running_statistics, uses_batch_statistics
from medmeta.episode import InputSpec, Target
from medmeta.errors import UnsupportedTaskError
from medmeta.learner import AbstractLearner, TrainingDefaults
from medmeta.learners._embedding import EmbeddingLearner
from medmeta.learners._inner_loop import Update, fixed_rate
from medmeta.learners._spec import LearnerSpec
from medmeta.learners.gradient._adapting import DescendingLearner, DescentConfig, output_layer
from medmeta.learners.standardised import StandardisedValues


class ANILConfig(DescentConfig):
    """Options of ANIL.

    ``inner_rate`` is on the mean cross-entropy of the support (None: as of maml). ``inner_steps``
    while training, ``test_steps`` when adapting (None: the same). ``first_order`` counts the inner
    gradients as constants. ``inner_checkpoint`` keeps less memory over several inner steps and
    computes them again in the backward pass. ``max_way`` is the size of the output layer: tasks of
    fewer classes use its first columns (None: the ways it is first built for).
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3, tasks_per_step=4)
    inner_steps: int = Field(5, ge=1, le=1000)


class ANIL(DescendingLearner):
    """A linear layer over embeddings ``(T, S, D)``, adapted from a start that is learned.

    Raghu, Raghu, Bengio and Vinyals 2020, section 4. The encoder below is reused as it is, so
    each image passes through it once, whatever the number of inner steps.
    """

    def update(self, target: Target) -> Update:
        """``w - rate · g``."""
        return fixed_rate(self.config.rate_for(target))


def _build(
    config: ANILConfig, encoder: AbstractEncoder, input_spec: InputSpec, target: Target
) -> EmbeddingLearner:
    if target.kind == "masks":
        raise UnsupportedTaskError("anil takes classes and values, not masks.", wanted="masks")
    layer = output_layer("anil", config, encoder.embedding_size, target)
    fitted = config.on_embedding(encoder.embedding_size, target)
    head: AbstractLearner = ANIL(
        layer, fitted, target=target, max_way=layer.out_features, input_kind="vector"
    )
    if target.kind == "values":
        head = StandardisedValues(head)
    learner = EmbeddingLearner(
        encoder, head, input_kind=input_spec.kind, coupled=uses_batch_statistics(encoder)
    )
    # Running statistics are, in training, those of all tasks together.
    alone = not keeps_running_statistics(encoder)
    learner.traits = replace(learner.traits, maps_tasks=alone)
    return learner


SPEC = LearnerSpec(
    name="anil",
    family="gradient",
    summary="features with which a few gradient steps of the last layer solve a new task",
    paper="Raghu, Raghu, Bengio and Vinyals 2020, Rapid Learning or Feature Reuse? (ANIL)",
    config=ANILConfig,
    build=_build,
    default_norm="group",
)
