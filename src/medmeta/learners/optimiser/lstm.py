"""The LSTM meta-learner: an LSTM's cell state is the network, its gates are the rule of descent."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from medmeta.episode import LabelledSet, Target
from medmeta.learner import TrainingDefaults
from medmeta.learners._inner_loop import Weights
from medmeta.learners._mini_batches import mini_batches
from medmeta.learners.gradient._adapting import (
    AdaptingLearner,
    Fitting,
    FixedLayerConfig,
    falling_rate,
    whole_network_spec,
)
from medmeta.learners.optimiser._signals import log_and_sign
from medmeta.learners.optimiser._unrolled import Memory, State, unroll_tasks

LOG_RANGE = 10.0  # the p of the paper's appendix: gradients below e^-p count as small
SPREAD_OF_BIAS = 0.5
INPUT_BIAS = -4.5  # a rate of 0.011
FIRST_WEIGHTS = 0.01


class MetaLSTMConfig(FixedLayerConfig):
    """Options of the LSTM meta-learner.

    ``inner_steps`` while training, ``test_steps`` when adapting (None: the same). A step looks at
    ``inner_batch`` images, drawn anew for each task, or at the whole support (None). The paper
    goes over its support 12 times in batches of 5 for 5 ways and 1 shot, 8 times in batches of 25
    for 5 shots: the whole support either way, so ``inner_steps`` 12 and 8. ``hidden``: size of
    the first LSTM. ``forget_bias`` and ``input_bias``: where the gates' biases begin, give or take
    a half. The share of a weight that a step keeps begins at the sigmoid of the one, the rate at
    the sigmoid of the other (0.989 and 0.011). ``input_bias`` None: -4.5, and for values on
    embeddings of more than 64 numbers what makes the rate 64 / size of that. ``inner_checkpoint``
    keeps less memory and computes the steps again in the backward pass. ``max_way`` is the size of
    the output layer: tasks of fewer classes use its first columns (None: the ways it is first
    built for).
    """

    training_defaults = TrainingDefaults(learning_rate=1e-3, tasks_per_step=1, clip_norm=0.25)
    inner_steps: int = Field(5, ge=1, le=1000)
    inner_batch: int | None = Field(None, ge=1)
    hidden: int = Field(20, ge=1, le=1000)
    forget_bias: float = Field(4.5, ge=-20, le=20)
    input_bias: float | None = Field(None, ge=-20, le=20)
    inner_checkpoint: bool = False

    @property
    def first_input_bias(self) -> float:
        """``input_bias``, or what stands for None where nothing is known of the network."""
        return INPUT_BIAS if self.input_bias is None else self.input_bias

    def on_embedding(self, size: int, target: Target) -> MetaLSTMConfig:
        """With ``input_bias`` filled in for an output layer on embeddings of this size.

        >>> filled = MetaLSTMConfig().on_embedding(128, Target("values", 1))
        >>> round(1 / torch.tensor(filled.input_bias).sigmoid().item())  # and 91 on 64 numbers
        182
        """
        bias = self.first_input_bias
        if self.input_bias is None and target.kind == "values":
            rate = falling_rate(size) / (1 + math.exp(-bias))
            bias = math.log(rate / (1 - rate))
        return self.model_copy(update={"input_bias": bias})


class CoordinateLSTM(nn.Module):
    """The rule for a single weight, the same for all of them; its size knows no network's.

    A plain LSTM reads the gradient and the loss, preprocessed; on it stands another of which the
    cell state is the weight itself. Ravi and Larochelle 2017, section 3.1:
    ``θ' = f ∘ θ - i ∘ ∇L``, where ``i = σ(W_I [h, θ, i_before] + b_I)`` and ``f`` likewise.
    """

    def __init__(self, hidden: int, *, forget_bias: float, input_bias: float) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Linear(4 + hidden, 4 * hidden)  # input, forget, new cell, output
        self.forget = nn.Linear(hidden + 2, 1)
        self.input = nn.Linear(hidden + 2, 1)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -FIRST_WEIGHTS, FIRST_WEIGHTS)
        for gate, bias in ((self.forget, forget_bias), (self.input, input_bias)):
            nn.init.uniform_(gate.bias, bias - SPREAD_OF_BIAS, bias + SPREAD_OF_BIAS)

    def fresh_memory(self, weights: Weights) -> Memory:
        """Zeros: hidden and cell state ``(n, hidden)`` and both gates ``(n,)`` of ``n`` weights."""
        n = sum(weight.numel() for weight in weights.values())
        like = self.forget.bias
        states = {name: like.new_zeros(n, self.hidden) for name in ("hidden", "cell")}
        return states | {name: like.new_zeros(n) for name in ("forget", "input")}

    def step(self, state: State, gradients: Weights, loss: Tensor) -> State:
        """The next weights and memory of one task."""
        weights, memory = state
        old, slopes = _flat(weights), _flat(gradients)
        signals = torch.cat(
            [log_and_sign(slopes, LOG_RANGE), log_and_sign(loss, LOG_RANGE).expand(len(slopes), 2)],
            1,
        )
        hidden, cell = self._plain_lstm(signals, memory["hidden"], memory["cell"])
        forget = self._gate(self.forget, hidden, old, memory["forget"])
        rate = self._gate(self.input, hidden, old, memory["input"])
        new = forget * old - rate * slopes
        after = {"hidden": hidden, "cell": cell, "forget": forget, "input": rate}
        return _shaped_as(weights, new), after

    def _plain_lstm(self, signals: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Written out, since torch's own cell cannot be batched over tasks on every device."""
        gates = self.gates(torch.cat([signals, hidden], 1)).chunk(4, dim=1)
        write, keep, candidate, show = gates
        cell = keep.sigmoid() * cell + write.sigmoid() * candidate.tanh()
        return show.sigmoid() * cell.tanh(), cell

    def _gate(self, gate: nn.Linear, hidden: Tensor, weights: Tensor, before: Tensor) -> Tensor:
        """``σ(W [hidden, weight, gate before] + b)``, without copying them side by side."""
        of_hidden, of_weight, of_gate = gate.weight[0].split_with_sizes([self.hidden, 1, 1])
        return (hidden @ of_hidden + of_weight * weights + of_gate * before + gate.bias).sigmoid()


