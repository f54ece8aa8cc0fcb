"""Checkpoints and models on disk: safetensors and JSON, whole or not at all."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from medmeta.errors import CheckpointError
from medmeta.storage import (
    CARD,
    UNFINISHED,
    explained_disk_errors,
    load_folder,
    read_json,
    remove_leftovers,
    save_folder,
)

WEIGHTS = "weights.safetensors"
STATE = "state.safetensors"
CHECKPOINT, MODEL = "checkpoint", "model"
FRESH = ".new"  # what stands ready to take the place of a folder of the same name


@dataclass(frozen=True)
class Progress:
    """Where a run stands: all that is not a tensor.

    ``best_step`` is the step whose weights are the run's model so far (-1: none yet);
    ``waited`` counts validations since.
    """

    step: int = 0
    best_step: int = -1
    best_score: float = float("-inf")
    waited: int = 0
    finished: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON; the score of a run that never validated is null."""
        score = self.best_score if self.best_step >= 0 else None
        score = None if score is not None and abs(score) == float("inf") else score
        return {
            "step": self.step,
            "best_step": self.best_step,
            "best_score": score,
            "waited": self.waited,
            "finished": self.finished,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Progress:
        """Read what ``to_dict`` wrote."""
        score = values["best_score"]
        return cls(
            step=int(values["step"]),
            best_step=int(values["best_step"]),
            best_score=float("-inf") if score is None else float(score),
            waited=int(values["waited"]),
            finished=bool(values["finished"]),
        )


def tensors_to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as one safetensors file."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    return safetensors.torch.save(plain)


def tensors_from_bytes(content: bytes, *, where: Path) -> dict[str, Tensor]:
    """Read a safetensors file; raises ``CheckpointError`` that names it."""
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{where} is not a readable safetensors file ({error}).") from None


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], *, where: Path) -> None:
    """Put weights into a module; raises ``CheckpointError`` where they are another module's."""
    try:
        module.load_state_dict(dict(weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{where} holds the weights of another learner: {reason}") from None


def save_model(run: Path, step: int, learner: nn.Module, card: Mapping[str, Any]) -> Path:
    """Save the learner's weights as the run's model of this step."""
    folder = run / f"{MODEL}-{step:09d}"
    weights = tensors_to_bytes(learner.state_dict())
    # It is there already where a killed run got this far: maybe of other weights.
    _save_in_place(folder, {**card, "step": step}, {WEIGHTS: weights})
    return folder


def save_checkpoint(
    run: Path,
    progress: Progress,
    learner: nn.Module,
    optimiser: torch.optim.Optimizer,
    card: Mapping[str, Any],
) -> Path:
    """Save all that a run needs to go on, then remove what is no longer needed."""
    tensors = {f"learner.{k}": v for k, v in learner.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{number}.{key}"] = value
    folder = run / f"{CHECKPOINT}-{progress.step:09d}"
    content = {**card, "progress": progress.to_dict()}
    _save_in_place(folder, content, {STATE: tensors_to_bytes(tensors)})
    _prune(run, progress)
    return folder


def load_checkpoint(
    run: Path, learner: nn.Module, optimiser: torch.optim.Optimizer
) -> Progress | None:
    """Go back to the newest checkpoint of a run; None where it has none.

    Raises ``CheckpointError`` where it is damaged, or the model that it names is gone.
    """
    for fresh in sorted(run.glob(f"*-*{FRESH}")):
        if re.fullmatch(rf"({CHECKPOINT}|{MODEL})-\d+{re.escape(FRESH)}", fresh.name):
            _put_in_place(fresh)  # a killed run wrote it whole
    remove_leftovers(run)
    numbers = _numbers(run, CHECKPOINT)
    if not numbers:
        return None
    folder = run / f"{CHECKPOINT}-{numbers[-1]:09d}"
    try:
        progress, tensors = _read_checkpoint(folder)
    except CheckpointError as error:
        older = f" Or remove {folder} to go on from the checkpoint before it."
        raise CheckpointError(f"{error}{older if len(numbers) > 1 else ''}") from None
    model = run / f"{MODEL}-{progress.best_step:09d}"
    if progress.best_step >= 0 and not model.is_dir():
        raise CheckpointError(f"{model}, the best model of {folder}, is gone; restore it.")
    _prune(run, progress)  # a kill may have come before or amid it
    own = {k.removeprefix("learner."): v for k, v in tensors.items() if k.startswith("learner.")}
    load_weights(learner, own, where=folder / STATE)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, number, key = name.split(".", 2)
            state.setdefault(int(number), {})[key] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    return progress


def _read_checkpoint(folder: Path) -> tuple[Progress, dict[str, Tensor]]:
    card, parts = load_folder(folder)
    if STATE not in parts:
        raise CheckpointError(f"{folder} lacks its {STATE}.")
    return _progress(card, folder), tensors_from_bytes(parts[STATE], where=folder / STATE)


def _progress(card: Mapping[str, Any], folder: Path) -> Progress:
    try:
        return Progress.from_dict(card["progress"])
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{folder / CARD} does not say where the run stands.") from None


def newest_checkpoint_card(run: Path) -> dict[str, Any] | None:
    """The card of a run's newest checkpoint, without its tensors; None where it has none."""
    numbers = _numbers(run, CHECKPOINT)
    if not numbers:
        return None
    card = read_json(run / f"{CHECKPOINT}-{numbers[-1]:09d}" / CARD)
    return card if isinstance(card, dict) else None


def model_folder(run: Path) -> Path:
    """The folder of a run's model: the best validated weights, or the last.

    Raises ``CheckpointError`` where the run has none.
    """
    card = newest_checkpoint_card(run)
    if card is None:
        raise CheckpointError(
            f"{run} holds no trained model. Give the folder that 'medmeta train --out' wrote; "
            "a run that was stopped early goes on with --resume."
        )
    best = _progress(card, run / f"{CHECKPOINT}-{_numbers(run, CHECKPOINT)[-1]:09d}").best_step
    folder = run / f"{MODEL}-{best:09d}"
    if best < 0 or not folder.is_dir():
        raise CheckpointError(f"{run} has no model yet; go on training with --resume.")
    return folder


def _numbers(run: Path, kind: str) -> list[int]:
    if not run.is_dir():
        return []
    names = (re.fullmatch(rf"{kind}-(\d+)", path.name) for path in run.iterdir())
    return sorted(int(match[1]) for match in names if match)


def _save_in_place(folder: Path, card: Mapping[str, Any], parts: Mapping[str, bytes]) -> None:
    """Save a folder; one of its name makes way only when the new one is wholly on the disk.

    At whatever instant the process is killed, the old one, the new one or both are whole.
    """
    if not folder.exists():
        save_folder(folder, card, parts)
        return
    fresh = folder.with_name(folder.name + FRESH)
    shutil.rmtree(fresh, ignore_errors=True)
    save_folder(fresh, card, parts)
    _put_in_place(fresh)


def _put_in_place(fresh: Path) -> None:
    folder = fresh.with_name(fresh.name.removesuffix(FRESH))
    aside = folder.with_name(f".{folder.name}.old{UNFINISHED}")  # removed, if not now, then later
    with explained_disk_errors(folder):
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
        fresh.rename(folder)
    shutil.rmtree(aside, ignore_errors=True)


def _prune(run: Path, progress: Progress) -> None:
    """Keep the two newest checkpoints and the models that they call best."""
    checkpoints = _numbers(run, CHECKPOINT)
    for number in checkpoints[:-2]:
        shutil.rmtree(run / f"{CHECKPOINT}-{number:09d}", ignore_errors=True)
    needed = {progress.best_step}
    for number in checkpoints[-2:]:
        folder = run / f"{CHECKPOINT}-{number:09d}"
        try:
            needed.add(_progress(read_json(folder / CARD), folder).best_step)
        except CheckpointError:
            return  # the older one is damaged: which model it needs is not known
    for number in _numbers(run, MODEL):
        if number not in needed:
            shutil.rmtree(run / f"{MODEL}-{number:09d}", ignore_errors=True)
