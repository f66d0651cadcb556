"""The runs of a study in MLflow, found there or made: a parent, and a child a trial."""

import json
import re
from collections.abc import Mapping
from typing import Any

from study.tracking.cursor import Cursor

_PARENT = "study"
_NOTE_LENGTH = 5000
# What MLflow takes.
_NAME_LENGTH, _DIGEST_LENGTH = 500, 36
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-.!|~:])")


class StudyRuns:
    """Finds or makes each run once, and gives it what is known from the start."""

    def __init__(self, client: Any, study: Mapping[str, Any], cursor: Cursor, artifacts: str | None) -> None:
        """Begin with what the notes know.

        Args:
            client: of MLflow.
            study: the content of `study.json`.
            cursor: gets the ids.
            artifacts: where a new experiment's artifacts go; None leaves it to the server.
        """
        self._client, self._study, self._cursor, self._artifacts = client, study, cursor, artifacts
        # A driver that died, or a request whose answer was lost, may have left a run that the notes do not know.
        self._in_doubt = True

    def in_no_doubt(self) -> None:
        """Take note that the notes are on disk: what they do not know is not there."""
        self._in_doubt = False

    def parent(self, at: float) -> str:
        """The study's run; `at` is when it began, in seconds."""
        cursor = self._cursor
        if cursor.is_new and self._in_doubt:
            self._find_all()
        if cursor.parent is None:
            cursor.parent = self._make(_PARENT, self._study["name"], at, self._tags_of_parent())
        return cursor.parent

    def trial(self, number: int, at: float) -> str:
        """A trial's run."""
        parent, runs = self.parent(at), self._cursor.runs
        if str(number) not in runs:
            tags = {"mlflow.parentRunId": parent, "trial": str(number), "front": "no", **self._tags_of_all()}
            runs[str(number)] = self._make(_part(number), f"{self._study['name']}-{number:04d}", at, tags)
        return runs[str(number)]

    def _make(self, part: str, name: str, at: float, tags: dict[str, str]) -> str:
        mine = {"aesop.study": self._study["id"], "aesop.part": part}
        found = self._search(mine, 1) if self._in_doubt else []
        run = (
            found[0]
            if found
            else self._client.create_run(self._experiment(), start_time=int(at * 1000), tags=tags | mine, run_name=name)
        )
        inputs = _dataset_inputs(self._study)
        if inputs:
            self._client.log_inputs(run.info.run_id, inputs)
        return str(run.info.run_id)

    def _find_all(self) -> None:
        """Find what a study has on a server that the notes know nothing of."""
        for run in self._search({"aesop.study": self._study["id"]}):
            part = run.data.tags["aesop.part"]
            if part == _PARENT:
                self._cursor.parent = run.info.run_id
            else:
                self._cursor.runs[run.data.tags["trial"]] = run.info.run_id
        self._in_doubt = False

    def _search(self, tags: Mapping[str, str], most: int | None = None) -> list[Any]:
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found: list[Any] = []
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment()], query, max_results=most or 1000, page_token=token)
            found += page
            token = page.token
            if most is not None or not token:
                return found

    def _experiment(self) -> str:
        cursor = self._cursor
        if cursor.experiment is None:
            name = self._study["name"]
            found = self._client.get_experiment_by_name(name)
            if found is None:
                cursor.experiment = self._client.create_experiment(name, self._artifacts)
            else:
                cursor.experiment = found.experiment_id
        assert cursor.experiment is not None
        return cursor.experiment

    def _tags_of_all(self) -> dict[str, str]:
        study = self._study
        commit = commit_of(study["code_version"])
        tags = {"recipe": study["recipe"], "state": "RUNNING", "code_version": study["code_version"]}
        # The UI has the commit with the name of what ran.
        tags |= {"mlflow.source.name": "aesop-study", "mlflow.source.type": "LOCAL"}
        return tags if commit is None else {**tags, "mlflow.source.git.commit": commit}

    def _tags_of_parent(self) -> dict[str, str]:
        study = self._study
        tags = {name: study[name] for name in ("space", "size")}
        tags |= {"study": study["name"], "mlflow.note.content": describe_study(study)}
        images = {f"data.{name}": facts["fingerprint"] for name, facts in study["data"].items()}
        return self._tags_of_all() | tags | images


def commit_of(code_version: str) -> str | None:
    """The commit in a code version such as `0.1+v1-3-gabc1234-dirty`; None if it names none."""
    found = re.search(r"(?:\+|-g)([0-9a-f]{7,40})(?:-dirty)?$", code_version)
    return found.group(1) if found else None


def describe_study(study: Mapping[str, Any]) -> str:
    """What a study is and how to read its runs, as Markdown; names of users' stay text."""
    name, space, recipe = (as_text(str(study[key])) for key in ("name", "space", "recipe"))
    axes = [
        f"`{axis['metric']}` ({'higher' if axis.get('direction') == 'maximize' else 'lower'} is better)"
        for axis in study["objectives"]
    ]
    images = [
        f"- {as_text(kind)}: {as_text(str(facts.get('name', '')))}, fingerprint {as_text(facts['fingerprint'][:16])}"
        for kind, facts in study["data"].items()
    ]
    notes = [f"- {as_text(note)}" for note in study.get("notes", ())]
    return "\n".join(
        [
            f"## Study {name}",
            "",
            f"Space {space}, recipe {recipe} at size {as_text(str(study['size']))}, "
            f"code {as_text(study['code_version'])}. The answer is the Pareto front of {' against '.join(axes)}.",
            "",
            "- This run is the study: `hypervolume` and `front_size` by trials that ended, references (`bicubic.*`, "
            "`fidelity.*`), its artifacts (the report; `journal/`, all that happened).",
            "- Each child is a trial; its metrics by iteration, the last point's are shown. `interpolation.weights.*` and "
            "`interpolation.pixels.*` are interpolations with its fidelity generator, by the trial's share in percent.",
            "- Tag `front` = `yes`: the trial has a point or interpolation on the front (`front.points`, `front.interpolations`).",
            "- To see the trade-off: open the study in the list of runs, mark its trials, Compare, Scatter Plot.",
            "",
            "Images:",
            "",
            *images,
            *(["", "Notes:", "", *notes] if notes else []),
        ]
    )[:_NOTE_LENGTH]


def as_text(words: str) -> str:
    """Words that Markdown shall show as they are: no markup, no HTML, one line."""
    plain = " ".join(words.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", plain)


def _part(number: int) -> str:
    return f"trial-{number:04d}"


def _dataset_inputs(study: Mapping[str, Any]) -> list[Any]:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for context, facts in study["data"].items():
        name, fingerprint = facts.get("name", context), facts["fingerprint"]
        source = json.dumps({"fingerprint": fingerprint, "images": len(facts.get("images", ()))})
        dataset = Dataset(name[:_NAME_LENGTH], fingerprint[:_DIGEST_LENGTH], "aesop-study", source)
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
    return inputs
