"""A study as if it had been evaluated on a part of its held-out images: one test set of several."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.formatting import count_text
from analysis.journal import Event, Journal, RunDirectoryError, StudyFacts
from analysis.statistics.tables import Results, tables_of


def only_images_of(results: Results, folder: Path) -> Results:
    """The study, evaluated on those of its held-out images that have a file in a folder.

    Every metric is the mean over these images anew. What the search was told stays what it was: it was told of all.

    Args:
        results: the study.
        folder: with a file for each of the images, by their names, such as a test set's.

    Raises:
        RunDirectoryError: no such folder, or none of the held-out images is there.
    """
    if not folder.is_dir():
        raise RunDirectoryError(f"--only {folder}: there is no such folder; name one that holds some held-out images")
    there = {path.stem for path in folder.iterdir()}
    chosen = [name for name in results.facts.test_images if name in there]
    if not chosen:
        raise RunDirectoryError(
            f"--only {folder}: none of the study's {count_text(len(results.facts.test_images), 'held-out image')} is "
            f"there; they are called {', '.join(results.facts.test_images[:3])} ..."
        )
    return tables_of(_facts(results.facts, chosen, folder), _journal(results.journal, frozenset(chosen)))


def _facts(facts: StudyFacts, chosen: list[str], folder: Path) -> StudyFacts:
    name = folder.parent.name if folder.name in ("HR", "val", "test") else folder.name
    note = f"Evaluated by {len(chosen)} of the {len(facts.test_images)} held-out images alone, those of {name}."
    data = {**facts.data, "val": {**facts.data["val"], "images": chosen}}
    return replace(facts, data=data, notes=(*facts.notes, note))


def _journal(journal: Journal, chosen: Collection[str]) -> Journal:
    def evaluated(events: Mapping[Any, Event]) -> dict[Any, Event]:
        return {key: _evaluated(event, chosen) for key, event in events.items()}

    return replace(
        journal,
        references=evaluated(journal.references),
        points=evaluated(journal.points),
        interpolations=evaluated(journal.interpolations),
    )


def _evaluated(event: Event, chosen: Collection[str]) -> Event:
    """An event with the images that are wanted; without metrics where one of them was not recorded."""
    images = event.get("images")
    own = {name: values for name, values in images.items() if name in chosen} if isinstance(images, Mapping) else {}
    if len(own) < len(chosen):
        return {**event, "metrics": {}, "images": own}
    means = {name: _mean([values.get(name) for values in own.values()]) for name in event["metrics"]}
    return {**event, "metrics": means, "images": own}


def _mean(values: list[Any]) -> float:
    known = [value if isinstance(value, int | float) else np.nan for value in values]
    return float(np.mean(known))
