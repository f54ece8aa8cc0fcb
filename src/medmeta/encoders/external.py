"""Any network the user brings, as an encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medmeta.encoders._interface import AbstractEncoder
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError
from medmeta.foreign import PREFIX, made_outside

__all__ = ["PREFIX", "ExternalEncoder", "import_external"]


class ExternalEncoder(AbstractEncoder):
    """Wraps a module that maps ``(N, C, *space)`` to ``(N, D)`` or ``(N, D, *space')``.

    A feature map is averaged over space. Raises ``SettingsError`` where the module's output for
    two blank images is neither, or where it does not take them.

    >>> ExternalEncoder(nn.Flatten(), InputSpec(1, (4, 4))).embedding_size
    16
    """

    def __init__(self, module: nn.Module, input_spec: InputSpec) -> None:
        super().__init__()
        self.module = module
        output = _tried(module, input_spec)
        if not isinstance(output, Tensor) or output.ndim < 2 or output.shape[0] != 2:
            found = str(
                tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            )
            raise _refusal("gives " + found, input_spec)
        self.embedding_size = int(output.shape[1])

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """The module's output, its only stage."""
        output: Tensor = self.module(inputs)
        return [output if output.ndim > 2 else output[:, :, None]]

    def summarise(self, feature_map: Tensor) -> Tensor:
        """Mean over space."""
        return feature_map.flatten(2).mean(2)


def _tried(module: nn.Module, input_spec: InputSpec) -> object:
    """What a module gives for two blank images in evaluation mode; its own modes are kept."""
    modes = {part: part.training for part in module.modules()}
    try:
        with torch.no_grad():
            return module.eval()(input_spec.blank(2))
    except Exception as error:  # it is another's code: anything may come
        raise _refusal(f"fails ({error})", input_spec) from error
    finally:
        for part, training in modes.items():
            part.training = training


def _refusal(what: str, input_spec: InputSpec) -> SettingsError:
    return SettingsError(
        f"the encoder you brought {what} for inputs of shape {(2, *input_spec.shape)}; it must "
        "give (2, D) or (2, D, height, width)."
    )


def import_external(name: str, *, allowed: bool) -> nn.Module:
    """The module that ``external:package.module:factory`` makes.

    Foreign code runs only where ``allowed`` was said by the user, never because a card names it.
    Raises ``SettingsError``.
    """
    module = made_outside(name, allowed=allowed, gives="a torch module")
    if not isinstance(module, nn.Module):
        raise SettingsError(f"{name} gave {type(module).__name__}, not a torch module.")
    return module
