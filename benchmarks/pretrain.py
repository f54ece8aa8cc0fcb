"""Trains the encoder of the model in the box, on two cores or one, in hours; can be stopped.

    python benchmarks/pretrain.py --out runs/base --steps 5000
    python benchmarks/pretrain.py --out runs/base --steps 5000      goes on where it was stopped

All classes of a bank are told apart by one linear layer on the means of every stage of the network,
the banks' losses summed; a batch holds pictures of all banks. The first part learns from drawn
pictures and handwriting only, and its weights are kept too: to them the medical collections are
new, so what suits new collections can be chosen on them (``benchmarks/past_tasks.py``). The second
adds the collections. Weights are averaged over steps. The curve, with accuracies on
a collection that is never trained on, goes into ``curve.json``.

Every step draws from a generator of its own, so a run that was stopped and one that was not end
with the same weights (on one thread, with one version of torch).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmeta.encoders import AbstractEncoder, EncoderConfig, build_encoder
from medmeta.episode import InputSpec
from medmeta.storage import load_folder, save_folder, write_json
from medmeta.training.checkpoint import tensors_from_bytes, tensors_to_bytes
from pretrain_banks import (
    ALLOWED,
    DEVELOPMENT,
    HANDWRITING,
    SIZE,
    Bank,
    DrawnBank,
    anatomy,
    collection,
    programs_bank,
)
from pretrain_development import Development
from pretrain_views import as_network_takes, changed

ENCODER = {
    "name": "resnet10",
    "norm": "running",
    "options": {"widths": [24, 64, 160, 320], "stem": "medium", "embed": "stages"},
}
AVERAGED = 0.998
FAMILIES = 100
RATE = 1e-3
LENGTH = 4.0  # of the features that are told apart: longer, and few pictures move a layer too far
FIRST_PART = 0.3
STATE = "state.safetensors"


@dataclass(frozen=True)
class Shares:
    """Pictures of a batch: from programs, the anatomy, handwriting and the collections."""

    programs: int
    anatomy: int
    handwriting: int
    collections: int


FIRST, SECOND = Shares(48, 36, 12, 0), Shares(32, 24, 8, 32)


class Heads(nn.Module):
    """The network with a linear layer for each bank."""

    def __init__(self, encoder: AbstractEncoder, classes: dict[str, int]) -> None:
        super().__init__()
        self.encoder = encoder
        size = encoder.embedding_size
        self.scale = nn.BatchNorm1d(size, affine=False)
        self.heads = nn.ModuleDict({name: nn.Linear(size, n) for name, n in classes.items()})
        for layer in self.heads.values():
            nn.init.zeros_(cast(nn.Linear, layer).weight)

    def losses(self, pictures: Tensor, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean cross-entropy of each bank; pictures stand in the banks' order."""
        features = F.dropout(self.scale(self.encoder(pictures)), 0.1)
        features = features * (LENGTH / features.shape[1] ** 0.5)
        found, first = {}, 0
        for name, wanted in labels.items():
            logits = self.heads[name](features[first : first + len(wanted)])
            found[name] = F.cross_entropy(logits, wanted, label_smoothing=0.1)
            first += len(wanted)
        return found


