"""Evaluate small images concurrently on a CPU: one core for each is faster than all cores for one after another."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

CONCURRENT_PIXELS = 1 << 20
"""HR pixels of images that are evaluated at the same time; bounds the memory for any number of cores."""

GROUP_PIXELS = 4 * CONCURRENT_PIXELS
"""HR pixels of a group, whose outputs are held in memory."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def group_images(pixels: Sequence[int], device: torch.device) -> Iterator[range]:
    """Group the images of a set, in their order: small ones into groups for `evaluate_each`, each large one alone.

    Args:
        pixels: HR pixels of each image.
        device: of the evaluation; on a GPU, or with one thread, each image is a group.
    """
    alone = device.type != "cpu" or torch.get_num_threads() == 1
    first = 0
    for last in range(1, len(pixels) + 1):
        last_of_all = last == len(pixels)
        if (
            last_of_all
            or alone
            or max(pixels[first : last + 1]) > CONCURRENT_PIXELS // 2
            or sum(pixels[first : last + 1]) > GROUP_PIXELS
        ):
            yield range(first, last)
            first = last


def evaluate_each(evaluate: Callable[[Item], Result], items: Sequence[Item], pixels: Sequence[int]) -> Iterator[Result]:
    """Yield `evaluate(item)` for the items of a group in their order, computing several at a time on several cores.

    Args:
        evaluate: called from other threads.
        items: of one group.
        pixels: HR pixels of each.
    """
    cores = torch.get_num_threads()
    concurrent = min(len(items), cores, max(1, CONCURRENT_PIXELS // max(pixels)))
    if concurrent == 1:
        yield from map(evaluate, items)
        return
    with _threads_per_worker(cores // concurrent), ThreadPoolExecutor(concurrent) as workers:
        # The largest images start first, so that none of them runs alone at the end.
        order = sorted(range(len(items)), key=lambda index: -pixels[index])
        running = {index: workers.submit(evaluate, items[index]) for index in order}
        for index in range(len(items)):
            yield running[index].result()


@contextmanager
def _threads_per_worker(threads: int) -> Iterator[None]:
    """Set the number of torch's threads for each worker that starts inside; new threads take the last set number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
