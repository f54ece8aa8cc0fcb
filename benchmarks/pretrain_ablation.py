"""What each part of the recipe gives: short trainings that differ in one thing.

    python benchmarks/pretrain_ablation.py --out runs/ablation --steps 300

All are the first part of ``benchmarks/pretrain.py`` (no collection is trained on), as many steps,
batches of the same pictures where the variant has them, and averaged weights; asked are the
development tasks. ``untrained`` is the network as it was drawn. A variant that is there already is
not trained again; written to ``docs/pretrain_ablation.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.encoders import AbstractEncoder
from medmeta.storage import write_json
from page_tables import kept_rows
from pretrain import FIRST, RATE, Heads, Pretraining, Shares, _encoder, _groups
from pretrain_banks import Bank, DrawnBank
from pretrain_development import Development
from pretrain_views import as_network_takes, changed

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "pretrain_ablation.json"
OF_A_CLASS = 2
SHARPNESS = 16.0  # of the prototypical episodes' logits: of vectors of length 1


@dataclass(frozen=True)
class Variant:
    """One recipe: how many pictures of what, how much levels and colours change, and the loss.

    ``episodes``: two pictures of a class are told from those of other classes, in place of all
    classes at once. ``views``: two views of one picture from those of others, without any label.
    """

    name: str
    shares: Shares = FIRST
    strength: float = 1.0
    episodes: bool = False
    views: bool = False

    @property
    def in_pairs(self) -> bool:
        """Whether pictures come two by two, to be found by each other."""
        return self.episodes or self.views


VARIANTS = (
    Variant("recipe"),
    Variant("without programs", Shares(0, 72, 24, 0)),
    Variant("places alone change, not levels and colours", strength=0.0),
    Variant("prototypical episodes instead of class unions", episodes=True),
    Variant("self-supervision: two views of one picture, no labels", views=True),
    Variant("a third of the changes of levels and colours", strength=0.3),
)


class Short(Pretraining):
    """A training that is begun anew for each variant; banks are made once."""

    variant = VARIANTS[0]

    def begin(self, variant: Variant) -> None:
        """Forget what was learned."""
        self.variant, self.step, self.first_steps = variant, 0, self.steps
        torch.manual_seed(self.seed)
        self.network = Heads(_encoder(), {bank.name: bank.n_classes for bank in self.banks})
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.clone() for k, v in self.network.encoder.state_dict().items()}
        self.optimiser = torch.optim.AdamW(_groups(self.network), lr=RATE)

    def learn(self) -> float:
        """All steps; the seconds that they took."""
        started = time.process_time()
        while self.step < self.steps:
            self._learn()
            self.step += 1
        return time.process_time() - started

    def last(self) -> AbstractEncoder:
        """The encoder with the weights of the last step."""
        encoder = _encoder()
        encoder.load_state_dict(self.network.encoder.state_dict())
        return encoder.eval()

    def _batch(self, chance: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        shares = self.variant.shares
        asked: list[tuple[Bank | DrawnBank, int]] = [(self.drawn, shares.programs)]
        asked += [(bank, shares.anatomy // len(self.anatomy)) for bank in self.anatomy]
        asked.append((self.handwriting, shares.handwriting))
        asked = [(bank, n) for bank, n in asked if n]
        drawn = [self._of(bank, n, chance) for bank, n in asked]
        turn = torch.cat([torch.full((n,), bank.turn) for bank, n in asked])
        given = torch.cat([pixels for pixels, _ in drawn])
        pictures = as_network_takes(changed(given, turn, chance, strength=self.variant.strength))
        labels = {bank.name: found for (bank, _), (_, found) in zip(asked, drawn, strict=True)}
        return pictures.contiguous(memory_format=torch.channels_last), labels

    def _of(self, bank: Bank | DrawnBank, n: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.variant.views:
            pictures, labels = bank.batch(n // OF_A_CLASS, chance)
            return pictures.repeat_interleave(OF_A_CLASS, 0), labels.repeat_interleave(OF_A_CLASS)
        if not self.variant.episodes:
            return bank.batch(n, chance)
        some = torch.randperm(bank.n_classes, generator=chance)[: n // OF_A_CLASS]
        classes = some.repeat_interleave(OF_A_CLASS)
        return bank.pictures_of(classes, chance), classes

    def _losses(self, pictures: Tensor, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of pairs: each of two is to be found among the others by the one that it belongs to."""
        if not self.variant.in_pairs:
            return super()._losses(pictures, labels)
        features = F.normalize(self.network.scale(self.network.encoder(pictures)), dim=1)
        found, first = {}, 0
        for name, classes in labels.items():
            own = features[first : first + len(classes)].unflatten(0, (-1, OF_A_CLASS))  # type: ignore[no-untyped-call]
            first += len(classes)
            alike = SHARPNESS * own[:, 0] @ own[:, 1].mT
            truth = torch.arange(len(own))
            found[name] = (F.cross_entropy(alike, truth) + F.cross_entropy(alike.mT, truth)) / 2
        return found


def row(name: str, encoder: AbstractEncoder, asked: list[Development], **more: object) -> None:
    """Ask the development tasks and keep what they say."""
    accuracy = {one.name: one.accuracies(encoder) for one in asked}
    held = {kept["variant"]: kept for kept in kept_rows(RESULTS)}
    held[name] = {"variant": name, **more, "accuracy": accuracy}
    print(json.dumps(held[name]), flush=True)
    write_json(RESULTS, list(held.values()))


def main() -> None:
    """Train what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder that may be removed")
    parser.add_argument("--data", type=Path, default=Path("shared/data/classification"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    known = {kept["variant"] for kept in kept_rows(RESULTS)}
    run = Short(asked.out, asked.data, steps=asked.steps, seed=asked.seed)
    run.begin(VARIANTS[0])
    row("untrained", run.last(), run.development, steps=0)
    for variant in VARIANTS:
        if variant.name in known:
            continue
        run.begin(variant)
        facts = {"steps": run.steps, "seed": run.seed, "processor_seconds": round(run.learn())}
        row(variant.name, run.averaged(), run.development, **facts)
        row(f"{variant.name}, last weights", run.last(), run.development, **facts)


if __name__ == "__main__":
    main()
