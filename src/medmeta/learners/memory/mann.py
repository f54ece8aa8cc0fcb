"""A Neural Turing machine that learns to store the support in its memory, and to find it there."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from medmeta.episode import Episode, Inputs, InputSpec, LabelledSet, Predictor, Target, any_tensor
from medmeta.learner import AbstractLearner, TrainingDefaults, Traits, check_task_fits
from medmeta.learners._chance import permutations
from medmeta.learners._max_way import outputs_for
from medmeta.learners._precision import at_least_single
from medmeta.learners._spec import HeadConfig, LearnerSpec
from medmeta.learners.memory._gathered_gradient import with_gradient_of_all_steps
from medmeta.learners.memory._lru_memory import Memory, blank, read, used, write


class MANNConfig(HeadConfig):
    """Options of the memory-augmented neural network.

    ``controller``: units of the LSTM; ``slots`` of ``slot_size`` numbers with ``heads`` that read
    and write; ``usage_decay`` is γ. ``key_strengths``: what the cosines of a key with the slots are
    multiplied by, as the controller says in each step; without them a key finds the slot it means
    among 127 empty ones with a weight of 2 % only. ``streaming``: each label comes one step late,
    with the next image, and the answers to the support count in the loss, as in the paper;
    otherwise image and label are written together. ``max_way``: the size of labels and answers
    (None: the ways it is first built for).
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3, tasks_per_step=16)
    controller: int = Field(200, ge=1, le=10_000)
    slots: int = Field(128, ge=1, le=100_000)
    slot_size: int = Field(40, ge=1, le=10_000)
    heads: int = Field(4, ge=1, le=100)
    usage_decay: float = Field(0.95, ge=0, le=1)
    key_strengths: bool = True
    streaming: bool = False
    max_way: int | None = Field(None, ge=2, le=1000)

    @model_validator(mode="after")
    def _each_head_has_a_slot(self) -> MANNConfig:
        if self.slots < self.heads:
            raise ValueError(
                f"{self.heads} heads write to a slot each, and there are {self.slots} slots; set "
                f"slots={self.heads} or more, or fewer heads"
            )
        return self


FIRST_STRENGTH = 10.0  # of a slot that is meant, among 127 empty ones: a weight of 99 %
ONE_AT_ZERO = math.log(math.e - 1)  # softplus of it is 1


class Heads(NamedTuple):
    """What the controller asks of its heads in one step.

    ``keys`` ``(B, R, W)``; ``write_gates`` and ``strengths`` ``(B, R, 1)``.
    """

    keys: Tensor
    write_gates: Tensor
    strengths: Tensor


class State(NamedTuple):
    """A machine between two steps: the controller's ``(B, H)``, the memory, what was read."""

    hidden: Tensor
    cell: Tensor
    found: Tensor
    memory: Memory


