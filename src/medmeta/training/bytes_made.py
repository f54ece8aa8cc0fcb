"""How many bytes a computation makes, counted operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class BytesMade(TorchDispatchMode):
    """Sums the sizes of all tensors that operators make within the block; views count nothing.

    For the forward pass of a loss that is about what its backward pass keeps in memory.

    >>> import torch
    >>> ones = torch.ones(8)
    >>> with BytesMade() as made:
    ...     _ = (ones + 1)[:4]
    >>> made.bytes
    32
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self,
        operator: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator and count what it makes."""
        outputs = operator(*args, **(kwargs or {}))
        given = {_place(leaf) for leaf in pytree.tree_leaves((args, kwargs)) if _is_tensor(leaf)}
        for made in pytree.tree_leaves(outputs):
            if _is_tensor(made) and _place(made) not in given:
                self.bytes += made.nbytes
        return outputs


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _place(tensor: Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())
