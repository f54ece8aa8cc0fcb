"""How large an output layer is that is built once, for tasks of any fewer classes."""

from __future__ import annotations

from medmeta.episode import Target
from medmeta.errors import SettingsError


def outputs_for(name: str, max_way: int | None, target: Target) -> int:
    """``max_way``, or the target's size (None); of values, whichever is more.

    Raises ``SettingsError`` where fewer classes are asked for than the tasks have.

    >>> outputs_for("maml", None, Target("classes", 3)), outputs_for("maml", 5, Target("masks", 3))
    (3, 5)
    """
    if max_way is None:
        return target.size
    if max_way < target.size and target.kind != "values":
        raise SettingsError(
            f"{name} is to be built for at most max_way={max_way} classes, and for tasks of "
            f"{target.size}. Set max_way={target.size} or more, leave it out, or ask for tasks of "
            f"at most {max_way} classes."
        )
    return max(max_way, target.size)
