"""Rows on a GPU: the first of MAML, and Prototypical Networks on ResNet-12."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from speed_rows import maml, prototypical
from speed_rows.row import Goal, Row, Side

RESNET = replace(prototypical.LARGE, slug="84", size=84, encoder="resnet12")


ROWS: tuple[Row, ...] = (
    replace(
        maml.row(maml.ONE_QUERY, "learn2learn", 5.0),
        name="gpu-maml-1q-learn2learn",
        work=f"on a GPU: {maml.ONE_QUERY.words}",
        needs_gpu=True,
    ),
    Row(
        name="gpu-prototypical-84-learn2learn",
        work=f"on a GPU: {RESNET.words}",
        unit="episodes/s",
        ours=Side(partial(prototypical.ours, RESNET)),
        theirs=Side(
            partial(prototypical.PEERS["learn2learn"], RESNET),
            peer="learn2learn",
            called="learn2learn",
        ),
        goal=Goal("least", 2.0),
        prepare=partial(prototypical.prepare, RESNET),
        needs_gpu=True,
    ),
)
