"""Encoders: networks that turn an image into an embedding, and the registry of them."""

from __future__ import annotations

from medmeta.encoders import (
    basic_resnet,
    border,
    conv4,
    filters,
    hog_colour,
    joined,
    pixels,
    resnet,
    unet,
)
from medmeta.encoders._dense import DenseEncoder, dense_encoder
from medmeta.encoders._interface import (
    AbstractEncoder,
    EncoderConfig,
    EncoderSpec,
    Norm,
)
from medmeta.encoders._layout import channels_innermost
from medmeta.encoders._norm import (
    keeps_running_statistics,
    uses_batch_statistics,
    uses_fused_batch_statistics,
)
from medmeta.encoders.external import PREFIX, ExternalEncoder, import_external
from medmeta.encoders.mirrored import MirrorAveraged
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError, UnknownNameError
from medmeta.settings import validated

__all__ = [
    "ENCODERS",
    "AbstractEncoder",
    "DenseEncoder",
    "EncoderConfig",
    "EncoderSpec",
    "ExternalEncoder",
    "Norm",
    "build_encoder",
    "channels_innermost",
    "dense_encoder",
    "keeps_running_statistics",
    "uses_batch_statistics",
    "uses_fused_batch_statistics",
]

ENCODERS: dict[str, EncoderSpec] = {
    spec.name: spec
    for spec in (
        border.SPEC,
        conv4.SPEC,
        filters.SPEC,
        hog_colour.SPEC,
        joined.SPEC,
        pixels.SPEC,
        *basic_resnet.SPECS,
        resnet.SPEC,
        unet.SPEC,
    )
}


def build_encoder(
    config: EncoderConfig, input_spec: InputSpec, *, norm: Norm, allow_external: bool = False
) -> AbstractEncoder:
    """The encoder that a configuration names; ``norm`` is used where it names none itself.

    Raises ``UnknownNameError``, ``SettingsError``, ``MissingExtraError``.
    """
    external = config.name.startswith(PREFIX)
    if external and config.options:
        raise SettingsError(f"{config.name} takes no options here; set them in its factory.")
    encoder: AbstractEncoder
    if external:
        encoder = ExternalEncoder(import_external(config.name, allowed=allow_external), input_spec)
    else:
        encoder = _registered(config, input_spec, norm, allow_external=allow_external)
    return MirrorAveraged(encoder) if config.flips else encoder


def _registered(
    config: EncoderConfig, input_spec: InputSpec, norm: Norm, *, allow_external: bool
) -> AbstractEncoder:
    if config.name not in ENCODERS:
        raise UnknownNameError("encoder", config.name, ENCODERS)
    spec = ENCODERS[config.name]
    if input_spec.kind != "image":
        raise SettingsError(f"encoder {config.name} takes images, not a {input_spec.kind}.")
    options = validated(spec.options, config.options, where=f"encoder {config.name}")
    norm = config.norm or norm
    if spec.parts is None:
        return spec.build(options, input_spec, norm)
    parts = [
        build_encoder(part, input_spec, norm=norm, allow_external=allow_external)
        for part in spec.parts(options)
    ]
    return spec.build(options, input_spec, norm, parts)