class MetaLSTM(AdaptingLearner):
    """Adapts all weights by a learned rule; learns the rule and where it starts.

    ``network`` maps ``(N, C, *space)`` to ``(N, outputs)``; its own weights are the first cell
    state. Ravi and Larochelle 2017, algorithm 1: gradients and losses within the task count as
    constants, and nothing is differentiated twice.
    """

    config: MetaLSTMConfig

    def __init__(
        self, network: nn.Module, config: MetaLSTMConfig, **fitting: Unpack[Fitting]
    ) -> None:
        super().__init__(network, config, **fitting)
        self.rule = CoordinateLSTM(
            config.hidden, forget_bias=config.forget_bias, input_bias=config.first_input_bias
        )
        self.traits = replace(
            self.traits, order_free=config.inner_batch is None, differentiable=False
        )

    def adapted(self, support: LabelledSet, target: Target) -> Weights:
        """The weights after ``inner_steps``, or after ``test_steps`` in evaluation mode."""
        config = self.config
        steps = config.inner_steps
        if not self.training and config.test_steps is not None:
            steps = config.test_steps
        start = self.starting_weights()
        return unroll_tasks(
            self.loss_of_task(target),
            self.rule.step,
            (start, self.rule.fresh_memory(start)),
            (support.inputs, support.labels),
            mini_batches(support, steps, config.inner_batch),
            first_order=True,
            checkpointed=config.inner_checkpoint,
            learned=tuple(self.rule.parameters()),
            method=self.task_map,
        )


def _flat(tensors: Weights) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def _shaped_as(tensors: Weights, flat: Tensor) -> Weights:
    parts = flat.split_with_sizes([tensor.numel() for tensor in tensors.values()])
    return {
        name: part.view_as(tensor)
        for (name, tensor), part in zip(tensors.items(), parts, strict=True)
    }


SPEC = whole_network_spec(
    MetaLSTM,
    name="meta_lstm",
    family="optimiser",
    summary="an LSTM that learned how far each weight moves and how much of it is kept",
    paper="Ravi and Larochelle 2017, Optimization as a Model for Few-Shot Learning",
    config=MetaLSTMConfig,
)
