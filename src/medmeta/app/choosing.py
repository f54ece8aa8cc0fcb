"""Which learner is put on a model, and how long it may search."""

from __future__ import annotations

import re

from medmeta.app.models import LoadedModel
from medmeta.errors import SettingsError

AUTOMATIC = "auto"
DEFAULT_SECONDS = 10.0
MOST_SECONDS = 24 * 3600.0
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*([smh]?)", re.ASCII)


def seconds_of(budget: str | None) -> float:
    """Seconds that a budget such as ``10s``, ``10m`` or ``0`` names; raises ``SettingsError``.

    >>> seconds_of("10m"), seconds_of("0"), seconds_of(None)
    (600.0, 0.0, 10.0)
    """
    if budget is None:
        return DEFAULT_SECONDS
    found = _BUDGET.fullmatch(budget.strip().lower())
    seconds = float(found[1]) * UNITS[found[2]] if found else -1.0
    if not 0 <= seconds <= MOST_SECONDS:
        raise SettingsError(
            f"--budget {budget}: write a time such as 10s, 10m or 2h, at most 24h; 0 searches "
            "nothing."
        )
    return seconds


def learner_on(
    model: LoadedModel,
    learner: str | None,
    head: str | None,
    *,
    is_default: bool,
    has_options: bool = False,
) -> str | None:
    """The learner to put on a model's encoder; None for the model's own, with its own options.

    Without a name it is the one that chooses where the model is the one in the box
    (``is_default``), and a run's own elsewhere. Raises ``SettingsError`` for two names, and for
    options (``has_options``) of none.
    """
    named = one_name(learner, head) or (AUTOMATIC if is_default else None)
    if has_options and named is None:
        raise SettingsError("--set goes with --learner: a run's own learner keeps its options.")
    own = named == AUTOMATIC and model.card["learner"] == AUTOMATIC and not has_options
    return None if own else named


def one_name(learner: str | None, head: str | None) -> str | None:
    """What ``--learner`` or ``--head`` names; raises ``SettingsError`` where they name two.

    >>> one_name(None, "ridge")
    'ridge'
    """
    if learner and head and learner != head:
        raise SettingsError(f"--learner {learner} and --head {head} are two; name one.")
    return learner or head
