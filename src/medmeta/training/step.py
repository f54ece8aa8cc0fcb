"""The gradient of one step, its tasks run by a plan."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType

import torch
from torch import Tensor

from medmeta.episode import Episode
from medmeta.learner import AbstractLearner
from medmeta.spans import span
from medmeta.tasks import preferring
from medmeta.training.buffers import BufferChanges, copied_buffers, leave, put_back
from medmeta.training.recorded import RecordedSteps
from medmeta.training.settings import Precision
from medmeta.training.task_plan import TaskPlan


class StepGradient:
    """Computes the gradient of the mean task loss into the learner's parameters.

    The same plan gives the same bits; different plans agree to rounding. With workers it holds
    threads and must be closed (``with StepGradient(...) as gradient``). Each worker has a copy of
    the modules, since a call with other weights swaps them in place, but not of the weights.
    What the tasks leave in buffers is their mean (``BufferChanges``), by any plan.
    ``recorded``: on a GPU a step is recorded once and replayed, where that can be done.
    """

    def __init__(
        self,
        learner: AbstractLearner,
        plan: TaskPlan,
        *,
        precision: Precision = "float32",
        recorded: bool = False,
    ) -> None:
        self.learner = learner
        self.plan = plan
        self.precision = precision
        self.recorded = RecordedSteps(learner, self._alone) if recorded else None
        self._replicas = [learner, *(_replica(learner) for _ in range(plan.workers - 1))]
        self._pool: ThreadPoolExecutor | None = None
        if plan.workers > 1:
            self._pool = ThreadPoolExecutor(
                plan.workers, thread_name_prefix="tasks", initializer=_use_one_core
            )

    def __enter__(self) -> StepGradient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, episode: Episode) -> float:
        """The mean loss; its gradient is left in the parameters' ``grad``."""
        if self._pool is None:
            known = None
            if self.recorded is not None and episode.support.labels.is_cuda:
                known = self.recorded(episode)
            return float(self._alone(episode) if known is None else known)
        return self._shared_out(self._pool, episode)

    def _shared_out(self, pool: ThreadPoolExecutor, episode: Episode) -> float:
        n_tasks = episode.support.n_tasks
        workers = min(self.plan.workers, n_tasks)
        bounds = [n_tasks * k // workers for k in range(workers + 1)]
        shown, changes, jobs = copied_buffers(self.learner), [], []
        for k, replica in enumerate(self._replicas[:workers]):
            replica.train(self.learner.training)
            put_back(shown, replica)
            changes.append(BufferChanges(shown))
            part = (bounds[k], bounds[k + 1])
            jobs.append(pool.submit(self._share, replica, episode, *part, changes[k]))
        wait(jobs)  # an error in one leaves the others to end: they change what is theirs
        try:
            loss = sum(float(job.result()) for job in jobs)
        except BaseException:
            put_back(shown, self.learner)
            raise
        for replica in self._replicas[1:workers]:
            _add_gradients(self.learner, replica)
        leave(changes, self.learner)
        return loss

    def _alone(self, episode: Episode) -> Tensor:
        n_tasks = episode.support.n_tasks
        if not 0 < self.plan.together < n_tasks:  # one pass: it may leave what it leaves
            return self._share(self.learner, episode, 0, n_tasks, None)
        changes = BufferChanges(copied_buffers(self.learner))
        try:
            loss = self._share(self.learner, episode, 0, n_tasks, changes)
        except BaseException:
            put_back(changes.shown, self.learner)
            raise
        leave([changes], self.learner)
        return loss

    def _share(
        self,
        replica: AbstractLearner,
        episode: Episode,
        first: int,
        last: int,
        changes: BufferChanges | None,
    ) -> Tensor:
        """One worker's tasks, some at a time, each with its backward pass."""
        for parameter in replica.parameters():
            parameter.grad = None
        n_tasks, together = episode.support.n_tasks, self.plan.together or last - first
        losses = []
        for begin in range(first, last, together):
            end = min(begin + together, last)
            losses.append(self._backward(replica, episode.tasks(begin, end), n_tasks))
            if changes is not None:
                changes.take(replica, (end - begin) / n_tasks)
        return torch.stack(losses).sum()

    def _backward(self, replica: AbstractLearner, part: Episode, n_tasks: int) -> Tensor:
        device = part.support.labels.device.type
        half = self.precision == "bfloat16"
        with (
            torch.autocast(device, torch.bfloat16, enabled=half),  # belongs to the thread
            preferring(self.plan.method),  # so does this
            span("inner loop"),
        ):
            loss: Tensor = replica.loss(part).sum() / n_tasks
        with span("outer step"):
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()


def _replica(learner: AbstractLearner) -> AbstractLearner:
    """The same modules with the same weights in memory; gradients and buffers of their own."""
    replica = copy.deepcopy(learner)
    for own, shared in zip(replica.parameters(), learner.parameters(), strict=True):
        own.data = shared.data
        own.grad = None
    return replica


def _add_gradients(learner: AbstractLearner, replica: AbstractLearner) -> None:
    for total, part in zip(learner.parameters(), replica.parameters(), strict=True):
        if part.grad is not None:
            total.grad = part.grad if total.grad is None else total.grad.add_(part.grad)


def _use_one_core() -> None:
    torch.set_num_threads(1)
