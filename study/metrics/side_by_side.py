"""Small images are evaluated side by side on a CPU: a core for each wastes less than all cores on one after another."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

AT_ONCE = 1 << 20
"""HR pixels of images that are evaluated at the same moment, so that memory does not grow with the number of cores."""

IN_A_GROUP = 4 * AT_ONCE
"""HR pixels of a group, whose outputs wait in memory."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(pixels: Sequence[int], device: torch.device) -> Iterator[range]:
    """Group the images of a set, in their order: small ones into groups for `evaluate_each`, each large one alone.

    Args:
        pixels: HR pixels of each image.
        device: where they are evaluated; on a GPU, or with one thread, each is alone.
    """
    alone = device.type != "cpu" or torch.get_num_threads() == 1
    first = 0
    for last in range(1, len(pixels) + 1):
        last_of_all = last == len(pixels)
        if (
            last_of_all
            or alone
            or max(pixels[first : last + 1]) > AT_ONCE // 2
            or sum(pixels[first : last + 1]) > IN_A_GROUP
        ):
            yield range(first, last)
            first = last


def evaluate_each(evaluate: Callable[[Item], Result], items: Sequence[Item], pixels: Sequence[int]) -> Iterator[Result]:
    """Do the same for each item of a group, several at once where there are cores for it; results in their order.

    Args:
        evaluate: what to do; called from other threads.
        items: of one group.
        pixels: HR pixels of each.
    """
    cores = torch.get_num_threads()
    at_once = min(len(items), cores, max(1, AT_ONCE // max(pixels)))
    if at_once == 1:
        yield from map(evaluate, items)
        return
    with _cores_a_thread(cores // at_once), ThreadPoolExecutor(at_once) as threads:
        # The largest begin, so that none of them is left for the end.
        order = sorted(range(len(items)), key=lambda index: -pixels[index])
        running = {index: threads.submit(evaluate, items[index]) for index in order}
        for index in range(len(items)):
            yield running[index].result()


@contextmanager
def _cores_a_thread(cores: int) -> Iterator[None]:
    """Threads that begin inside use so many cores each: torch goes by the number that was set last."""
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        yield
    finally:
        torch.set_num_threads(before)
