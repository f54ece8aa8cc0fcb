"""The encoder that a run starts from: of a pre-training, or of any other run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medmeta.app.assembling import encoder_of
from medmeta.app.held_out import Held
from medmeta.app.models import LoadedModel, classes_learned, load_model
from medmeta.app.run_folder import fingerprint, load_seen
from medmeta.app.run_request import RunRequest
from medmeta.data.preprocess import Preprocessing
from medmeta.encoders.external import PREFIX
from medmeta.errors import SettingsError, UnsupportedTaskError
from medmeta.learner import AbstractLearner
from medmeta.learners import EncodedConfig
from medmeta.training.checkpoint import newest_checkpoint_card

_SHOWN = 3


@dataclass(frozen=True)
class InitialEncoder:
    """Where a run starts.

    ``record`` is what its card keeps: the SHA-256 and the whole of the other model's card.
    ``seen`` are content hashes of the pictures that the other run has seen, which the new one has
    then seen as well. ``model`` is None where a run that goes on has its weights already.
    """

    record: Mapping[str, Any]
    seen: NDArray[np.uint64]
    model: LoadedModel | None = None

    def give(self, learner: AbstractLearner, config: EncodedConfig) -> None:
        """Put the weights into a fresh learner's encoder; nothing else of it is changed.

        Raises ``SettingsError`` that says how to build one that they fit, ``UnsupportedTaskError``
        where the other run has nothing to give.
        """
        if self.model is None:
            return
        weights = encoder_of(self.model.learner).state_dict()
        if not weights:
            raise UnsupportedTaskError(
                f"--init: the encoder {self._encoder['name']} of that run has no weights; name a "
                "run whose encoder was trained."
            )
        encoder = encoder_of(learner)
        wrong = _misfits(weights, encoder.state_dict())
        there, here = self._encoder["norm"], config.encoder.norm
        about = "; ".join(wrong[:_SHOWN])
        about += f" (and {len(wrong) - _SHOWN} more)" if len(wrong) > _SHOWN else ""
        if there != here and not self._encoder["name"].startswith(PREFIX):
            about = f"it normalises by {there} and this run by {here}"
        if about:
            raise SettingsError(
                f"--init: the encoder of that run does not fit: {about}. That run had "
                f"{self._flags()}; give the same here, or train another one to start from."
            )
        encoder.load_state_dict(weights)

    def remarks(self, config: EncodedConfig, request: RunRequest, held: Held) -> list[str]:
        """What is not the same there, though the weights fit; and classes that leak."""
        card, notes = self.record["card"], []
        if Preprocessing.model_validate(card.get("preprocessing")) != request.preprocessing:
            notes.append(f"--init: that run saw its images otherwise prepared ({self._flags()}).")
        options = config.encoder.model_dump(mode="json")
        if self._encoder.get("options") != options["options"]:
            notes.append(f"--init: its encoder had other options ({self._flags()}).")
        known = classes_learned(card)
        leaked = sorted(
            f"{source.name}: {name}"
            for source in held.validation
            if held.how == "classes"
            for name in source.index.class_names
            if (source.name, name) in known
        )
        if leaked:
            more = f" and {len(leaked) - _SHOWN} more" if len(leaked) > _SHOWN else ""
            notes.append(
                f"warning: the run of --init was trained on classes that are held out here "
                f"({', '.join(leaked[:_SHOWN])}{more}), so validation says too much. The same "
                "--source, --seed, --way, --shot and --query hold out the same classes."
            )
        elif n_seen := self._seen_of(held):
            notes.append(
                f"warning: {n_seen} pictures that are held out here were seen by the run of "
                "--init, so validation may say too much. The same --source, --seed, --way, "
                "--shot and --query hold out the same pictures."
            )
        return notes

    def _seen_of(self, held: Held) -> int:
        """How many held-out pictures the other run has seen, but for what it held out too."""
        held_out_there = {d.get("fingerprint") for d in self.record["card"].get("validated_on", [])}
        others = [s for s in held.validation if fingerprint(s) not in held_out_there]
        return sum(int(np.isin(source.hashes, self.seen).sum()) for source in others)

    @property
    def _encoder(self) -> Mapping[str, Any]:
        encoder: Mapping[str, Any] = self.record["card"]["options"]["encoder"]
        return encoder

    def _flags(self) -> str:
        """Its encoder and images, as flags."""
        there = Preprocessing.model_validate(self.record["card"]["preprocessing"])
        images = {"size": there.size, "channels": there.channels, "fit": there.fit}
        images |= there.model_dump(mode="json", exclude_defaults=True)
        options = self._encoder.get("options", {})
        words = [f"--encoder {self._encoder['name']}", f"--norm {self._encoder['norm']}"]
        words += [f"--set encoder.options.{name}={value}" for name, value in options.items()]
        words += ["--set encoder.flips=true"] if self._encoder.get("flips") else []
        return " ".join([*words, *(f"--{k.replace('_', '-')} {v}" for k, v in images.items())])


def initial_encoder(
    path: Path | None, run: Path, *, resume: bool, allow_external: bool
) -> InitialEncoder | None:
    """What ``--init`` names; None for nothing.

    A run that goes on needs neither the flag nor the other run any more. Raises
    ``CheckpointError`` where there is no such model.
    """
    before = newest_checkpoint_card(run) if resume else None
    known = (before or {}).get("init")
    if known and (path is None or not path.exists()):
        return InitialEncoder(known, load_seen(run))
    if path is None:
        return None
    model = load_model(path, allow_external=allow_external)
    record = {"sha256": model.sha256, "card": dict(model.card)}
    return InitialEncoder(record, model.seen_hashes(), None if before else model)


def _misfits(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Weights that one has and the other lacks, or that differ in shape."""
    return [
        f"{name} is {_shape(given.get(name))} there and {_shape(wanted.get(name))} here"
        for name in dict.fromkeys((*given, *wanted))
        if _shape(given.get(name)) != _shape(wanted.get(name))
    ]


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "×".join(map(str, tensor.shape)) or "one number"
