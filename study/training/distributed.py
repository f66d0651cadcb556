"""Data-parallel training: each process trains on its share of every batch, all with the same weights.

Rank r of R takes items r, r + R, ... of the batch of one process (`study.data.Batches`). Means over the whole batch
that a loss contains are averaged over all processes with their gradients, and gradients are averaged before each
update, so that R processes train as one does. Batch norm is the exception: each process has its own statistics, except
on GPUs, where `synchronised` converts it to synchronised batch norm.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

COLLECTIVE_TIMEOUT = timedelta(hours=2)
"""How long the other processes wait while the main process evaluates, saves, or trains a stage alone."""


Value = TypeVar("Value")


class GroupLost(RuntimeError):
    """Another process of the group has died; this process's work is not the cause."""


@dataclass(frozen=True)
class DistributedContext:
    """Rank and world size; (0, 1) when not distributed."""

    rank: int = 0
    size: int = 1

    @staticmethod
    def of_process_group() -> "DistributedContext":
        """Return the context of PyTorch's default process group."""
        return DistributedContext(dist.get_rank(), dist.get_world_size())

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which also evaluates, saves and reports."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the values of all processes, a scalar with gradients into all of them."""
        if self.size == 1:
            return values.mean()
        total: Tensor = _SumOverProcesses.apply(values.mean())
        return total / self.size

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their mean over all processes, in one all-reduce a dtype; GroupLost if one has died."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for group in _by_type(gradients):
            together = torch.cat([gradient.flatten() for gradient in group])
            _sum(together)
            together /= self.size
            parts = together.split([gradient.numel() for gradient in group])
            torch._foreach_copy_(
                group, [part.view(gradient.shape) for part, gradient in zip(parts, group, strict=True)]
            )

    def average(self, values: dict[str, float], device: torch.device) -> dict[str, float]:
        """Return the mean of each named number over all processes."""
        if self.size == 1 or not values:
            return values
        numbers = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
        _sum(numbers)
        return dict(zip(values, (numbers / self.size).tolist(), strict=True))

    def broadcast(self, value: Value) -> Value:
        """Return the value of rank 0."""
        if self.size == 1:
            return value
        values = [value]
        with _collective():
            dist.broadcast_object_list(values, src=0)
        return values[0]

    def synchronised(self, network: nn.Module) -> nn.Module:
        """Convert a network's batch norm to synchronised batch norm where PyTorch has it: on GPUs."""
        on_gpu = any(parameter.is_cuda for parameter in network.parameters())
        return nn.SyncBatchNorm.convert_sync_batchnorm(network) if self.size > 1 and on_gpu else network


SINGLE_PROCESS = DistributedContext()


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a scalar over all processes; its backward sums the gradients over all processes."""

    @staticmethod
    def forward(context: object, value: Tensor) -> Tensor:
        total = value.clone()
        _sum(total)
        return total

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        _sum(total)
        return total


def _sum(values: Tensor) -> None:
    """Replace values by their sum over all processes."""
    with _collective():
        dist.all_reduce(values)


@contextmanager
def _collective() -> Iterator[None]:
    """Raise GroupLost for the RuntimeError with which all backends report a lost process."""
    try:
        yield
    except RuntimeError as error:
        raise GroupLost(f"another process of the group has died ({error})") from error


def _by_type(gradients: list[Tensor]) -> list[list[Tensor]]:
    groups: dict[torch.dtype, list[Tensor]] = {}
    for gradient in gradients:
        groups.setdefault(gradient.dtype, []).append(gradient)
    return list(groups.values())
