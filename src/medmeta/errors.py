"""Everything medmeta raises on purpose.

::

    MedmetaError                 what went wrong, where, and what to do about it
    ├── SettingsError            an option, flag or configuration value that cannot be used
    ├── UnknownNameError         a name that is not registered; says which ones are near
    ├── DataError                a source of images or labels that cannot be used
    │   ├── UnreadableImageError one image file: unreadable, truncated, empty, too large
    │   ├── ManifestError        one manifest: its columns or its rows
    │   └── SamplingError        tasks that the data cannot give: too few classes, images, patients
    ├── UnsupportedTaskError     a task that this learner does not take
    ├── CheckpointError          a saved folder that is missing, incomplete, damaged or altered
    ├── StorageError             the disk would not take what had to be saved
    ├── MissingExtraError        an optional library that is not installed; names the extra
    └── ContractError            a learner that breaks the contract (``check_learner``)

Each of them is the user's to put right, so the command line ends with exit code 2 and no traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MedmetaError(Exception):
    """Base of all errors that medmeta raises on purpose."""

    exit_code = 2


class SettingsError(MedmetaError):
    """An option, flag or configuration value cannot be used."""


class UnknownNameError(MedmetaError):
    """A name is not registered.

    >>> str(UnknownNameError("learner", "rigde", ["ridge", "maml"]))
    "there is no learner called 'rigde'. Did you mean 'ridge'? Known: maml, ridge."
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
        meant = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
        super().__init__(
            f"there is no {kind} called {name!r}.{meant} Known: {', '.join(names) or 'none'}."
        )


class DataError(MedmetaError):
    """A source of images or labels cannot be used."""


class UnreadableImageError(DataError):
    """One image file cannot be read; the message names it and says why."""


class ManifestError(DataError):
    """A manifest cannot be used; the message names its column or row."""


class SamplingError(DataError):
    """The data cannot give the tasks that were asked for."""


class UnsupportedTaskError(MedmetaError):
    """A learner was given a task that it does not take.

    ``wanted`` is what another learner would have to take (``"classes"``, ``"masks"``,
    ``"values"``, or ``"any way"``: any number of classes), where the message may go on to name
    those that do.
    """

    def __init__(self, message: str, *, wanted: str = "") -> None:
        super().__init__(message)
        self.wanted = wanted


class CheckpointError(MedmetaError):
    """A saved folder is missing, incomplete, damaged or altered."""


class StorageError(MedmetaError):
    """The disk would not take what had to be saved."""


class MissingExtraError(MedmetaError):
    """An optional library is not installed.

    >>> str(MissingExtraError("pyarrow", "parquet", "reading Parquet manifests"))
    "reading Parquet manifests needs pyarrow: pip install 'medmeta[parquet]'."
    """

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {library}: pip install 'medmeta[{extra}]'.")


class ContractError(MedmetaError):
    """A learner breaks the contract; the message names the check."""
