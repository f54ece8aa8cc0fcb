"""How a learner is built from its name and its options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from medmeta.encoders import AUTO, AbstractEncoder, ExternalEncoder, build_encoder, resolved
from medmeta.episode import InputSpec, Target, TargetKind
from medmeta.errors import SettingsError, UnsupportedTaskError
from medmeta.learner import AbstractLearner, check_task_fits
from medmeta.learners._spec import EncodedConfig, LearnerSpec
from medmeta.learners.registry import LEARNERS, learner_spec
from medmeta.learners.standardised import StandardisedValues
from medmeta.learners.standardised_records import StandardisedRecords, has_record
from medmeta.settings import validated


def configuration(
    name: str,
    options: Mapping[str, Any] | EncodedConfig | None,
    input_spec: InputSpec | None = None,
    *,
    kind: TargetKind = "classes",
) -> EncodedConfig:
    """A learner's validated options; its encoder's normalisation is filled in.

    For masks (``kind``) the encoder is one that says something of every pixel, unless another is
    named. With ``input_spec`` also which encoder such inputs have, where none is named.
    """
    spec = learner_spec(name)
    if isinstance(options, spec.config):
        config: EncodedConfig = options
    else:
        plain = options.model_dump() if isinstance(options, EncodedConfig) else options
        config = validated(spec.config, plain or {}, where=f"learner {name}")
    if kind == "masks" and config.encoder.name == AUTO:
        dense = config.encoder.model_copy(update={"name": spec.dense_encoder})
        config = config.model_copy(update={"encoder": dense})
    if config.encoder.norm is None:
        encoder = config.encoder.model_copy(update={"norm": spec.default_norm})
        config = config.model_copy(update={"encoder": encoder})
    if input_spec is None:
        return config
    return config.model_copy(update={"encoder": resolved(config.encoder, input_spec)})


def head_configuration(name: str, options: Mapping[str, Any] | None) -> EncodedConfig:
    """The validated options of a head on an encoder that is trained.

    Raises ``SettingsError`` for options of the encoder.
    """
    check_no_encoder(options or {})
    return configuration(name, options)


def check_no_encoder(options: Mapping[str, Any]) -> None:
    """Raise ``SettingsError`` where a head's options are of the encoder: none would be followed."""
    given = options.get("encoder")
    if given is not None:
        inner = given if isinstance(given, Mapping) else {}
        named = ", ".join(f"encoder.{part}" for part in inner) or "encoder"
        raise SettingsError(
            f"{named}: the encoder is the run's, as it was trained, and a head that is put on it "
            "has options of its own alone; leave this out, or train another run with it."
        )


def build_learner(
    name: str,
    config: Mapping[str, Any] | EncodedConfig | None,
    input_spec: InputSpec,
    target: Target,
    *,
    encoder: nn.Module | None = None,
    allow_external: bool = False,
) -> AbstractLearner:
    """A learner with fresh weights.

    ``encoder`` is any module of your own, ``(N, C, *space)`` to ``(N, D)``, in place of the one
    that the configuration names. A learner of values works in units of each task's support.
    Raises ``UnknownNameError``, ``SettingsError``, ``UnsupportedTaskError``.

    >>> learner = build_learner("prototypical", None, InputSpec(1, (28, 28)), Target("classes", 5))
    >>> learner.traits.has_head
    True
    """
    spec = learner_spec(name)
    settings = configuration(name, config, input_spec, kind=target.kind)
    network: AbstractEncoder
    if encoder is None:
        norm = settings.encoder.norm or spec.default_norm
        network = build_encoder(
            settings.encoder, input_spec, norm=norm, allow_external=allow_external
        )
    else:
        network = ExternalEncoder(encoder, input_spec)
    learner = _built(spec, settings, network, input_spec, target)
    # A vector for a network of yours may be anything; a part that is called a record is one.
    own = encoder is not None and not input_spec.parts
    return StandardisedRecords(learner) if has_record(input_spec) and not own else learner


def _built(
    spec: LearnerSpec,
    settings: EncodedConfig,
    encoder: AbstractEncoder,
    input_spec: InputSpec,
    target: Target,
) -> AbstractLearner:
    learner = _named(spec.build(settings, encoder, input_spec, target), spec.name)
    check_task_fits(learner, target)
    if target.kind == "values" and not learner.traits.has_head:
        return StandardisedValues(learner)
    return learner


def _named(learner: AbstractLearner, name: str) -> AbstractLearner:
    learner.traits = replace(learner.traits, name=name)
    return learner


def learners_taking(wanted: str) -> tuple[str, ...]:
    """Registered learners that take a kind of target, or ``"any way"``: any number of classes.

    >>> "maml" in learners_taking("values"), "maml" in learners_taking("any way")
    (True, False)
    """
    if wanted != "any way":
        return tuple(sorted(name for name in LEARNERS if wanted in targets_of(name)))
    spec, target = InputSpec(1, (16, 16)), Target("classes", 2)
    of_classes = [name for name in LEARNERS if "classes" in targets_of(name)]
    built = {name: build_learner(name, None, spec, target) for name in of_classes}
    return tuple(sorted(name for name, one in built.items() if one.traits.max_way is None))


def targets_of(name: str) -> tuple[TargetKind, ...]:
    """What a learner can be built for: classes, masks, values.

    >>> targets_of("ridge")
    ('classes', 'values')
    """
    able: list[TargetKind] = []
    for target in (Target("classes", 2), Target("masks", 2), Target("values", 1)):
        try:
            build_learner(name, None, InputSpec(1, (16, 16)), target)
        except UnsupportedTaskError:
            continue
        able.append(target.kind)
    return tuple(able)


def head_names() -> tuple[str, ...]:
    """The learners with a head that answers embeddings, sorted."""
    return tuple(sorted(name for name, spec in LEARNERS.items() if spec.build_head))


def names_on_encoders() -> tuple[str, ...]:
    """The learners that ``build_on`` takes: heads, and those that tune the encoder; sorted."""
    return tuple(sorted(name for name, spec in LEARNERS.items() if spec.serves_on_encoders))


def build_on(
    encoder: AbstractEncoder,
    name: str,
    config: Mapping[str, Any] | None,
    input_spec: InputSpec,
    target: Target,
) -> AbstractLearner:
    """Another learner on an encoder that is trained: a head, or one that tunes it in each task.

    Raises ``UnsupportedTaskError`` where the learner is neither.
    """
    spec = learner_spec(name)
    if not spec.serves_on_encoders:
        raise _no_head(name, names_on_encoders())
    return _built(spec, configuration(name, config), encoder, input_spec, target)


def _no_head(name: str, heads: Sequence[str]) -> UnsupportedTaskError:
    command = f"medmeta train --learner {name} --init RUN"
    trained = f" (To train {name} from the encoder of a run: '{command}'.)"
    return UnsupportedTaskError(
        f"{name} is not a head; heads are {', '.join(heads)}."
        + ("" if learner_spec(name).tunes else trained)
    )


def build_head(
    name: str, config: Mapping[str, Any] | None, embedding_spec: InputSpec, target: Target
) -> AbstractLearner:
    """A head alone, for embeddings ``(T, S, D)`` of an encoder trained by another learner.

    Raises ``UnsupportedTaskError`` where the learner has no head of its own.
    """
    spec = learner_spec(name)
    if spec.build_head is None:
        raise _no_head(name, head_names())
    head = _named(spec.build_head(configuration(name, config), embedding_spec, target), name)
    check_task_fits(head, target)
    return StandardisedValues(head) if target.kind == "values" else head
