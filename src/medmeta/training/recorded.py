"""A step's operations on a GPU, recorded once and replayed for each batch of the same shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from medmeta.episode import Episode, LabelledSet, Target, map_inputs
from medmeta.learner import AbstractLearner
from medmeta.training.buffers import buffers_kept

WARM_UP = 3  # torch's own advice: allocators and libraries settle before a recording
SEEN = 3  # batches of one shape before it is worth a recording
MOST = 64  # recordings
WAITING = frozenset(("_local_scalar_dense", "nonzero", "masked_select"))
COPYING = frozenset(("_to_copy", "copy_"))
Shapes = tuple[Target, *tuple[tuple[tuple[int, ...], torch.dtype], ...]]


@dataclass(frozen=True)
class Recording:
    """One recorded step: where it reads its batch, and where it leaves loss and gradients."""

    graph: torch.cuda.CUDAGraph
    batch: Episode
    loss: Tensor
    gradients: tuple[Tensor | None, ...]


class RecordedSteps:
    """Replays a step of small networks, whose time goes into starting thousands of operations.

    ``step`` computes the loss of a batch of tasks and leaves its gradient in the parameters'
    ``grad``. Each shape of batches that comes again and again has a recording of its own. What
    waits for the GPU within a step (chance drawn on the processor, a solver that looks at its
    result) cannot be recorded: such a learner is run as ever, and ``refused`` says why.
    """

    def __init__(self, learner: AbstractLearner, step: Callable[[Episode], Tensor]) -> None:
        self.learner = learner
        self.step = step
        self.refused = ""
        self._known: dict[Shapes, Recording] = {}
        self._seen: Counter[Shapes] = Counter()
        self._memory: Any = None  # of all recordings: only one is replayed at a time

    def __call__(self, episode: Episode) -> Tensor | None:
        """The loss, with the gradients in place; None where the step is to be run as ever."""
        if self.refused:
            return None
        shapes = _shapes(episode)
        if shapes not in self._known:
            self._seen[shapes] += 1
            if self._seen[shapes] < SEEN or len(self._known) == MOST:
                return None
            try:
                self._known[shapes] = self._record(episode)
            except RuntimeError as error:
                self.refused = str(error).splitlines()[0]
                torch.cuda.synchronize()
                return None
        recording = self._known[shapes]
        for own, given in zip(_tensors(recording.batch), _tensors(episode), strict=True):
            own.copy_(given, non_blocking=True)
        recording.graph.replay()
        for parameter, gradient in zip(self.learner.parameters(), recording.gradients, strict=True):
            parameter.grad = gradient
        return recording.loss

    def _record(self, episode: Episode) -> Recording:
        batch = _copied(episode)
        with buffers_kept(self.learner):
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP - 1):
                    self.step(batch)
                with Waits() as waits:
                    self.step(batch)
            torch.cuda.current_stream().wait_stream(aside)
            for parameter in self.learner.parameters():
                parameter.grad = None
            if waits.operation:  # before a recording is begun: one that breaks off leaves traces
                raise RuntimeError(f"{waits.operation} waits for the GPU within a step.")
            graph = torch.cuda.CUDAGraph()
            self._memory = self._memory or torch.cuda.graph_pool_handle()
            with torch.cuda.graph(graph, self._memory, capture_error_mode="thread_local"):
                loss = self.step(batch)
        gradients = tuple(parameter.grad for parameter in self.learner.parameters())
        return Recording(graph, batch, loss, gradients)


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notices the first ``operation`` whose result the processor waits for: it has no recording.

    Those that ask for a number (``bool(mask.all())``), or whose size depends on what is in them, of
    tensors on ``device``, and copies to it and from it.
    """

    def __init__(self, device: str = "cuda") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device
        self.operation = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it, and remember what it was."""
        found = func(*args, **(kwargs or {}))
        name, given = func.overloadpacket.__name__, _devices(args)
        by_mask = name == "index" and any(_is_mask(index) for index in args[1])
        waits = self.device in given[:1] and (name in WAITING or by_mask)
        ends = {*given, *_devices((found,))}
        copies = name in COPYING and self.device in ends and len(ends) > 1
        if not self.operation and (waits or copies):
            self.operation = name
        return found


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def _devices(values: Any) -> list[str]:
    return [one.device.type for one in values if isinstance(one, Tensor)]


def _tensors(episode: Episode) -> list[Tensor]:
    return [tensor for part in (episode.support, episode.query) for tensor in _of_set(part)]


def _of_set(labelled: LabelledSet) -> list[Tensor]:
    groups = [] if labelled.groups is None else [labelled.groups]
    return [*pytree.tree_leaves(labelled.inputs), labelled.labels, labelled.task_ids, *groups]


def _shapes(episode: Episode) -> Shapes:
    seen = ((tuple(tensor.shape), tensor.dtype) for tensor in _tensors(episode))
    return (episode.target, *seen)


def _copied(episode: Episode) -> Episode:
    def copy(labelled: LabelledSet) -> LabelledSet:
        return LabelledSet(
            map_inputs(torch.clone, labelled.inputs),
            labelled.labels.clone(),
            labelled.task_ids.clone(),
            None if labelled.groups is None else labelled.groups.clone(),
        )

    return Episode(copy(episode.support), copy(episode.query), episode.target)
