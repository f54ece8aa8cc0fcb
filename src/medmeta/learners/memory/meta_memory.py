"""Meta-memory: learned slots into which a learned controller writes the support."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits
from medmeta.learners._class_sums import class_means
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.memory._addressing import cosine_address, cosines, erase_and_add


class MetaMemoryConfig(HeadConfig):
    """Options of the meta-memory.

    ``slots``: rows of the memory; ``memory_size``: numbers in a slot's key and in its content.
    ``writing``: ``one_by_one``, in the order of the support, each image seeing what those before
    it have written, or ``together``, all of them seeing the slots as they begin, so that the
    order does not matter. ``hidden``: units of the controller. ``sharpness`` of addressing and
    ``scale`` of the similarities in the logits are learned; here they start.
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3)
    slots: int = Field(16, ge=1, le=4096)
    memory_size: int = Field(64, ge=1, le=4096)
    writing: Literal["one_by_one", "together"] = "one_by_one"
    hidden: int = Field(32, ge=1, le=4096)
    sharpness: float = Field(10.0, gt=0)
    scale: float = Field(10.0, gt=0)


@dataclass(frozen=True)
class Memory:
    """Slots of ``T`` tasks: ``keys`` and ``contents`` ``(T, M, d)``, ``labels`` ``(T, M, N)``.

    ``labels`` are how much of each class was written into a slot and not erased.
    """

    keys: Tensor
    contents: Tensor
    labels: Tensor

    @property
    def rows(self) -> Tensor:
        """All of a slot side by side, ``(T, M, 2 d + N)``."""
        return torch.cat([self.keys, self.contents, self.labels], dim=-1)

    def written(self, weights: Tensor, erase: Tensor, add: Tensor) -> Memory:
        """The memory after some writes at once, by ``erase_and_add``."""
        d = self.keys.shape[-1]
        rows = erase_and_add(self.rows, weights, erase, add)
        return Memory(rows[..., :d], rows[..., d : 2 * d], rows[..., 2 * d :])


@dataclass(frozen=True)
class Decision:
    """What the controller wants with an image, all between 0 and 1, ``(T, n, 1)`` or as said.

    ``write`` it at all; ``reuse`` slots that are in use already; ``erase`` ``(T, n, 2 d)`` of
    keys and contents, ``forget`` of labels, where it is written.
    """

    write: Tensor
    reuse: Tensor
    erase: Tensor
    forget: Tensor


class Controller(nn.Module):
    """Decides on each image from it, what the memory holds near it, and how that fits.

    It is told of labels only how much of the image's own and of all is there, so that it treats
    all classes alike.
    """

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.size = size
        self.inner = nn.Linear(2 * size + 3, hidden)
        self.outer = nn.Linear(hidden, 2 * size + 3)
        with torch.no_grad():  # it begins by writing nearly all and erasing little
            self.outer.bias.fill_(-2.0)
            self.outer.bias[0], self.outer.bias[1] = 2.0, 0.0

    def forward(self, keys: Tensor, read: Tensor, nearness: Tensor, held: Tensor) -> Decision:
        """``keys`` and ``read`` ``(T, n, d)``, ``nearness`` ``(T, n, 1)``, ``held`` ``(T, n, 2)``.

        ``held``: labels near the image, its own and all.
        """
        signals = torch.cat([keys, read, nearness, saturated(held)], dim=-1)
        gates = self.outer(self.inner(signals).relu()).sigmoid()
        return Decision(*gates.split([1, 1, 2 * self.size, 1], dim=-1))


