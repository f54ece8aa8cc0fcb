"""The rows of the speed table, by name."""

from __future__ import annotations

from collections.abc import Mapping

from speed_rows import commands, evaluation, gpu, maml, prototypical, scale
from speed_rows.row import Row, joined

ROWS: Mapping[str, Row] = joined(
    maml.ROWS, prototypical.ROWS, evaluation.ROWS, commands.ROWS, scale.ROWS, gpu.ROWS
)
