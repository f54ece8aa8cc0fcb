"""Any network the user brings, as an encoder."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor, nn

from medmeta.encoders._interface import AbstractEncoder
from medmeta.episode import InputSpec
from medmeta.errors import SettingsError

PREFIX = "external:"


class ExternalEncoder(AbstractEncoder):
    """Wraps a module that maps ``(N, C, *space)`` to ``(N, D)`` or ``(N, D, *space')``.

    A feature map is averaged over space. Raises ``SettingsError`` where the module's output for
    one blank image is neither.

    >>> ExternalEncoder(nn.Flatten(), InputSpec(1, (4, 4))).embedding_size
    16
    """

    def __init__(self, module: nn.Module, input_spec: InputSpec) -> None:
        super().__init__()
        self.module = module
        was_training = module.training
        module.eval()
        with torch.no_grad():
            output = module(torch.zeros(2, *input_spec.shape))
        module.train(was_training)
        if not isinstance(output, Tensor) or output.ndim < 2 or output.shape[0] != 2:
            found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise SettingsError(
                f"the encoder you brought gives {found} for inputs of shape "
                f"{(2, *input_spec.shape)}; it must give (2, D) or (2, D, height, width)."
            )
        self.embedding_size = int(output.shape[1])

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """The module's output, its only stage."""
        output: Tensor = self.module(inputs)
        return [output if output.ndim > 2 else output[:, :, None]]

    def summarise(self, feature_map: Tensor) -> Tensor:
        """Mean over space."""
        return feature_map.flatten(2).mean(2)


def import_external(name: str, *, allowed: bool) -> nn.Module:
    """The module that ``external:package.module:factory`` makes.

    Foreign code runs only where ``allowed`` was said by the user, never because a card names it.
    Raises ``SettingsError``.
    """
    if not allowed:
        raise SettingsError(
            f"{name} is code from outside medmeta; it is imported only with --allow-external."
        )
    path, _, factory = name.removeprefix(PREFIX).partition(":")
    try:
        module = getattr(importlib.import_module(path), factory)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise SettingsError(
            f"{name} cannot be made ({error}); write it as external:package.module:factory, "
            "where factory() gives a torch module."
        ) from error
    if not isinstance(module, nn.Module):
        raise SettingsError(f"{name} gave {type(module).__name__}, not a torch module.")
    return module
