"""The runs of a study in MLflow, found or made: a parent, and a child a trial."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.formatting import markdown_text
from study.record.metadata import StudyMetadata
from study.record.paths import STUDY
from study.tracking.cursor import Cursor
from study.tracking.values import TAG_LENGTH, cut, fit

STUDY_PART = "study"
"""The tag `aesop.part` of a study's own run; `trial_part` has those of its trials."""
_NAME_LENGTH, _DIGEST_LENGTH = 500, 36  # MLflow's limits for a data set


class StudyRuns:
    """Finds or makes each run once, with the tags that are known from the start."""

    def __init__(self, client: Any, study: StudyMetadata, cursor: Cursor, artifacts: str | None) -> None:
        """Begin with the runs of the cursor.

        Args:
            client: of MLflow.
            study: whose runs they are.
            cursor: gets the ids.
            artifacts: where a new experiment's artifacts go; None leaves it to the server.
        """
        self._client, self._study, self._cursor, self._artifacts = client, study, cursor, artifacts
        # A driver that died, or a request whose answer was lost, may have left a run that the cursor lacks.
        self._search_first = True

    def trust_cursor(self) -> None:
        """Stop looking for runs that the cursor lacks: it was saved, and all runs since then are in it."""
        self._search_first = False

    def parent(self, at: int) -> str:
        """Return the id of the study's run; a new one starts `at`, in milliseconds."""
        cursor = self._cursor
        if cursor.is_new and self._search_first:
            self._find_all()
        if cursor.parent is None:
            cursor.parent = self._make(STUDY_PART, self._study.name, at, self._parent_tags())
        return cursor.parent

    def trial(self, number: int, at: int) -> str:
        """Return the id of a trial's run; a new one starts `at`, in milliseconds."""
        parent, runs = self.parent(at), self._cursor.runs
        if str(number) not in runs:
            tags = {"mlflow.parentRunId": parent, "trial": str(number), "front": "no", **self._common_tags()}
            runs[str(number)] = self._make(trial_part(number), f"{self._study.name}-{number:04d}", at, tags)
        return runs[str(number)]

    def _make(self, part: str, name: str, at: int, tags: dict[str, str]) -> str:
        identity = {"aesop.study": self._study.id, "aesop.part": part}
        found = self._search(identity, limit=1) if self._search_first else []
        fitting, whole = fit(tags | identity, TAG_LENGTH)
        if found:
            run = found[0]
        else:
            run = self._client.create_run(self._experiment(), start_time=at, tags=fitting, run_name=name)
        for path, text in whole.items():
            self._client.log_text(run.info.run_id, text, path)
        self._client.log_inputs(run.info.run_id, _dataset_inputs(self._study))
        return str(run.info.run_id)

    def _find_all(self) -> None:
        """Find all runs that the study has on the server already."""
        for run in self._search({"aesop.study": self._study.id}):
            if run.data.tags["aesop.part"] == STUDY_PART:
                self._cursor.parent = run.info.run_id
            else:
                self._cursor.runs[run.data.tags["trial"]] = run.info.run_id
        self._search_first = False

    def _search(self, tags: Mapping[str, str], limit: int | None = None) -> list[Any]:
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found: list[Any] = []
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment()], query, max_results=limit or 1000, page_token=token)
            found += page
            token = page.token
            if limit is not None or not token:
                return found

    def _experiment(self) -> str:
        cursor, name = self._cursor, self._study.name
        if cursor.experiment is None:
            found = self._client.get_experiment_by_name(name)
            if found is None:
                cursor.experiment = self._client.create_experiment(name, self._artifacts)
            else:
                cursor.experiment = found.experiment_id
        assert cursor.experiment is not None
        return cursor.experiment

    def _common_tags(self) -> dict[str, str]:
        study = self._study
        tags = {"recipe": study.recipe, "state": "RUNNING", "code_version": study.code_version}
        # MLflow's UI shows the commit beside the name of the source.
        tags |= {"mlflow.source.name": "aesop-study", "mlflow.source.type": "LOCAL"}
        commit = commit_of(study.code_version)
        return tags if commit is None else {**tags, "mlflow.source.git.commit": commit}

    def _parent_tags(self) -> dict[str, str]:
        study = self._study
        tags = {"space": study.search.space, "size": study.size, "study": study.name}
        images = {f"data.{part}": images.fingerprint for part, images in study.images.items()}
        return self._common_tags() | tags | images | {"mlflow.note.content": describe_study(study)}


