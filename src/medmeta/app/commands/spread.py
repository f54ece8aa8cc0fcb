"""Commands whose repeatable options also take several values in a row: ``--shot 1 5``."""

from __future__ import annotations

import click
from typer.core import TyperCommand


class SpreadCommand(TyperCommand):
    """``--source A B`` means ``--source A --source B``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write the option before each of its values, then parse as usual."""
        repeatable = {
            name
            for parameter in self.params
            if isinstance(parameter, click.Option) and parameter.multiple
            for name in parameter.opts
        }
        return super().parse_args(ctx, spread(args, repeatable))


def spread(args: list[str], repeatable: set[str]) -> list[str]:
    """Repeat an option before each of its values.

    >>> spread(["--shot", "1", "5", "--json"], {"--shot"})
    ['--shot', '1', '--shot', '5', '--json']
    >>> spread(["--shot=1", "5"], {"--shot"})
    ['--shot=1', '--shot', '5']
    """
    result: list[str] = []
    current: str | None = None
    fresh = False
    for position, arg in enumerate(args):
        if arg == "--":
            return result + args[position:]
        if arg.startswith("-") and len(arg) > 1:
            name, equals, _ = arg.partition("=")
            current = name if name in repeatable else None
            fresh = current is not None and not equals
            result.append(arg)
            continue
        if current is not None and not fresh:
            result.append(current)
        fresh = False
        result.append(arg)
    return result
