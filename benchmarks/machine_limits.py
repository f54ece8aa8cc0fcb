"""What this machine can do at most, and how much of it a piece of work asks for.

The limit of a piece of work is the larger of two times: its multiplications and additions at the
rate of a large matrix product, and its tensors, each read or written once by each operator, at the
rate at which this machine copies arrays of their size. Both rates are measured on as many threads
as the work has.
"""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

SIDE = 1536
SMALLEST, LARGEST = 16, 27  # arrays of 2^16 to 2^27 bytes are copied
REPEATS = 12


class _MovedBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes that operators read and write, by the size of the tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_size: Counter[int] = Counter()

    def __torch_dispatch__(
        self,
        function: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        if not function.is_view:
            for leaf in pytree.tree_leaves((args, kwargs, out)):
                if isinstance(leaf, Tensor) and leaf.numel():
                    n_bytes = leaf.numel() * leaf.element_size()
                    size = min(max(n_bytes.bit_length() - 1, SMALLEST), LARGEST)
                    self.by_size[size] += n_bytes
        return out


def count_work(work: Callable[[], float]) -> tuple[float, dict[int, float]]:
    """Floating-point operations, and bytes moved by size class, of one unit of ``work``.

    ``work`` returns the units that it did. Class ``k`` holds tensors of 2^k bytes and more.

    >>> a = torch.ones(8, 8)
    >>> count_work(lambda: float((a @ a).shape[0] > 0))
    (1024.0, {16: 768.0})
    """
    with FlopCounterMode(display=False) as counter:
        units = work()
    moved = _MovedBytes()
    with moved:
        work()
    return counter.get_total_flops() / units, {k: v / units for k, v in moved.by_size.items()}


def matrix_rate(dtype: torch.dtype = torch.float32, device: str = "cpu") -> float:
    """Operations per second of a large matrix product, on this process's threads."""
    side = SIDE if device == "cpu" else 8 * SIDE
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    return 2.0 * float(side) ** 3 / _fastest(lambda: a @ b)


def copy_rate(size: int, device: str = "cpu") -> float:
    """Bytes read and written per second when arrays of ``2^size`` bytes are copied."""
    n_bytes = 1 << size
    source = torch.ones(n_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = max(1, (1 << 22) // n_bytes)  # a copy of a small array is too short to be timed

    def copy() -> None:
        for _ in range(times):
            target.copy_(source)

    return 2.0 * n_bytes * times / _fastest(copy)


def _fastest(work: Callable[[], object]) -> float:
    spent = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - start)
    return min(spent[1:])


def limit_of(
    work: Callable[[], float], *, half: bool = False, device: str = "cpu"
) -> dict[str, float]:
    """Seconds per unit that this machine would need at the least, and what they are made of.

    ``half``: the work is done in bfloat16, so products go at that rate and bytes are half.
    """
    operations, moved = count_work(work)
    rate = matrix_rate(torch.bfloat16 if half else torch.float32, device)
    share = 0.5 if half else 1.0
    moving = sum(share * n_bytes / copy_rate(size, device) for size, n_bytes in moved.items())
    return {
        "seconds_per_unit": max(operations / rate, moving),
        "seconds_of_products": operations / rate,
        "seconds_of_moving": moving,
        "gigaflop_per_unit": operations / 1e9,
        "megabytes_per_unit": share * sum(moved.values()) / 1e6,
        "matrix_gigaflop_per_second": rate / 1e9,
    }


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, system; what else was running."""
    processors = _lines(Path("/proc/cpuinfo"))
    names = [line.split(":", 1)[1].strip() for line in processors if "model name" in line]
    memory = [int(line.split()[1]) for line in _lines(Path("/proc/meminfo")) if "MemTotal" in line]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory[0] / 2**20, 1) if memory else None,
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def load_average() -> float:
    """Processes that wanted a core in the last minute; what disturbs a measurement."""
    return round(os.getloadavg()[0], 2)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