def deletion(client: Any, study: StudyMetadata, cursor_file: Path) -> str | None:
    """Return what of a study was deleted in MLflow, and how to go on; None if nothing was.

    Raises:
        Exception: MLflow's, if the server is away.
    """
    experiment = client.get_experiment_by_name(study.name)
    if experiment is None:
        if not cursor_file.exists():
            return None
        return f"the experiment {study.name} is not there any more; remove {cursor_file}, and everything is sent again"
    number = experiment.experiment_id
    if experiment.lifecycle_stage == "deleted":
        return (
            f"the experiment {study.name} was deleted there; restore it in the UI or by `MLFLOW_TRACKING_URI=URI "
            f"mlflow experiments restore --experiment-id {number}`, or give the study another name by another --output"
        )
    from mlflow.entities import ViewType

    query = f"tags.`aesop.study` = '{study.id}'"
    deleted = client.search_runs([number], query, run_view_type=ViewType.DELETED_ONLY)
    if not deleted:
        return None
    commands = "; ".join(f"mlflow runs restore --run-id {run.info.run_id}" for run in deleted[:3])
    return f"runs of the study were deleted there ({len(deleted)}); restore them in the UI or by `{commands}`"


def trial_part(number: int) -> str:
    """Return the tag `aesop.part` of a trial's run."""
    return f"trial-{number:04d}"


def commit_of(code_version: str) -> str | None:
    """Return the commit in a code version such as `0.1+v1-3-gabc1234-dirty`; None if it names none."""
    found = re.search(r"(?:\+|-g)([0-9a-f]{7,40})(?:-dirty)?$", code_version)
    return found.group(1) if found else None


def describe_study(study: StudyMetadata) -> str:
    """Describe a study and how to read its runs, as Markdown; text from users is escaped."""
    name, space, recipe, size = map(markdown_text, (study.name, study.search.space, study.recipe, study.size))
    axes = [
        f"`{objective.metric}` ({'higher' if objective.direction == 'maximize' else 'lower'} is better)"
        for objective in study.objectives
    ]
    images = [
        f"- {markdown_text(part)}: {markdown_text(images.name)}, fingerprint {markdown_text(images.fingerprint[:16])}"
        for part, images in study.images.items()
    ]
    notes = [f"- {markdown_text(note)}" for note in study.notes]
    return "\n".join(
        [
            f"## Study {name}",
            "",
            f"Space {space}, recipe {recipe} at size {size}, code {markdown_text(study.code_version)}. "
            f"The answer is the Pareto front of {' against '.join(axes)}.",
            "",
            "- This run is the study: `hypervolume` and `front_size` by trials that ended, references (`bicubic.*`, "
            "`fidelity.*`), and artifacts (the report; `journal/`, all events).",
            "- Each child is a trial: its metrics by iteration; tables show the last point's. "
            "`interpolation.weights.*` and `interpolation.images.*` are interpolations with its fidelity generator, "
            "by the trial's share in percent.",
            "- Tag `front` = `yes`: the trial has a point or interpolation on the front (`front.points`, "
            "`front.interpolations`).",
            "- For the trade-off, open the study in the list of runs, mark its trials, Compare, Scatter Plot.",
            "",
            "Images:",
            "",
            *images,
            *(["", "Notes:", "", *notes] if notes else []),
        ]
    )


def _dataset_inputs(study: StudyMetadata) -> list[Any]:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for part, images in study.images.items():
        source = json.dumps({"fingerprint": images.fingerprint, "images": len(images.images)})
        dataset = Dataset(
            cut(images.name, _NAME_LENGTH, STUDY), images.fingerprint[:_DIGEST_LENGTH], "aesop-study", source
        )
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", part)]))
    return inputs
