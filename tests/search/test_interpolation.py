"""Which pairs are interpolated, and in which spaces."""

from study.search.interpolation import Pair, Parent, neighbours, shares_of, with_own_generators

GENERATOR = Parent(None, None, "fidelity-aaaaaa111111", "rrdb")
OTHER = Parent(None, None, "fidelity-bbbbbb222222", "rrdb")


def point(trial: int, fidelity: str | None = GENERATOR.fidelity, form: str = "rrdb") -> Parent:
    return Parent(trial, 40, fidelity, form)


def test_points_go_with_the_generator_that_they_started_from() -> None:
    points = [point(0), point(1, OTHER.fidelity), point(2, None), point(3, "fidelity-unknown"), GENERATOR]
    assert with_own_generators(points, [GENERATOR, OTHER]) == [Pair(GENERATOR, point(0)), Pair(OTHER, points[1])]


def test_neighbours_go_with_the_next() -> None:
    front = [GENERATOR, point(1), point(0)]
    assert neighbours(front) == [Pair(GENERATOR, point(1)), Pair(point(1), point(0))]
    assert neighbours(front[:1]) == []


def test_weights_are_interpolationed_only_between_relatives_that_are_the_same_network() -> None:
    assert Pair(GENERATOR, point(0)).spaces == ("weights", "images")
    assert Pair(point(0), point(1)).spaces == ("weights", "images")
    assert Pair(point(0), point(1, OTHER.fidelity)).spaces == ("images",)
    assert Pair(point(0, None), point(1, None)).spaces == ("images",)  # both from scratch
    assert Pair(GENERATOR, point(0, form="spsr")).spaces == ("images",)


def test_interpolations_lie_evenly_between_their_parents() -> None:
    assert shares_of(3) == (0.25, 0.5, 0.75)
    assert shares_of(0) == ()


def test_labels_are_those_of_the_front() -> None:
    assert point(3).label == "trial 3 at 40"
    assert GENERATOR.label == "fidelity 111111"
