"""Code from outside medmeta, imported by name and only where the user said so."""

from __future__ import annotations

import importlib
from typing import Any

from medmeta.errors import SettingsError

PREFIX = "external:"


def made_outside(name: str, *, allowed: bool, gives: str) -> Any:
    """What the factory of ``external:package.module:factory`` makes; ``gives``: that, in words.

    Foreign code runs only where ``allowed`` was said by the user, never because a card names it.
    Raises ``SettingsError``.
    """
    if not allowed:
        raise SettingsError(
            f"{name} is code from outside medmeta; it is imported only with --allow-external."
        )
    path, _, factory = name.removeprefix(PREFIX).partition(":")
    try:
        return getattr(importlib.import_module(path), factory)()
    except Exception as error:  # it is another's code: anything may come
        raise SettingsError(
            f"{name} cannot be made ({error}); write it as external:package.module:factory, "
            f"where factory() gives {gives}."
        ) from error
