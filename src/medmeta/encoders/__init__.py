"""Encoders: networks that turn an image into an embedding, and the registry of them."""

from __future__ import annotations

from medmeta.encoders import (
    basic_resnet,
    border,
    colours,
    conv4,
    each_modality,
    filters,
    fusion,
    hog_colour,
    joined,
    local_patterns,
    parts,
    pixels,
    random_convolutions,
    resnet,
    slicewise,
    spectrum,
    tabular,
    unet,
    waveform,
)
from medmeta.encoders._dense import DenseEncoder, dense_encoder
from medmeta.encoders._dimensions import averaged, averaged_to, convolution_of, max_pool, resized
from medmeta.encoders._interface import (
    AUTO,
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
from medmeta.encoders.external import (
    PREFIX,
    ExternalEncoder,
    ExternalOptions,
    import_external,
)
from medmeta.encoders.mirrored import MirrorAveraged
from medmeta.encoders.parts import Parts, PartsOptions, beside_hand_made
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError, UnknownNameError
from medmeta.settings import validated

__all__ = [
    "AUTO",
    "ENCODERS",
    "AbstractEncoder",
    "DenseEncoder",
    "EncoderConfig",
    "EncoderSpec",
    "ExternalEncoder",
    "Norm",
    "Parts",
    "averaged",
    "averaged_to",
    "beside_hand_made",
    "build_encoder",
    "channels_innermost",
    "convolution_of",
    "dense_encoder",
    "keeps_running_statistics",
    "max_pool",
    "resized",
    "resolved",
    "uses_batch_statistics",
    "uses_fused_batch_statistics",
]

ENCODERS: dict[str, EncoderSpec] = {
    spec.name: spec
    for spec in (
        border.SPEC,
        colours.SPEC,
        conv4.SPEC,
        each_modality.SPEC,
        filters.SPEC,
        fusion.SPEC,
        hog_colour.SPEC,
        joined.SPEC,
        local_patterns.SPEC,
        parts.SPEC,
        pixels.SPEC,
        *basic_resnet.SPECS,
        random_convolutions.SPEC,
        resnet.SPEC,
        slicewise.SPEC,
        spectrum.SPEC,
        tabular.SPEC,
        unet.SPEC,
        waveform.SPEC,
    )
}


DEFAULTS = {"vector": tabular.SPEC.name, "mapping": fusion.SPEC.name}
"""Encoders of inputs that are no picture; of others it is Conv-4."""


def build_encoder(
    config: EncoderConfig, input_spec: InputSpec, *, norm: Norm, allow_external: bool = False
) -> AbstractEncoder:
    """The encoder that a configuration names; ``norm`` is used where it names none itself.

    Raises ``UnknownNameError``, ``SettingsError``, ``MissingExtraError``.
    """
    config = resolved(config, input_spec)
    external = config.name.startswith(PREFIX)
    encoder: AbstractEncoder
    if external:
        options = validated(ExternalOptions, config.options, where=f"encoder {config.name}")
        module = import_external(config.name, allowed=allow_external)
        encoder = ExternalEncoder(module, input_spec, options)
    else:
        encoder = _registered(config, input_spec, norm, allow_external=allow_external)
    return MirrorAveraged(encoder) if config.flips else encoder


def resolved(config: EncoderConfig, input_spec: InputSpec) -> EncoderConfig:
    """The configuration for inputs of this shape: ``auto`` is replaced by a name.

    An encoder of images that is named for a mapping is that of its image.

    >>> resolved(EncoderConfig(), InputSpec(4, ())).name
    'tabular'
    """
    kind = input_spec.kind
    name = DEFAULTS.get(kind, "conv4") if config.name == AUTO else config.name
    if kind != "mapping" or config.name == AUTO or _takes_mappings(config):
        return config.model_copy(update={"name": name})
    return EncoderConfig(
        name=fusion.SPEC.name, norm=config.norm, options={"image": config.model_dump()}
    )


def _takes_mappings(config: EncoderConfig) -> bool:
    """Whether an encoder looks at all that a mapping holds; parts do where each of them does."""
    if config.name == parts.SPEC.name:
        inner = validated(PartsOptions, config.options, where=f"encoder {config.name}").parts
        return all(_takes_mappings(one) for one in inner.values())
    return config.name in ENCODERS and ENCODERS[config.name].takes == {"mapping"}


def _registered(
    config: EncoderConfig, input_spec: InputSpec, norm: Norm, *, allow_external: bool
) -> AbstractEncoder:
    if config.name not in ENCODERS:
        raise UnknownNameError("encoder", config.name, ENCODERS)
    spec = ENCODERS[config.name]
    if input_spec.kind not in spec.takes:
        takes = " and ".join(f"{kind}s" for kind in sorted(spec.takes))
        able = ", ".join(name for name, one in ENCODERS.items() if input_spec.kind in one.takes)
        raise SettingsError(
            f"encoder {config.name} takes {takes}, not a {input_spec.kind}; {able} "
            f"{'do' if ',' in able else 'does'}."
        )
    options = validated(spec.options, config.options, where=f"encoder {config.name}")
    norm = config.norm or norm
    if spec.parts is None:
        return spec.build(options, input_spec, norm)
    parts = [
        build_encoder(part, given, norm=norm, allow_external=allow_external)
        for part, given in spec.parts(options, input_spec)
    ]
    return spec.build(options, input_spec, norm, parts)
