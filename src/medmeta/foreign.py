"""Code from outside medmeta, imported by name and only where the user said so."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from medmeta.errors import SettingsError

PREFIX = "external:"
LONGEST = 300  # characters of another's error that are shown


def made_outside(name: str, *, allowed: bool, gives: str) -> Any:
    """What the factory of ``external:package.module:factory`` makes; ``gives``: that, in words.

    Foreign code runs only where ``allowed`` was said by the user, never because a card names it.
    It is looked for where Python looks, and last in the current folder. Raises ``SettingsError``.
    """
    if not allowed:
        raise SettingsError(
            f"{name} is code from outside medmeta; it is imported only with --allow-external."
        )
    path, _, factory = name.removeprefix(PREFIX).partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # for what it imports later too
    try:
        return getattr(importlib.import_module(path), factory)()
    except (Exception, SystemExit) as error:  # it is another's code: anything may come
        raise SettingsError(
            f"{name} cannot be made ({shortly(error)}); write it as "
            f"external:package.module:factory, where factory() gives {gives}, and have the module "
            "in the current folder or installed."
        ) from error


def shortly(error: BaseException) -> str:
    """Another's error on one line, of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"
