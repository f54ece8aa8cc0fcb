"""Free text as vectors, by an encoder of sentences that the user brings.

It is named as ``external:package.module:factory``; ``factory()`` gives a function of texts to
vectors: ``Sequence[str]`` to ``(n, d)``, an array or a tensor. It must not need a network, and give
one text the same vector each time. Texts are handed to it and kept nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.errors import SettingsError
from medmeta.foreign import PREFIX, made_outside

WIDEST = 4096
_TOGETHER = 64
_PROBE = ("no fever",)
_GIVES = "a function of a list of texts to vectors (n, d)"
_permitted: dict[str, Callable[[Sequence[str]], Any]] = {}


def permit(name: str, *, allowed: bool) -> None:
    """Make an encoder of sentences, for this process; raises ``SettingsError``.

    ``allowed`` must come from the user (``--allow-external``), each time that it is asked for.
    """
    if not name.startswith(PREFIX):
        raise SettingsError(
            f"--text-encoder {name}: name it as external:package.module:factory, where factory() "
            f"gives {_GIVES}."
        )
    if allowed and name in _permitted:
        return
    made = made_outside(name, allowed=allowed, gives=_GIVES)
    if not callable(made):
        raise SettingsError(f"{name} gave {type(made).__name__}, not {_GIVES}.")
    _permitted[name] = made


def width_of(name: str) -> int:
    """How many numbers a text becomes; raises ``SettingsError`` where it is not a vector."""
    return int(_called(name, _PROBE).shape[1])


def sentence_vectors(name: str, texts: Sequence[str], *, width: int) -> NDArray[np.float32]:
    """Vectors ``(n, width)`` of texts, each different text encoded once.

    Raises ``SettingsError`` for an encoder that was not permitted, or gives other vectors than it
    did when it was learned with.
    """
    if not texts:
        return np.zeros((0, width), dtype=np.float32)
    different = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    listed = list(different)
    parts = [_called(name, listed[i : i + _TOGETHER]) for i in range(0, len(listed), _TOGETHER)]
    for part in parts:
        if part.shape[1] != width:
            raise SettingsError(
                f"{name} gives vectors of {part.shape[1]} numbers, and gave {width} when it was "
                "learned with; bring the encoder of that time."
            )
    return np.concatenate(parts)[[different[text] for text in texts]]


def _called(name: str, texts: Sequence[str]) -> NDArray[np.float32]:
    """What it gives for some texts, checked; its errors are not repeated, they may hold a text."""
    encoder = _permitted.get(name)
    if encoder is None:
        raise SettingsError(
            f"{name} is code from outside medmeta; it is imported only with --allow-external."
        )
    try:
        given = encoder(list(texts))
        given = given.detach() if hasattr(given, "detach") else given
        found = np.asarray(given, dtype=np.float32)
    except Exception as error:  # it is another's code: anything may come
        raise SettingsError(
            f"the sentence encoder {name} fails on {len(texts)} texts ({type(error).__name__}); it "
            f"must be {_GIVES}."
        ) from None
    fits = found.ndim == 2 and len(found) == len(texts) and 1 <= found.shape[1] <= WIDEST
    if not fits:
        raise SettingsError(
            f"the sentence encoder {name} gives {found.shape} for {len(texts)} texts; it must give "
            f"({len(texts)}, d), d at most {WIDEST}."
        )
    if not np.isfinite(found).all():
        raise SettingsError(
            f"the sentence encoder {name} gives what is no number; it must give finite vectors."
        )
    return found
