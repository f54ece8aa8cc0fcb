"""Sources given together: each once, and those that are called alike told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medmeta.data.source import Source
from medmeta.errors import SettingsError


def check_each_once(paths: Sequence[Path]) -> None:
    """Raise ``SettingsError`` where two paths are of one file or folder."""
    places = [path.resolve() for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise SettingsError(f"--source {path} is given twice; name each source once.")


def told_apart(sources: Sequence[Source], paths: Sequence[Path]) -> list[Source]:
    """The sources with names of their own; ``paths`` are where each was read from.

    Those of one name get the part of their paths that differs nearest to their end:
    ``images (north)`` of ``north/images``.
    """
    names = [source.name for source in sources]
    found = []
    for source in sources:
        alike = [p for p, name in zip(paths, names, strict=True) if name == source.name]
        if len(alike) == 1:
            found.append(source)
            continue
        own = differences(alike)[alike.index(paths[len(found)])]
        name = f"{source.name} ({own})" if own else source.name
        found.append(replace(source, index=replace(source.index, name=name)))
    return found


def differences(paths: Sequence[Path]) -> list[str]:
    """What tells different paths apart: the fewest parts of each, from the last that differ.

    >>> differences([Path("north/images"), Path("south/images")])
    ['north', 'south']
    """
    parts = [[part.strip("/\\:") for part in reversed(path.absolute().parts)] for path in paths]
    length = max(map(len, parts))
    columns = [[p[k] if k < len(p) else "" for p in parts] for k in range(length)]
    start = next(k for k, column in enumerate(columns) if len(set(column)) > 1)
    ends = range(start + 1, length + 1)
    told = (["-".join(reversed(p[start:end])) for p in parts] for end in ends)
    return next(names for names in told if len(set(names)) == len(names))
