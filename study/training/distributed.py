"""Processes that train one network together: each on its share of every batch, all with the same weights.

Rank r of R takes items r, r + R, ... of the batch that one process would take whole (`study.data.Batches`). What a loss
needs of the whole batch is averaged over the distributed with its gradient, and gradients are averaged before each update, so
that R processes train as one does. Batch norm is the exception: each process has its own statistics, unless on GPUs,
where `synchronised` makes them the distributed's.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = timedelta(hours=2)
"""How long the others wait while the first evaluates, saves, or trains what only one can."""


class GroupLost(RuntimeError):
    """Another process of the distributed is gone; what this one was doing is not to blame."""


@dataclass(frozen=True)
class DistributedContext:
    """Who trains: this process, one of some, or the only one.

    Attributes:
        rank: this process; the first, 0, also evaluates, saves and reports.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that evaluates, saves and reports."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all values that all processes have, with its gradient into all of them; a scalar."""
        if self.size == 1:
            return values.mean()
        total: Tensor = _SumOverTeam.apply(values.mean())
        return total / self.size

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their mean over the distributed, in one exchange; GroupLost where it cannot be had."""
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
        """Numbers of the same names, averaged over the distributed."""
        if self.size == 1 or not values:
            return values
        numbers = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
        _sum(numbers)
        return dict(zip(values, (numbers / self.size).tolist(), strict=True))

    def broadcast(self, answer: bool) -> bool:
        """What the first process answers."""
        if self.size == 1:
            return answer
        answers = [answer]
        with _exchange():
            dist.broadcast_object_list(answers, src=0)
        return answers[0]

    def synchronised(self, network: nn.Module) -> nn.Module:
        """A network whose batch norm takes its statistics over the distributed, where PyTorch can: on GPUs."""
        on_gpu = any(parameter.is_cuda for parameter in network.parameters())
        return nn.SyncBatchNorm.convert_sync_batchnorm(network) if self.size > 1 and on_gpu else network


ALONE = DistributedContext()


def team_of_process_group() -> DistributedContext:
    """The distributed that PyTorch's default process group makes."""
    return DistributedContext(dist.get_rank(), dist.get_world_size())


class _SumOverTeam(torch.autograd.Function):
    """The sum of a scalar over the distributed; each process's share has the slope of what all make of the sum."""

    @staticmethod
    def forward(context: object, value: Tensor) -> Tensor:
        total = value.clone()
        _sum(total)
        return total

    @staticmethod
    def backward(context: object, slope: Tensor) -> Tensor:
        total = slope.clone()
        _sum(total)
        return total


def _sum(values: Tensor) -> None:
    """Replace values by their sum over the distributed."""
    with _exchange():
        dist.all_reduce(values)


@contextmanager
def _exchange() -> Iterator[None]:
    """Tell a lost distributed from other errors: the backends raise RuntimeError alone."""
    try:
        yield
    except RuntimeError as error:
        raise GroupLost(f"another process of the distributed is gone ({error})") from error


def _by_type(gradients: list[Tensor]) -> list[list[Tensor]]:
    groups: dict[torch.dtype, list[Tensor]] = {}
    for gradient in gradients:
        groups.setdefault(gradient.dtype, []).append(gradient)
    return list(groups.values())
