"""How signals are brought to one shape: options of ``Preprocessing``."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field, field_validator

from medmeta.data.recording import STANDARD_LEADS, plain_lead


class SignalOptions(BaseModel):
    """With ``samples`` inputs are signals: so many samples of each of the ``leads``.

    ``leads`` are names between commas; ``rate`` is in samples per second, and ``csv_rate`` that of
    tables that say none. ``scaling`` ``lead`` divides each lead by its standard deviation, ``mv``
    keeps millivolts.
    """

    samples: int = Field(
        default=0, ge=0, le=100_000, description="samples of a signal; 0: pictures or volumes"
    )
    rate: float = Field(default=100.0, ge=0.1, le=100_000, description="samples per second")
    leads: str = Field(
        default=",".join(STANDARD_LEADS), description="names of a signal's leads, in their order"
    )
    scaling: Literal["lead", "mv"] = Field(
        default="lead", description="divide each lead by its deviation, or keep millivolts"
    )
    csv_rate: float = Field(
        default=0.0, ge=0, le=100_000, description="samples per second of tables that say none"
    )

    @field_validator("leads")
    @classmethod
    def _named_leads(cls, text: str) -> str:
        names = [name.strip() for name in text.split(",")]
        if len({plain_lead(name) for name in names} - {""}) < len(names):
            raise ValueError("name each lead once, between commas, such as I,II,V1")
        return ",".join(names)

    @property
    def lead_names(self) -> tuple[str, ...]:
        """Names of the leads, in the order of the channels."""
        return tuple(self.leads.split(","))

    @property
    def dtype(self) -> np.dtype[Any]:
        """How prepared inputs are stored: as integers of 8 bits, signals as floats of 16."""
        return np.dtype(np.float16 if self.samples else np.uint8)
