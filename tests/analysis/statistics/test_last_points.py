"""A study evaluated at the trials' ends alone."""

from analysis.statistics.last_points import NOTE, only_last_points

from analysis.statistics.compute import compute_statistics
from analysis.statistics.findings import limits
from analysis.statistics.tables import load_results


def _interpolation(name: str, iteration: int) -> dict:
    parents = [{"trial": None, "iteration": None, "label": "f"}, {"trial": 0, "iteration": iteration, "label": "t"}]
    metrics = {"psnr_y": 26.0, "swd": 25.0}
    return {
        "event": "interpolation",
        "pair": name,
        "name": "w",
        "space": "weights",
        "share": 0.5,
        "parents": parents,
        "metrics": metrics,
    }


def test_earlier_checkpoints_and_their_interpolations_are_left_out(write_run, study_json):
    points = [
        {"event": "point", "trial": trial, "iteration": iteration, "metrics": {"psnr_y": psnr, "swd": 30.0}}
        for trial, iteration, psnr in ((0, 10, 29.0), (0, 20, 25.0), (1, 10, 24.0))
    ]
    whole = load_results(write_run(study_json, [*points, _interpolation("early", 10), _interpolation("late", 20)]))
    part = only_last_points(whole)
    trials = part.points[part.points["kind"] == "trial"]
    assert [(row.trial, row.iteration, row.psnr_y) for row in trials.itertuples()] == [(0, 20, 25.0), (1, 10, 24.0)]
    assert list(part.points.loc[part.points["kind"] == "interpolation", "name"]) == ["late w"]
    assert part.facts.notes[-1] == NOTE
    assert len(whole.points) == 5


def test_that_one_group_was_judged_more_often_is_said(write_run, study_json):
    events = []
    for trial, guidance, times in ((0, "pixel", 2), (1, "aesop", 1)):
        events.append({"event": "trial", "trial": trial, "config": {"loss": {"guidance": guidance}}, "params": {}})
        for iteration in range(1, times + 1):
            metrics = {"psnr_y": 24.0 + iteration, "swd": 30.0}
            events.append({"event": "point", "trial": trial, "iteration": iteration, "metrics": metrics})
    results = load_results(write_run(study_json, events))
    said = [
        text for text in limits(results, compute_statistics(results, draws=20)) if "evaluated unequally often" in text
    ]
    assert len(said) == 1
    assert "1 (aesop) and 2 (pixel) times on average" in said[0]
    part = only_last_points(results)
    assert not any("unequally" in text for text in limits(part, compute_statistics(part, draws=20)))
