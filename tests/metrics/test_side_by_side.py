from collections.abc import Iterator

import pytest
import torch

from study.metrics.side_by_side import AT_ONCE, IN_A_GROUP, evaluate_each, side_by_side

CPU = torch.device("cpu")


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_threads")
def test_small_images_are_grouped_and_large_ones_are_alone() -> None:
    small, half, large = 150_000, AT_ONCE // 2, AT_ONCE // 2 + 1
    fit = IN_A_GROUP // half

    assert list(side_by_side([small] * 5, CPU)) == [range(5)]
    assert list(side_by_side([half] * (fit + 1), CPU)) == [range(fit), range(fit, fit + 1)]
    assert list(side_by_side([small, small, large, small, small], CPU)) == [range(2), range(2, 3), range(3, 5)]
    assert list(side_by_side([large, large], CPU)) == [range(1), range(1, 2)]
    assert list(side_by_side([], CPU)) == []


@pytest.mark.usefixtures("four_threads")
def test_each_image_is_alone_where_there_are_no_cores_to_share() -> None:
    assert list(side_by_side([9, 9], torch.device("cuda"))) == [range(1), range(1, 2)]
    torch.set_num_threads(1)
    assert list(side_by_side([9, 9], CPU)) == [range(1), range(1, 2)]


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(
    ("pixels", "cores"),
    [([100] * 8, 1), ([100, 100], 2), ([AT_ONCE // 2, 100, 100, 100], 2), ([AT_ONCE * 8], 4), ([100], 4)],
)
def test_cores_are_shared_among_what_runs_at_once(pixels: list[int], cores: int) -> None:
    seen = list(evaluate_each(lambda item: (item, torch.get_num_threads()), range(len(pixels)), pixels))

    assert seen == [(item, cores) for item in range(len(pixels))]
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_an_error_comes_out_and_the_threads_are_given_back() -> None:
    def evaluator(item: int) -> int:
        if item == 1:
            raise ValueError("the second")
        return item

    with pytest.raises(ValueError, match="the second"):
        list(evaluate_each(evaluator, range(3), [1, 1, 1]))
    assert torch.get_num_threads() == 4
