from collections.abc import Iterator

import pytest
import torch

from study.metrics.parallel import CONCURRENT_PIXELS, GROUP_PIXELS, evaluate_each, group_images

CPU = torch.device("cpu")


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_threads")
def test_small_images_are_grouped_and_large_ones_are_alone() -> None:
    small, half, large = 150_000, CONCURRENT_PIXELS // 2, CONCURRENT_PIXELS // 2 + 1
    fit = GROUP_PIXELS // half

    assert list(group_images([small] * 5, CPU)) == [range(5)]
    assert list(group_images([half] * (fit + 1), CPU)) == [range(fit), range(fit, fit + 1)]
    assert list(group_images([small, small, large, small, small], CPU)) == [range(2), range(2, 3), range(3, 5)]
    assert list(group_images([large, large], CPU)) == [range(1), range(1, 2)]
    assert list(group_images([], CPU)) == []


@pytest.mark.usefixtures("four_threads")
def test_each_image_is_alone_without_cores_to_share() -> None:
    assert list(group_images([9, 9], torch.device("cuda"))) == [range(1), range(1, 2)]
    torch.set_num_threads(1)
    assert list(group_images([9, 9], CPU)) == [range(1), range(1, 2)]


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(
    ("pixels", "cores"),
    [
        ([100] * 8, 1),
        ([100, 100], 2),
        ([CONCURRENT_PIXELS // 2, 100, 100, 100], 2),
        ([CONCURRENT_PIXELS * 8], 4),
        ([100], 4),
    ],
)
def test_cores_are_shared_among_concurrent_images(pixels: list[int], cores: int) -> None:
    seen = list(evaluate_each(lambda item: (item, torch.get_num_threads()), range(len(pixels)), pixels))

    assert seen == [(item, cores) for item in range(len(pixels))]
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_an_error_is_raised_and_the_threads_are_restored() -> None:
    def evaluator(item: int) -> int:
        if item == 1:
            raise ValueError("the second")
        return item

    with pytest.raises(ValueError, match="the second"):
        list(evaluate_each(evaluator, range(3), [1, 1, 1]))
    assert torch.get_num_threads() == 4
