"""What source tasks teach about the figures of a task that has only its support set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medmeta.errors import CheckpointError


@dataclass(frozen=True)
class TrustPrior:
    """Learned on tasks whose answers are known; these defaults where nothing was.

    ``exponent``: the share of wrong answers falls as the images to the power of minus this, with
    standard deviation ``exponent_spread`` over sources. ``precision``: how many independent images
    one of cross-validation is worth. ``log_temperature`` and
    ``temperature_spread``: what temperatures were right, as the middle and the standard deviation
    of their logarithm (None: that at which the likeliest class stands about 7 to 1 against the
    middle one). ``tasks`` and ``sources`` say how many were looked at.
    """

    exponent: float = 0.0
    exponent_spread: float = 0.2
    precision: float = 0.8
    log_temperature: float | None = None
    temperature_spread: float = 0.7
    tasks: int = 0
    sources: int = 0

    @property
    def learned(self) -> bool:
        """Whether it is of any tasks at all."""
        return self.tasks > 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, held: Mapping[str, Any], *, where: str) -> TrustPrior:
        """Read what ``to_dict`` wrote; raises ``CheckpointError``."""
        try:
            return TypeAdapter(cls).validate_python(dict(held))
        except ValidationError as error:
            first = error.errors()[0]
            raise CheckpointError(
                f"{where}: what was learned about trust is damaged ({first['loc']}: "
                f"{first['msg']}); remove the file, or train again."
            ) from None
