"""What the parts beside each other give on collections that the box never saw, by one ridge.

    python benchmarks/box_parts.py --state runs/base/step-001200 --out docs/box_parts.json

On the development tasks of the pre-training (three ways, five shots, 200 tasks of each
collection), by its ridge: each part alone, all without it, all together; the last stage of the
network alone; with and without the mirror image and a crop; averaged weights and the last ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.encoders import AbstractEncoder, EncoderConfig, build_encoder
from medmeta.encoders.parts import HAND_MADE_PARTS, LEARNED
from medmeta.episode import InputSpec
from medmeta.storage import load_folder, write_json
from medmeta.training.checkpoint import tensors_from_bytes
from pretrain import STATE, _encoder
from pretrain_banks import ALLOWED, DEVELOPMENT, SIZE
from pretrain_development import Development

CROPPED = 6  # pixels from every side
Parts = dict[str, list[Tensor]]


def network_of(state: Path, prefix: str) -> AbstractEncoder:
    """The network of a state, with averaged weights (``average.``) or the last ones."""
    _, parts = load_folder(state)
    held = tensors_from_bytes(parts[STATE], where=state / STATE)
    encoder = _encoder()
    weights = {k.removeprefix(prefix): v for k, v in held.items() if k.startswith(prefix)}
    encoder.load_state_dict(weights)
    return encoder.eval()


def stages_of(encoder: AbstractEncoder, pictures: Tensor) -> list[Tensor]:
    """Means over space of every stage."""
    with torch.inference_mode():
        found = [encoder.stages(part) for part in pictures.split(100)]  # type: ignore[no-untyped-call]
    return [torch.cat([one.flatten(2).mean(2) for one in stage]) for stage in zip(*found)]  # noqa: B905


def hand_made(pictures: Tensor) -> dict[str, Tensor]:
    """Each kind of hand-made features."""
    spec, found = InputSpec(3, (SIZE, SIZE)), {}
    for name, one in HAND_MADE_PARTS.items():
        encoder = build_encoder(EncoderConfig(name=one.name), spec, norm="none")
        with torch.inference_mode():
            found[name] = torch.cat([encoder(part) for part in pictures.split(100)])  # type: ignore[no-untyped-call]
    return found


def rows_of(asked: Development, state: Path) -> Iterator[tuple[str, list[Tensor]]]:
    """Names, with the features that are set side by side."""
    pictures = asked.pictures
    network = network_of(state, "average.")
    stages, mirrored = stages_of(network, pictures), stages_of(network, pictures.flip(3))
    whole, other = torch.cat(stages, 1), torch.cat(mirrored, 1)
    learned = (whole + other) / 2
    parts = {LEARNED: learned, **hand_made(pictures)}
    yield "all parts", list(parts.values())
    for name, one in parts.items():
        yield f"{name} alone", [one]
        yield f"all but {name}", [part for key, part in parts.items() if key != name]
    yield "learned, last stage alone", [(stages[-1] + mirrored[-1]) / 2]
    yield "learned, without the mirror image", [whole]
    inside = pictures[:, :, CROPPED:-CROPPED, CROPPED:-CROPPED]
    crop = F.interpolate(inside, (SIZE, SIZE), mode="bilinear", align_corners=False)
    yield "learned, with a crop", [(2 * learned + torch.cat(stages_of(network, crop), 1)) / 3]
    last = network_of(state, "network.encoder.")
    both = [torch.cat(stages_of(last, one), 1) for one in (pictures, pictures.flip(3))]
    yield "learned, weights of the last step", [(both[0] + both[1]) / 2]
    torch.manual_seed(0)
    drawn = _encoder().eval()
    yield "learned, untrained", [torch.cat(stages_of(drawn, pictures), 1)]


def main() -> None:
    """Measure all on each collection."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=Path("shared/data/classification"))
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    for name in (DEVELOPMENT, *(one[0] for one in ALLOWED)):
        tasks = Development(asked.data / f"{name}.npz", seed=0)
        for row, features in rows_of(tasks, asked.state):
            accuracy = round(100 * tasks._accuracy(features), 2)
            found.setdefault(row, {})[name] = accuracy
            print(name, row, accuracy, flush=True)
        rows = [{"features": row, "accuracy": figures} for row, figures in found.items()]
        write_json(asked.out, rows)


if __name__ == "__main__":
    main()
