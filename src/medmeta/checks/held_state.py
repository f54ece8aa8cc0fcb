"""All that hangs on a learner, also where no state dict shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

REGISTERS = {"_parameters", "_buffers", "_modules"}
NOT_OPENED = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType)


@dataclass(frozen=True)
class Held:
    """One thing that a learner holds, as it is and as it was.

    Keeping the thing itself keeps its identity: its memory is not given to another meanwhile.
    """

    thing: object
    content: object

    def is_still(self, thing: object) -> bool:
        """Whether that is the same thing with the same content."""
        if isinstance(self.content, Tensor) and isinstance(thing, Tensor):
            return thing is self.thing and torch.equal(self.content, thing)
        if isinstance(self.content, np.ndarray) and isinstance(thing, np.ndarray):
            return thing is self.thing and np.array_equal(self.content, thing, equal_nan=True)
        plain = isinstance(thing, bool | int | float | str) and type(thing) is type(self.thing)
        return thing is self.thing or (plain and thing == self.thing)


def held_state(learner: nn.Module) -> dict[str, Held]:
    """Everything that a learner holds, by name: parameters, buffers, attributes, their contents."""
    return {name: Held(thing, _content(thing)) for name, thing in _walk("", learner, set())}


def changed_names(before: Mapping[str, Held], learner: nn.Module) -> list[str]:
    """Names of what a learner holds otherwise than before, or newly, or no more."""
    now = dict(_walk("", learner, set()))
    kept = {name for name in before.keys() & now.keys() if before[name].is_still(now[name])}
    return sorted((before.keys() | now.keys()) - kept)


def unregistered_tensors(learner: nn.Module) -> dict[str, Tensor]:
    """Floating-point tensors that are neither parameters nor buffers of the learner."""
    known = {id(tensor) for tensor in (*learner.parameters(), *learner.buffers())}
    return {
        name: thing
        for name, thing in _walk("", learner, set())
        if isinstance(thing, Tensor)
        and thing.is_floating_point()
        and id(thing) not in known
        and not name.endswith(".grad")
    }


def _walk(name: str, thing: object, seen: set[int]) -> Iterator[tuple[str, object]]:
    if isinstance(thing, Tensor):
        yield name, thing
        if thing.is_leaf and thing.grad is not None:
            yield f"{name}.grad", thing.grad
        return
    inner = _inside(thing)
    if inner is None:
        yield name, thing
    elif id(thing) not in seen:
        seen.add(id(thing))
        for key, value in inner.items():
            hidden = isinstance(thing, nn.Module) and key in REGISTERS
            path = name if hidden else f"{name}.{key}" if name else str(key)
            yield from _walk(path, value, seen)


def _inside(thing: object) -> Mapping[Any, Any] | None:
    """What a container or an object holds; None where it is opened no further."""
    if isinstance(thing, Mapping):
        return thing
    if isinstance(thing, list | tuple | set | frozenset):
        return dict(enumerate(thing))
    if isinstance(thing, NOT_OPENED) or not hasattr(thing, "__dict__"):
        return None
    return dict(vars(thing))


def _content(thing: object) -> object:
    if isinstance(thing, Tensor):
        return thing.detach().clone()
    return thing.copy() if isinstance(thing, np.ndarray) else None