class MemoryMachine(nn.Module):
    """An LSTM controller with a memory: inputs ``(B, L, D)`` to features ``(B, L, F)``.

    Santoro et al. 2016, section 3 and equations 2 to 8: the controller sees the input and what it
    read last, and makes a key for each head, which is written as well as looked for, with the
    strength that Neural Turing machines give it (Graves, Wayne and Danihelka 2014, equation 5).
    """

    def __init__(self, input_size: int, config: MANNConfig) -> None:
        super().__init__()
        self.config = config
        width = config.heads * config.slot_size
        self.features = config.controller + width
        self.from_input = nn.Linear(input_size, 4 * config.controller)
        self.from_state = nn.Linear(self.features, 4 * config.controller, bias=False)
        self.to_heads = nn.Linear(config.controller, width + config.heads)
        self.to_strengths: nn.Linear | None = None
        if config.key_strengths:
            self.to_strengths = nn.Linear(config.controller, config.heads)

    def blank_state(self, like: Tensor) -> State:
        """Before the first step, for as many streams as ``like`` has rows."""
        config = self.config
        hidden = like.new_zeros(len(like), config.controller)
        found = like.new_zeros(len(like), config.heads * config.slot_size)
        memory = blank(like, config.slots, config.slot_size, config.heads)
        return State(hidden, hidden, found, memory)

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Take all steps of ``(B, L, D)``; the features after each, and the last state."""
        state, weight = state or self.blank_state(inputs), self.from_state.weight
        before = torch.cat([state.hidden, state.found], dim=-1)
        seen: list[Tensor] = []
        features: list[Tensor] = []
        from_input = self.from_input(inputs)  # of all steps at once: one product
        for gates in with_gradient_of_all_steps(from_input, weight, seen).unbind(1):
            seen.append(before.detach())
            state = self._step(gates + F.linear(before, weight.detach()), state)
            before = torch.cat([state.hidden, state.found], dim=-1)
            features.append(before)
        return torch.stack(features, dim=1), state

    def looked_up(self, inputs: Tensor, state: State) -> Tensor:
        """Features ``(B, Q, F)`` of inputs each of which is the next step, and writes nothing.

        As nothing is written, all inputs ``(B, Q, D)`` share their stream's memory.
        """
        n_streams, n = inputs.shape[:2]
        before = self.from_state(torch.cat([state.hidden, state.found], dim=-1))
        gates = (self.from_input(inputs) + before[:, None]).flatten(0, 1)
        hidden, _ = self._control(gates, state.cell.repeat_interleave(n, dim=0))
        asked = self._heads(hidden)
        keys, strengths = (
            part.reshape(n_streams, -1, part.shape[-1]) for part in (asked.keys, asked.strengths)
        )
        found, _ = read(state.memory.slots, keys, strengths)
        parts = [hidden.reshape(n_streams, n, -1), found.reshape(n_streams, n, -1)]
        return torch.cat(parts, dim=-1)

    def _step(self, gates: Tensor, state: State) -> State:
        hidden, cell = self._control(gates, state.cell)
        asked = self._heads(hidden)
        slots, writing = write(state.memory, asked.keys, asked.write_gates)
        found, reading = read(slots, asked.keys, asked.strengths)
        usage = used(state.memory.usage, reading, writing, self.config.usage_decay)
        return State(hidden, cell, found.flatten(1), Memory(slots, reading, usage))

    def _control(self, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """The next hidden and cell state of the LSTM."""
        size = self.config.controller
        entered, kept, shown = gates[:, : 3 * size].sigmoid().chunk(3, dim=1)
        cell = kept * cell + entered * gates[:, 3 * size :].tanh()
        return shown * cell.tanh(), cell

    def _heads(self, hidden: Tensor) -> Heads:
        config = self.config
        parts = [config.heads * config.slot_size, config.heads]
        keys, gates = self.to_heads(hidden).split(parts, dim=1)
        strengths = torch.ones_like(gates)
        if self.to_strengths is not None:
            strengths = FIRST_STRENGTH * F.softplus(self.to_strengths(hidden) + ONE_AT_ZERO)
        keys = keys.tanh().reshape(-1, config.heads, config.slot_size)
        return Heads(keys, gates.sigmoid()[..., None], strengths[..., None])


class MANNHead(AbstractLearner):
    """Writes the support to a memory image by image; a query is read from a copy of the state.

    Takes embeddings ``(T, S, D)``. Santoro et al. 2016. The order of the support is drawn, and each
    class bound to an output, by each task's own id: neither tells the machine anything.
    """

    def __init__(self, config: MANNConfig, size: int, max_way: int) -> None:
        super().__init__()
        self.max_way = max_way
        self.streaming = config.streaming
        self.machine = MemoryMachine(size + max_way, config)
        self.output = nn.Linear(self.machine.features, max_way)
        self.traits = Traits(max_way=max_way, order_free=False, input_kinds=frozenset({"vector"}))

    def adapt(self, support: LabelledSet, target: Target) -> Predictor:
        """Write the support; the predictor holds the state after it."""
        _, _, last, state, outputs_of_classes = self._written(support, target)

        def predict(inputs: Inputs) -> Tensor:
            queries = at_least_single(any_tensor(inputs))
            n_tasks, n = queries.shape[:2]
            with torch.autocast(queries.device.type, enabled=False):
                seen = torch.cat([queries, last[:, None].expand(-1, n, -1)], dim=-1)
                if self.streaming:  # the last label is still to be written
                    each = _repeated(state, n)
                    features, _ = self.machine(seen.reshape(n_tasks * n, 1, -1), each)
                else:
                    features = self.machine.looked_up(seen, state)
                answers: Tensor = self.output(features).reshape(n_tasks, n, -1)
            return answers.gather(2, outputs_of_classes[:, None].expand(-1, n, -1))

        return predict

    def stream(self, support: LabelledSet, target: Target) -> tuple[Tensor, Tensor]:
        """Logits ``(T, S, max_way)`` at each step, before its label is seen, and the labels asked.

        Images in the order drawn, labels as they were bound: the paper's own protocol. For a
        machine built with ``streaming``.
        """
        features, labels, *_ = self._written(support, target)
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.output(features)
        return logits, labels

    def loss(self, episode: Episode) -> Tensor:
        """``(T,)``: of the queries; streaming, of the support's and the queries' steps alike."""
        if not self.streaming:
            return super().loss(episode)
        logits, labels = self.stream(episode.support, episode.target)
        n, n_query = labels.shape[1], episode.query.n_examples
        along = F.cross_entropy(logits.mT, labels, reduction="none").mean(1)
        if n_query == 0:
            return along
        return (n * along + n_query * super().loss(episode)) / (n + n_query)

    def _written(
        self, support: LabelledSet, target: Target
    ) -> tuple[Tensor, Tensor, Tensor, State, Tensor]:
        """Features and labels of each step; what comes with a query in the label's place.

        Then the state at the end, and which output each class has ``(T, n_way)``.
        """
        check_task_fits(self, target)
        order, outputs = bound(support, target.size, self.max_way)
        images = at_least_single(any_tensor(support.inputs))
        images = images.gather(1, order[..., None].expand_as(images))
        labels = outputs.gather(1, support.labels.gather(1, order))
        told = F.one_hot(labels, self.max_way).to(images.dtype)
        last = torch.zeros_like(told[:, 0])
        if self.streaming:
            told, last = torch.cat([last[:, None], told[:, :-1]], dim=1), told[:, -1]
        with torch.autocast(images.device.type, enabled=False):
            features, state = self.machine(torch.cat([images, told], dim=-1))
        return features, labels, last, state, outputs


def bound(support: LabelledSet, n_way: int, max_way: int) -> tuple[Tensor, Tensor]:
    """An order of the support ``(T, S)`` and an output for each class ``(T, n_way)``, by chance.

    Both are drawn from each task's own id. Classes are numbered as they first come in that order
    before they are bound, so that renaming them renames the answers and changes nothing else.
    """
    ids = support.task_ids.to(support.labels.device)
    order = permutations(ids, support.n_examples)
    outputs = permutations(ids, max_way, draw=1)[:, :n_way]
    labels = support.labels.gather(1, order)
    places = torch.arange(support.n_examples, device=labels.device)[:, None]
    late = support.n_examples + torch.arange(n_way, device=labels.device)  # of classes that miss
    members = F.one_hot(labels, n_way).bool()
    first = places.where(members, late).amin(1)
    return order, outputs.gather(1, first.argsort(1).argsort(1))


def accuracy_by_instance(logits: Tensor, labels: Tensor, most: int) -> Tensor:
    """Share of right answers at the first, second, ... image of a class, ``(T, most)``.

    Logits ``(T, S, N)`` and labels ``(T, S)`` of streams. Not a number where a stream has no class
    with so many images.

    >>> logits = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]])
    >>> accuracy_by_instance(logits, torch.tensor([[0, 1, 0]]), 3)
    tensor([[0.5000, 1.0000,    nan]])
    """
    members = F.one_hot(labels, logits.shape[-1])
    instance = (members.cumsum(1) * members).sum(-1)
    at = (instance[..., None] == torch.arange(1, most + 1, device=labels.device)).to(logits.dtype)
    right = (logits.argmax(-1) == labels)[..., None]
    return (right * at).sum(1) / at.sum(1)


def _repeated(state: State, n: int) -> State:
    """The state of each stream ``n`` times: a copy for each of its queries."""
    hidden, cell, found = (part.repeat_interleave(n, dim=0) for part in state[:3])
    slots, reading, usage = (part.repeat_interleave(n, dim=0) for part in state.memory)
    return State(hidden, cell, found, Memory(slots, reading, usage))


def _build_head(config: MANNConfig, embedding: InputSpec, target: Target) -> AbstractLearner:
    return MANNHead(config, embedding.channels, outputs_for("mann", config.max_way, target))


SPEC = LearnerSpec.of_head(
    name="mann",
    family="memory",
    summary="a Neural Turing machine that stores the support and looks queries up in it",
    paper="Santoro et al. 2016, Meta-Learning with Memory-Augmented Neural Networks",
    config=MANNConfig,
    build_head=_build_head,
)