class MetaMemoryHead(AbstractLearner):
    """Writes the support into slots, then compares what support and query recall of them.

    Takes embeddings ``(T, S, D)`` of ``size`` D. Where the slots begin and when the controller
    writes, overwrites and erases is learned across tasks. An image in context is its key plus the
    content that it reads; logits are the scaled cosine similarity of a query in context to each
    class's mean, plus a learned weight times the labels that it reads. After Cai et al. 2018
    (Memory Matching Networks), section 3; writing as Graves, Wayne and Danihelka 2014, section 3.
    """

    def __init__(self, config: MetaMemoryConfig, size: int) -> None:
        super().__init__()
        d = config.memory_size
        self.one_by_one = config.writing == "one_by_one"
        start = nn.init.orthogonal_(torch.empty(d, size), gain=max(1.0, size / d) ** 0.5)
        self.to_key, self.to_content = nn.Parameter(start), nn.Parameter(start.clone())
        self.first_keys = nn.Parameter(0.1 * torch.randn(config.slots, d))
        self.first_contents = nn.Parameter(0.1 * torch.randn(config.slots, d))
        self.controller = Controller(d, config.hidden)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(config.sharpness)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale)))
        self.log_crowding = nn.Parameter(torch.tensor(math.log(config.sharpness)))
        self.label_weight = nn.Parameter(torch.ones(()))
        self.traits = Traits(order_free=not self.one_by_one, input_kinds=frozenset({"vector"}))

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Write the support; the predictor holds the memory."""
        images = directions_of(support.inputs)
        labels = F.one_hot(support.labels, target.size).to(images.dtype)
        memory = self._write_all(self._first_memory(images, target.size), images, labels)
        in_context, _ = self._recalled(memory, images)
        classes = class_means(in_context, support.labels, target.size)

        def predict(inputs: Inputs) -> Tensor:
            queries, read = self._recalled(memory, directions_of(inputs))
            shares = read / (1 + read.sum(-1, keepdim=True))
            return cosines(queries, classes) * self.log_scale.exp() + self.label_weight * shares

        return predict

    def _first_memory(self, images: Tensor, n_way: int) -> Memory:
        """The learned slots for each task, without labels."""
        n_tasks, (n_slots, d) = len(images), self.first_keys.shape
        keys = self.first_keys.expand(n_tasks, n_slots, d)
        contents = self.first_contents.expand(n_tasks, n_slots, d)
        return Memory(keys, contents, images.new_zeros(n_tasks, n_slots, n_way))

    def _write_all(self, memory: Memory, images: Tensor, labels: Tensor) -> Memory:
        if not self.one_by_one:
            return self.write(memory, images, labels)
        for i in range(images.shape[1]):
            memory = self.write(memory, images[:, i : i + 1], labels[:, i : i + 1])
        return memory

    def write(self, memory: Memory, images: Tensor, labels: Tensor) -> Memory:
        """The memory after images ``(T, n, D)`` with one-hot labels ``(T, n, N)`` at once.

        Slots in use are the less likely to be written, the less ``reuse`` is wanted.
        """
        keys, contents = images @ self.to_key.mT, images @ self.to_content.mT
        likeness, sharpness = cosines(keys, memory.keys), self.log_sharpness.exp()
        near = (sharpness * likeness).softmax(dim=-1)
        labels_near = near @ memory.labels
        held = torch.stack([(labels_near * labels).sum(-1), labels_near.sum(-1)], dim=-1)
        nearness = likeness.amax(-1, keepdim=True)
        decision = self.controller(keys, near @ memory.contents, nearness, held)
        in_use = saturated(memory.labels.sum(-1))[:, None]
        crowding = (1 - decision.reuse) * self.log_crowding.exp() * in_use
        address = (sharpness * likeness - crowding).softmax(dim=-1)
        erase = torch.cat([decision.erase, decision.forget.expand_as(labels)], dim=-1)
        add = torch.cat([keys, contents, labels], dim=-1)
        return memory.written(decision.write * address, erase, add)

    def _recalled(self, memory: Memory, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images in context ``(T, n, d)``, and the labels that they read ``(T, n, N)``."""
        keys = images @ self.to_key.mT
        weights = cosine_address(keys, memory.keys, self.log_sharpness.exp())
        return keys + weights @ memory.contents, weights @ memory.labels


def saturated(amount: Tensor) -> Tensor:
    """``x / (1 + x)``: amounts that have no upper bound, between 0 and 1."""
    return amount / (1 + amount)


def directions_of(inputs: Inputs) -> Tensor:
    """Embeddings scaled to length 1."""
    return F.normalize(at_least_single(any_tensor(inputs)), dim=-1)


def _build_head(config: MetaMemoryConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return MetaMemoryHead(config, embedding.channels)


SPEC = LearnerSpec.of_head(
    name="meta_memory",
    family="memory",
    summary="learned slots into which a learned controller writes, overwrites and erases",
    paper="Cai et al. 2018, Memory Matching Networks for One-Shot Image Recognition",
    config=MetaMemoryConfig,
    build_head=_build_head,
)
