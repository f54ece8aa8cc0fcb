"""Any network the user brings, as an encoder."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from medmeta.encoders._interface import AbstractEncoder
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError
from medmeta.foreign import PREFIX, made_outside, shortly
from medmeta.modes import answering
from medmeta.settings import Settings

__all__ = ["PREFIX", "ExternalEncoder", "ExternalOptions", "import_external"]

MIDDLE, SPREAD = 0.5, 0.25  # medmeta's floats are (level / 255 - 0.5) / 0.25


class ExternalOptions(Settings):
    """How a network of yours is given its images.

    ``mean`` and ``std``: of each channel, of levels from 0 to 1, as the network was trained with
    (none: it takes medmeta's floats, -2 to 2). ``size``: side of the images that it takes, to
    which they are resized (0: as they are). ``frozen``: it is never trained, and always in
    evaluation mode.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: int = Field(0, ge=0, le=4096)
    frozen: bool = False

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        return given.strip("[]() ").split(",") if isinstance(given, str) else given


class ExternalEncoder(AbstractEncoder):
    """Wraps a module that maps ``(N, C, *space)`` to ``(N, D)`` or ``(N, D, *space')``.

    A feature map is averaged over space. Raises ``SettingsError`` where the module's output for
    two blank images is neither, or where it does not take them.

    >>> ExternalEncoder(nn.Flatten(), InputSpec(1, (4, 4))).embedding_size
    16
    """

    def __init__(
        self, module: nn.Module, input_spec: InputSpec, options: ExternalOptions | None = None
    ) -> None:
        super().__init__()
        options = options or ExternalOptions()
        _check_fit(options, input_spec)
        self.module = module
        self.frozen, self.size = options.frozen, options.size
        shape = (1, -1, *[1] * len(input_spec.size))
        self.mean = torch.tensor(options.mean).reshape(shape) if options.mean else None
        self.std = torch.tensor(options.std).reshape(shape) if options.std else None
        if self.frozen:
            module.requires_grad_(False)
            module.eval()
        output = _tried(self, input_spec)
        fits = isinstance(output, Tensor) and output.ndim in (2, len(input_spec.size) + 2)
        if not isinstance(output, Tensor) or not fits or output.shape[0] != 2:
            raise _refusal("gives " + _found(output), input_spec)
        if not output.is_floating_point() or not bool(output.isfinite().all()):
            raise _refusal(f"gives numbers of type {output.dtype} that are none", input_spec)
        self.embedding_size = int(output.shape[1])

    def train(self, mode: bool = True) -> ExternalEncoder:
        """As modules do; a frozen one stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.module.eval()
        return self

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """The module's output, its only stage."""
        output: Tensor = self.module(self._as_it_takes(inputs))
        return [output if output.ndim > 2 else output[:, :, None]]

    def summarise(self, feature_map: Tensor) -> Tensor:
        """Mean over space."""
        return feature_map.flatten(2).mean(2)

    def _as_it_takes(self, inputs: Tensor) -> Tensor:
        """Our floats in the network's own units and size."""
        if self.size and tuple(inputs.shape[2:]) != (self.size, self.size):
            side = (self.size, self.size)
            inputs = F.interpolate(inputs, side, mode="bilinear", antialias=True)
        if self.mean is None or self.std is None:
            return inputs
        levels = inputs * SPREAD + MIDDLE
        return (levels - self.mean.to(inputs)) / self.std.to(inputs)


def _check_fit(options: ExternalOptions, input_spec: InputSpec) -> None:
    if not len(options.mean) == len(options.std) or len(options.mean) not in (
        0,
        input_spec.channels,
    ):
        raise SettingsError(
            f"the encoder you brought: mean and std have a number for each of the "
            f"{input_spec.channels} channels, and these have {len(options.mean)} and "
            f"{len(options.std)}; say --channels 3 for a network of colour pictures."
        )
    if any(spread <= 0 for spread in options.std):
        raise SettingsError("the encoder you brought: std is above 0 in every channel.")
    if options.size and len(input_spec.size) != 2:
        raise SettingsError(
            f"the encoder you brought: size is for pictures, and these inputs are of kind "
            f"{input_spec.kind}; leave it out."
        )


def _tried(encoder: ExternalEncoder, input_spec: InputSpec) -> object:
    """What a module gives for two blank images in evaluation mode; its own modes are kept."""
    module, blank = encoder.module, input_spec.blank(2)
    try:
        with answering(module):
            return module(encoder._as_it_takes(blank) if isinstance(blank, Tensor) else blank)
    except Exception as error:  # it is another's code: anything may come
        raise _refusal(f"fails ({shortly(error)})", input_spec) from error


def _found(output: object) -> str:
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    return type(output).__name__


def _refusal(what: str, input_spec: InputSpec) -> SettingsError:
    space = ", ".join(("depth", "height", "width")[-len(input_spec.size) :])
    return SettingsError(
        f"the encoder you brought {what} for inputs of shape {(2, *input_spec.shape)}; it must "
        f"give numbers of shape (2, D) or (2, D, {space}). Of tokens (2, n, D) give the first, "
        "[:, 0], or their mean; of a Hugging Face model, its output's tensor."
    )


def import_external(name: str, *, allowed: bool) -> nn.Module:
    """The module that ``external:package.module:factory`` makes; raises ``SettingsError``."""
    module = made_outside(name, allowed=allowed, gives="a torch module")
    if not isinstance(module, nn.Module):
        raise SettingsError(f"{name} gave {type(module).__name__}, not a torch module.")
    return module
