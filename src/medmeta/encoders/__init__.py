"""Encoders: networks that turn an image into an embedding, and the registry of them."""

from __future__ import annotations

from medmeta.encoders import conv4, pixels, resnet
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
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError, UnknownNameError
from medmeta.settings import validated

__all__ = [
    "ENCODERS",
    "AbstractEncoder",
    "EncoderConfig",
    "EncoderSpec",
    "ExternalEncoder",
    "Norm",
    "build_encoder",
    "channels_innermost",
    "keeps_running_statistics",
    "uses_batch_statistics",
    "uses_fused_batch_statistics",
]

ENCODERS: dict[str, EncoderSpec] = {
    spec.name: spec for spec in (conv4.SPEC, pixels.SPEC, resnet.SPEC)
}


def build_encoder(
    config: EncoderConfig, input_spec: InputSpec, *, norm: Norm, allow_external: bool = False
) -> AbstractEncoder:
    """The encoder that a configuration names; ``norm`` is used where it names none itself.

    Raises ``UnknownNameError``, ``SettingsError``.
    """
    if config.name.startswith(PREFIX):
        if config.options:
            raise SettingsError(f"{config.name} takes no options here; set them in its factory.")
        return ExternalEncoder(import_external(config.name, allowed=allow_external), input_spec)
    if config.name not in ENCODERS:
        raise UnknownNameError("encoder", config.name, ENCODERS)
    spec = ENCODERS[config.name]
    if input_spec.kind != "image":
        raise SettingsError(f"encoder {config.name} takes images, not a {input_spec.kind}.")
    options = validated(spec.options, config.options, where=f"encoder {config.name}")
    return spec.build(options, input_spec, config.norm or norm)