class Pretraining:
    """One run in a folder."""

    def __init__(
        self,
        out: Path,
        data: Path,
        *,
        steps: int,
        seed: int,
        anatomy_images: int = 120,
        strength: float = 1.0,
    ) -> None:
        self.out, self.steps, self.seed, self.strength = out, steps, seed, strength
        out.mkdir(parents=True, exist_ok=True)
        banks: list[Bank | DrawnBank] = [programs_bank(FAMILIES, seed=seed)]
        self.anatomy = anatomy(anatomy_images, seed=seed)
        self.handwriting = collection(data / f"{HANDWRITING[0]}.npz", *HANDWRITING)
        self.collections = [collection(data / f"{one[0]}.npz", *one) for one in ALLOWED]
        self.drawn = banks[0]
        self.banks = [*banks, *self.anatomy, self.handwriting, *self.collections]
        paths = [data / f"{name}.npz" for name in (DEVELOPMENT, *(one[0] for one in ALLOWED))]
        self.development = [Development(path, seed=seed) for path in paths]
        torch.manual_seed(seed)
        self.network = Heads(_encoder(), {bank.name: bank.n_classes for bank in self.banks})
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.clone() for k, v in self.network.encoder.state_dict().items()}
        self.optimiser = torch.optim.AdamW(_groups(self.network), lr=RATE)
        self.curve: list[dict[str, object]] = []
        self.step, self.spent = 0, 0.0
        self.first_steps = round(FIRST_PART * steps)

    def run(self, *, every: int) -> None:
        """Train to the end, saving and asking the development tasks every so many steps."""
        self._resume()
        started, before = time.monotonic(), self.spent
        sums: dict[str, float] = {}
        while self.step < self.steps:
            for name, value in self._learn().items():
                sums[name] = sums.get(name, 0.0) + value
            self.step += 1
            self.spent = before + time.monotonic() - started
            if self.step % every == 0 or self.step in (self.steps, self.first_steps):
                self._report(sums, every)
                sums = {}
                self._save(f"step-{self.step:06d}")

    def _learn(self) -> dict[str, float]:
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        torch.manual_seed(self.seed * 1_000_003 + self.step)
        with torch.no_grad():
            pictures, labels = self._batch(chance)
        for group in self.optimiser.param_groups:
            group["lr"] = RATE * _share_of_rate(self.step, self.steps)
        self.network.train()
        losses = self._losses(pictures, labels)
        total = sum(loss * len(labels[name]) for name, loss in losses.items())
        self.optimiser.zero_grad()
        (total / len(pictures)).backward()  # type: ignore[union-attr]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        keep = min(AVERAGED, (1 + self.step) / (10 + self.step))
        for name, value in self.network.encoder.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - keep)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _losses(self, pictures: Tensor, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.network.losses(pictures, labels)

    def _batch(self, chance: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        shares = FIRST if self.step < self.first_steps else SECOND
        asked: list[tuple[Bank | DrawnBank, int]] = [(self.drawn, shares.programs)]
        asked += [(bank, shares.anatomy // len(self.anatomy)) for bank in self.anatomy]
        asked.append((self.handwriting, shares.handwriting))
        asked += [(b, shares.collections // len(self.collections)) for b in self.collections]
        asked = [(bank, n) for bank, n in asked if n]
        drawn = [bank.batch(n, chance) for bank, n in asked]
        turn = torch.cat([torch.full((n,), bank.turn) for bank, n in asked])
        whole = torch.cat([pixels for pixels, _ in drawn])
        pictures = changed(whole, turn, chance, strength=self.strength)
        pictures = as_network_takes(pictures).contiguous(memory_format=torch.channels_last)
        labels = {bank.name: found for (bank, _), (_, found) in zip(asked, drawn, strict=True)}
        return pictures, labels

    def _report(self, sums: dict[str, float], every: int) -> None:
        encoder = self.averaged()
        asked = {d.name: d.accuracies(encoder) for d in self.development}
        losses = {name: round(value / every, 3) for name, value in sums.items()}
        row = {"step": self.step, "seconds": round(self.spent), "losses": losses, "accuracy": asked}
        self.curve.append(row)
        print(json.dumps(row), flush=True)

    def averaged(self) -> AbstractEncoder:
        """The encoder with the averaged weights."""
        encoder = _encoder()
        encoder.load_state_dict(self.average)
        return encoder.eval()

    def _save(self, name: str) -> None:
        held = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        held |= {f"average.{k}": v for k, v in self.average.items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            held |= {f"optimiser.{number}.{k}": torch.as_tensor(v) for k, v in state.items()}
        card = {
            "format": "medmeta-pretraining/1",
            "step": self.step,
            "seconds": self.spent,
            "curve": self.curve,
            "steps": self.steps,
            "seed": self.seed,
        }
        save_folder(self.out / name, card, {STATE: tensors_to_bytes(held)})
        write_json(self.out / "curve.json", self.curve)
        kept = {self.steps, self.first_steps, self.step}
        for folder in self.out.glob("step-*"):
            if int(folder.name[5:]) not in kept:
                for file in folder.iterdir():
                    file.unlink()
                folder.rmdir()

    def _resume(self) -> None:
        found = sorted(self.out.glob("step-*"))
        if not found:
            return
        card, parts = load_folder(found[-1])
        held = tensors_from_bytes(parts[STATE], where=found[-1] / STATE)
        assert (card["steps"], card["seed"]) == (self.steps, self.seed), "another run's folder"
        self.network.load_state_dict(_part(held, "network."))
        self.average = _part(held, "average.")
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(held, "optimiser.").items():
            number, _, key = name.partition(".")
            states.setdefault(int(number), {})[key] = value
        whole = self.optimiser.state_dict()
        self.optimiser.load_state_dict({**whole, "state": states})
        self.step, self.spent, self.curve = card["step"], card["seconds"], card["curve"]


def _part(held: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in held.items() if k.startswith(prefix)}


def _encoder() -> AbstractEncoder:
    config = EncoderConfig.model_validate(ENCODER)
    return build_encoder(config, InputSpec(3, (SIZE, SIZE)), norm="running")


def _groups(network: nn.Module) -> list[dict[str, object]]:
    """Weight decay for matrices and kernels, none for the rest."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _share_of_rate(step: int, steps: int) -> float:
    """Up over the first 200 steps, then down as a cosine."""
    return min(1.0, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / steps))


def main() -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--data", type=Path, default=Path("shared/data/classification"))
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--every", type=int, default=250, help="steps between development tasks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    text = "how much of the changes of levels and colours, 0 to 1"
    parser.add_argument("--strength", type=float, default=1.0, help=text)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    run = Pretraining(
        asked.out, asked.data, steps=asked.steps, seed=asked.seed, strength=asked.strength
    )
    run.run(every=asked.every)


if __name__ == "__main__":
    main()
