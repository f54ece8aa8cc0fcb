"""Least-recently-used access against arithmetic and a plain loop; streams, order and labels."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmeta.episode import Episode, InputSpec, LabelledSet, Target
from medmeta.errors import UnsupportedTaskError
from medmeta.learners import build_head, build_learner
from medmeta.learners.memory._lru_memory import Memory, blank, least_used, read, used, write
from medmeta.learners.memory.mann import (
    MANNConfig,
    MANNHead,
    MemoryMachine,
    accuracy_by_instance,
    bound,
)
from tests.learners.normal_numbers import normal

TWO, THREE = Target("classes", 2), Target("classes", 3)
SMALL = {"controller": 6, "slots": 5, "slot_size": 4, "heads": 2}


def small_head(*, streaming: bool = False, max_way: int = 3) -> MANNHead:
    torch.manual_seed(0)
    return MANNHead(MANNConfig(streaming=streaming, **SMALL), 4, max_way).double()


def episode(n_tasks: int = 2, n_support: int = 7, n_query: int = 3) -> Episode:
    def labelled(n: int, seed: int) -> LabelledSet:
        labels = torch.arange(n).remainder(3).expand(n_tasks, n)
        return LabelledSet(normal(n_tasks, n, 4, seed=seed), labels, torch.arange(n_tasks))

    return Episode(labelled(n_support, 1), labelled(n_query, 2), THREE)


def test_usage_by_hand() -> None:
    """0.95 of what was, and all that was read and written (equation 5)."""
    read_at, written_at = torch.tensor([[[0.7, 0.3]]]), torch.ones(1, 1, 2)
    found = used(torch.tensor([[2.0, 0.0]]), read_at, written_at, 0.95)
    assert found.tolist() == [pytest.approx([1.9 + 0.7 + 1.0, 0.3 + 1.0])]


def test_of_slots_used_alike_the_first_is_taken() -> None:
    assert least_used(torch.zeros(1, 300), 4).tolist() == [[0, 1, 2, 3]]


def test_a_write_by_hand() -> None:
    """One head, gate 0.25: a quarter where it read, three quarters in the least used slot 2.

    That slot held 9 and is erased before; slot 0 keeps what it had (equations 7 and 8).
    """
    memory = Memory(
        torch.tensor([[[5.0], [7.0], [9.0]]]),
        torch.tensor([[[0.6, 0.4, 0.0]]]),
        torch.tensor([[1.0, 2.0, 0.5]]),
    )
    slots, weights = write(memory, torch.tensor([[[10.0]]]), torch.tensor([[[0.25]]]))
    assert weights[0, 0].tolist() == pytest.approx([0.15, 0.1, 0.75])
    assert slots[0, :, 0].tolist() == pytest.approx([5 + 1.5, 7 + 1.0, 0 + 7.5])
    assert memory.slots[0, :, 0].tolist() == [5.0, 7.0, 9.0]  # a value: not changed


def test_heads_write_to_slots_of_their_own_and_only_the_least_used_is_erased() -> None:
    memory = Memory(torch.ones(1, 3, 1), torch.zeros(1, 2, 3), torch.tensor([[0.3, 0.1, 0.2]]))
    slots, weights = write(memory, torch.tensor([[[4.0], [8.0]]]), torch.zeros(1, 2, 1))
    assert weights.tolist() == [[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]
    assert slots[0, :, 0].tolist() == [1.0, 4.0, 1.0 + 8.0]


def test_reading_is_a_softmax_of_cosines() -> None:
    slots, keys = normal(2, 6, 3), normal(2, 4, 3, seed=1)
    found, weights = read(slots, keys)
    cosines = torch.cosine_similarity(keys[:, :, None], slots[:, None], dim=-1)
    torch.testing.assert_close(weights, cosines.softmax(-1), rtol=0, atol=1e-7)
    torch.testing.assert_close(found, weights @ slots)


def test_a_key_s_strength_multiplies_its_cosines() -> None:
    """Slots along the axes, keys along the first; strengths log 3 and 0: odds 3 to 1, 1 to 1."""
    slots, keys = torch.eye(2)[None] * 5, torch.tensor([[[2.0, 0.0], [2.0, 0.0]]])
    _, weights = read(slots, keys, torch.tensor([[[math.log(3)], [0.0]]]))
    assert weights[0, 0].tolist() == pytest.approx([0.75, 0.25], abs=1e-6)
    assert weights[0, 1].tolist() == pytest.approx([0.5, 0.5], abs=1e-6)


def test_strengths_begin_at_ten_and_may_be_left_out() -> None:
    inputs = normal(2, 1, 7)
    for given, wanted in ((True, 10.0), (False, 1.0)):
        machine = MemoryMachine(7, MANNConfig(key_strengths=given, **SMALL)).double()
        if machine.to_strengths is not None:
            torch.nn.init.zeros_(machine.to_strengths.weight)
            torch.nn.init.zeros_(machine.to_strengths.bias)
        hidden = machine(inputs)[1].hidden
        found = machine._heads(hidden).strengths
        torch.testing.assert_close(found, torch.full_like(found, wanted))


def test_an_empty_memory_resembles_nothing_and_has_a_finite_gradient() -> None:
    slots = torch.zeros(1, 4, 3, requires_grad=True)
    found, weights = read(slots, torch.ones(1, 1, 3))
    assert weights.tolist() == [[[0.25] * 4]]
    (gradient,) = torch.autograd.grad(found.sum() + weights[0, 0, 0], slots)
    assert bool(torch.isfinite(gradient).all())
    assert [part.abs().sum() for part in blank(slots, 4, 3, 2)] == [0, 0, 0]


def plain_machine(machine: MemoryMachine, inputs: Tensor) -> tuple[Tensor, list[list[float]]]:
    """Features of one stream ``(L, D)``, head by head and slot by slot; and the usage."""
    c, w = machine.config, machine.state_dict()
    hidden, cell = torch.zeros(c.controller).double(), torch.zeros(c.controller).double()
    found = torch.zeros(c.heads * c.slot_size).double()
    slots = [torch.zeros(c.slot_size).double() for _ in range(c.slots)]
    reading, usage = [[0.0] * c.slots for _ in range(c.heads)], [0.0] * c.slots
    rows, usages = [], []
    for x in inputs:
        gates = w["from_input.weight"] @ x + w["from_input.bias"]
        gates = gates + w["from_state.weight"] @ torch.cat([hidden, found])
        entered, kept, shown, new = gates.chunk(4)
        cell = kept.sigmoid() * cell + entered.sigmoid() * new.tanh()
        hidden = shown.sigmoid() * cell.tanh()
        of_heads = w["to_heads.weight"] @ hidden + w["to_heads.bias"]
        keys = of_heads[: c.heads * c.slot_size].tanh().reshape(c.heads, c.slot_size)
        gate = of_heads[c.heads * c.slot_size :].sigmoid()
        free = sorted(range(c.slots), key=lambda i: usage[i])[: c.heads]
        writing = [[float(gate[h]) * reading[h][i] for i in range(c.slots)] for h in range(c.heads)]
        for h, slot in enumerate(free):
            writing[h][slot] += 1 - float(gate[h])
        slots[free[0]] = torch.zeros(c.slot_size).double()
        for i in range(c.slots):
            slots[i] = slots[i] + sum(writing[h][i] * keys[h] for h in range(c.heads))
        strengths = [1.0] * c.heads
        if c.key_strengths:
            of_keys = w["to_strengths.weight"] @ hidden + w["to_strengths.bias"]
            strengths = [10 * math.log1p((math.e - 1) * math.exp(u)) for u in of_keys]
        reading = []
        for key, strength in zip(keys, strengths, strict=True):
            # The floor under squared lengths, which an erased slot needs.
            lengths = [((key @ key + 1e-8) * (s @ s + 1e-8)).sqrt() for s in slots]
            cosines = [
                float(strength * (key @ s) / length)
                for s, length in zip(slots, lengths, strict=True)
            ]
            total = sum(math.exp(cosine) for cosine in cosines)
            reading.append([math.exp(cosine) / total for cosine in cosines])
        usage = [
            c.usage_decay * usage[i] + sum(r[i] for r in reading) + sum(v[i] for v in writing)
            for i in range(c.slots)
        ]
        found = torch.cat([sum(a * s for a, s in zip(r, slots, strict=True)) for r in reading])
        rows.append(torch.cat([hidden, found]))
        usages.append(usage)
    return torch.stack(rows), usages


@pytest.mark.parametrize("strengths", [False, True])
def test_the_machine_equals_a_plain_loop_over_heads_and_slots(*, strengths: bool) -> None:
    """Nine steps of two heads on five slots: slots are erased and written again."""
    torch.manual_seed(0)
    machine = MemoryMachine(7, MANNConfig(key_strengths=strengths, **SMALL)).double()
    inputs = normal(2, 9, 7)
    features, state = machine(inputs)
    for b in range(2):
        wanted, usages = plain_machine(machine, inputs[b])
        torch.testing.assert_close(features[b].detach(), wanted, rtol=0, atol=1e-5)
        assert state.memory.usage[b].tolist() == pytest.approx(usages[-1], abs=1e-5)


def test_a_stream_may_be_taken_in_parts() -> None:
    machine, inputs = small_head().machine, normal(2, 6, 7)
    whole, _ = machine(inputs)
    first, state = machine(inputs[:, :4])
    second, _ = machine(inputs[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)


def test_the_gradient_is_that_of_differences() -> None:
    """Also of the recurrent weight, whose gradient is made of all steps at once."""
    head, tasks = small_head(streaming=True), episode(2)
    found = torch.autograd.grad(head.loss(tasks).mean(), list(head.parameters()))
    for parameter, slope in zip(head.parameters(), found, strict=True):
        direction = normal(*parameter.shape, seed=9)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * 1e-6 * direction)
                ends.append(float(head.loss(tasks).mean()))
                parameter.sub_(sign * 1e-6 * direction)
        wanted = (ends[0] - ends[1]) / 2e-6
        assert float((slope * direction).sum()) == pytest.approx(wanted, rel=1e-4, abs=1e-8)


def test_a_query_is_a_step_that_writes_nothing() -> None:
    machine, inputs = small_head().machine, normal(2, 5, 7)
    _, state = machine(inputs)
    queries = normal(2, 3, 7, seed=4)
    found = machine.looked_up(queries, state)
    for q in range(3):
        before = torch.cat([state.hidden, state.found], dim=-1)
        gates = machine.from_input(queries[:, q]) + machine.from_state(before)
        hidden, _ = machine._control(gates, state.cell)
        asked = machine._heads(hidden)
        wanted, _ = read(state.memory.slots, asked.keys, asked.strengths)
        torch.testing.assert_close(found[:, q], torch.cat([hidden, wanted.flatten(1)], dim=1))


def test_order_and_outputs_are_drawn_by_each_task_s_own_id() -> None:
    labels = torch.tensor([[0, 0, 1, 1, 2, 2]] * 40)
    support = LabelledSet(torch.zeros(40, 6, 1), labels, torch.arange(40))
    order, outputs = bound(support, 3, 5)
    assert order.sort(1).values.tolist() == [list(range(6))] * 40
    assert all(len(set(row)) == 3 for row in outputs.tolist())
    assert {int(i) for i in outputs[:, 0]} == set(range(5))
    alone = LabelledSet(torch.zeros(1, 6, 1), labels[:1], torch.tensor([17]))
    assert [part[0].tolist() for part in bound(alone, 3, 5)] == [
        order[17].tolist(),
        outputs[17].tolist(),
    ]


def test_renaming_the_classes_renames_their_outputs() -> None:
    labels = torch.tensor([[0, 2, 1, 1, 2, 0]])
    renamed = torch.tensor([2, 0, 1])
    support = LabelledSet(torch.zeros(1, 6, 1), labels, torch.tensor([5]))
    _, outputs = bound(support, 3, 3)
    _, after = bound(replace(support, labels=renamed[labels]), 3, 3)
    assert after[:, renamed].tolist() == outputs.tolist()


def test_a_class_without_images_has_an_output_too() -> None:
    support = LabelledSet(torch.zeros(1, 3, 1), torch.tensor([[2, 2, 0]]), torch.tensor([1]))
    assert sorted(bound(support, 4, 4)[1][0].tolist()) == [0, 1, 2, 3]


def test_written_with_its_label_or_one_step_late() -> None:
    tasks, seen = episode(1, n_support=4, n_query=1), {}
    for streaming in (False, True):
        head = small_head(streaming=streaming)

        def noted(module: object, inputs: tuple[Tensor, ...], key: bool = streaming) -> None:
            seen.setdefault(key, inputs[0].detach())

        head.machine.register_forward_pre_hook(noted)
        head.adapt(tasks.support, THREE)
    order, outputs = bound(tasks.support, 3, 3)
    told = F.one_hot(outputs[0][tasks.support.labels[0][order[0]]], 3).double()
    assert isinstance(tasks.support.inputs, Tensor)
    for written in seen.values():
        torch.testing.assert_close(written[0, :, :4], tasks.support.inputs[0][order[0]])
    torch.testing.assert_close(seen[False][0, :, 4:], told)
    torch.testing.assert_close(seen[True][0, 0, 4:], torch.zeros(3).double())
    torch.testing.assert_close(seen[True][0, 1:, 4:], told[:-1])


def test_streaming_a_query_is_the_stream_s_next_image() -> None:
    """The answer to a query is what the machine says of it at the end of the stream."""
    head, tasks = small_head(streaming=True), episode(1, n_support=5, n_query=1)
    order, outputs = bound(tasks.support, 3, 3)
    assert isinstance(tasks.support.inputs, Tensor)
    assert isinstance(tasks.query.inputs, Tensor)
    images = torch.cat([tasks.support.inputs[:, order[0]], tasks.query.inputs], dim=1)
    told = F.one_hot(outputs[0][tasks.support.labels[:, order[0]]], 3).double()
    stream = torch.cat([images, F.pad(told, (0, 0, 1, 0))], dim=-1)
    wanted = head.output(head.machine(stream)[0][:, -1])[:, outputs[0]]
    torch.testing.assert_close(head.adapt(tasks.support, THREE)(tasks.query.inputs)[:, 0], wanted)


def test_the_streaming_loss_is_the_mean_over_all_steps() -> None:
    head, tasks = small_head(streaming=True), episode(2)
    logits, labels = head.stream(tasks.support, THREE)
    along = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    answers = head.adapt(tasks.support, THREE)(tasks.query.inputs)
    asked = F.cross_entropy(answers.mT, tasks.query.labels, reduction="none")
    wanted = torch.cat([along.reshape(2, 7), asked], dim=1).mean(1)
    torch.testing.assert_close(head.loss(tasks), wanted)
    no_query = replace(
        tasks.query, inputs=torch.zeros(2, 0, 4).double(), labels=torch.zeros(2, 0).long()
    )
    torch.testing.assert_close(
        head.loss(Episode(tasks.support, no_query, THREE)), along.reshape(2, 7).mean(1)
    )


@pytest.mark.parametrize("from_last", [1, 2])
def test_a_label_is_known_only_after_its_answer(from_last: int) -> None:
    """Another label of the last image but one changes the last answer, of the last image none."""
    head, tasks = small_head(streaming=True), episode(1)
    order, outputs = bound(tasks.support, 3, 3)
    place = int(order[0, -from_last])
    labels = tasks.support.labels.clone()
    labels[0, place] = (labels[0, place] + 1) % 3
    changed = replace(tasks.support, labels=labels)
    assert torch.equal(bound(changed, 3, 3)[1], outputs)  # every class came before
    (before, _), (after, _) = head.stream(tasks.support, THREE), head.stream(changed, THREE)
    same = before.shape[1] - from_last + 1
    torch.testing.assert_close(before[:, :same], after[:, :same], rtol=0, atol=0)
    assert bool((before[:, same:] != after[:, same:]).all())


def test_accuracy_by_instance_by_hand() -> None:
    labels = torch.tensor([[0, 0, 1, 0], [1, 1, 1, 0]])
    answers = torch.tensor([[1, 0, 1, 0], [1, 0, 1, 0]])
    found = accuracy_by_instance(F.one_hot(answers, 2).double(), labels, 4)
    # Of classes 0 and 1: the first images wrong, right and right, right; then one class is left.
    assert found[:, :3].tolist() == [[0.5, 1.0, 1.0], [1.0, 0.0, 1.0]]
    assert bool(found[:, 3].isnan().all())


def test_more_classes_than_outputs_are_refused() -> None:
    head = build_head("mann", {"max_way": 4, **SMALL}, InputSpec(4, ()), TWO)
    assert head.traits.max_way == 4
    with pytest.raises(UnsupportedTaskError, match="built for at most 4 classes"):
        head.adapt(episode().support, Target("classes", 5))
    with pytest.raises(UnsupportedTaskError, match="takes classes, not values"):
        build_learner("mann", None, InputSpec(1, (16, 16)), Target("values", 1))


def test_half_precision_around_it_does_not_reach_the_memory() -> None:
    head, tasks = small_head().float(), episode()
    assert isinstance(tasks.support.inputs, Tensor)
    support = tasks.support.with_inputs(tasks.support.inputs.float())
    assert isinstance(tasks.query.inputs, Tensor)
    plain = head.adapt(support, THREE)(tasks.query.inputs.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = head.adapt(support, THREE)(tasks.query.inputs.float())
    assert torch.equal(found, plain)


def test_the_paper_s_sizes_are_the_defaults() -> None:
    config = MANNConfig()
    assert (config.controller, config.slots, config.slot_size, config.heads) == (200, 128, 40, 4)
    assert config.usage_decay == 0.95
