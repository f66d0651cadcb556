"""A study as if trials had been evaluated at their ends alone, so that none has more points than another."""

from dataclasses import replace

from analysis.journal import Event
from analysis.statistics.tables import Results, tables_of

NOTE = (
    "Trials are evaluated on their last points alone, earlier checkpoints and what was interpolated of them left out."
)


def only_last_points(results: Results) -> Results:
    """The study without the points of trials that came before their last, and without interpolations of these.

    How many points a trial has depends on how many pixels it trains on (`training.evaluation.evaluation_spacing`).
    Where that differs between groups, the one with more points has more chances to be on a front.
    """
    last: dict[int, int] = {}
    for trial, iteration in results.journal.points:
        last[trial] = max(iteration, last.get(trial, 0))

    def at_end(interpolation: Event) -> bool:
        return all(
            each["trial"] is None or each["iteration"] == last.get(each["trial"]) for each in interpolation["parents"]
        )

    journal = replace(
        results.journal,
        points={key: event for key, event in results.journal.points.items() if key[1] == last[key[0]]},
        interpolations={key: event for key, event in results.journal.interpolations.items() if at_end(event)},
    )
    return tables_of(replace(results.facts, notes=(*results.facts.notes, NOTE)), journal)
