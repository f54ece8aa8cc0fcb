"""Windows: which grey levels of a scan are shown, from black to white."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medmeta.errors import SettingsError

# Centre and width in Hounsfield units, as radiology uses them.
NAMED: dict[str, tuple[float, float]] = {
    "abdomen": (40.0, 400.0),
    "bone": (480.0, 2500.0),
    "brain": (40.0, 80.0),
    "liver": (60.0, 160.0),
    "lung": (-600.0, 1500.0),
    "mediastinum": (50.0, 350.0),
    "stroke": (40.0, 40.0),
    "subdural": (75.0, 215.0),
}
CT_DEFAULT = "abdomen"
OWN = "file"
_NUMBER = r"[-+]?\d+(?:\.\d+)?"


@dataclass(frozen=True)
class Window:
    """A window that was asked for.

    ``name`` is empty for one given in numbers; ``hounsfield`` says that it is for CT only.
    ``centre`` and ``width`` are in the scan's own units after rescaling.
    """

    name: str
    centre: float
    width: float

    @property
    def hounsfield(self) -> bool:
        """Whether it is named, and so means Hounsfield units."""
        return bool(self.name)


def parse_window(text: str) -> Window | None:
    """A window by its name or as ``"centre,width"``; None for ``file``, each file's own.

    Raises ``SettingsError`` that lists the names.

    >>> parse_window("lung").centre, parse_window("50,350").width
    (-600.0, 350.0)
    """
    name = text.strip().lower()
    if name == OWN:
        return None
    if name in NAMED:
        return Window(name, *NAMED[name])
    found = re.fullmatch(rf"\s*({_NUMBER})\s*[,/ ]\s*({_NUMBER})\s*", text)
    if found is None:
        raise SettingsError(
            f"--window {text!r} is not known: name one of {', '.join(sorted(NAMED))}, or {OWN} for "
            "each file's own, or write centre and width, such as 40,400."
        )
    centre, width = float(found[1]), float(found[2])
    if not width >= 1:
        raise SettingsError(f"--window {text!r}: the width must be 1 or more.")
    return Window("", centre, width)


def misfit(window: Window, modality: str | None) -> str | None:
    """Why a window cannot be used for a modality; None where it can.

    >>> misfit(parse_window("lung"), "MR")
    'the window lung is in Hounsfield units, for CT, and this is MR; use --window file.'
    >>> misfit(parse_window("lung"), "CT") is None
    True
    """
    if not window.hounsfield or modality == "CT":
        return None
    return (
        f"the window {window.name} is in Hounsfield units, for CT, and this is "
        f"{modality or 'of an unknown modality'}; use --window {OWN}."
    )
