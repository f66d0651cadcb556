"""From the journal to MLflow: one parent run a study, a child a trial, written by the driver alone.

The journal is the spool. A thread follows it and notes how far MLflow has come; when the server is away, nothing waits
for it, and what it missed is sent later. Each record carries the time of its event, so that one that is sent twice
(a crash between sending and noting) is stored once.
"""

import json
import logging
import os
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from study.cluster.journal import read_events
from study.config import digest, flatten
from study.files import only_one, write_json

log = logging.getLogger(__name__)

_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAILED": "FAILED", "INTERRUPTED": "KILLED"}
_TAG_LENGTH = 4000


def default_uri(output: Path) -> str:
    """The SQLite database beside a study's directory: `runs/quick` goes into `runs/mlflow.db`."""
    return f"sqlite:///{output.resolve().parent / 'mlflow.db'}"


def public_uri(uri: str) -> str:
    """A URI without the user and password that it may hold: what may be printed."""
    return uri.replace(f"{_user_of(uri)}@", "") if _user_of(uri) else uri


class Tracker:
    """Follows a journal into MLflow, in a thread of its own."""

    def __init__(self, run_dir: Path, uri: str, *, wait_seconds: float = 1.0) -> None:
        """Set up; nothing is sent before `start`.

        Args:
            run_dir: holds `study.json` and `journal.jsonl`; gets `mlflow.json`, how far MLflow has come.
            uri: MLflow's tracking URI.
            wait_seconds: how often to look for new events; after a failure ten times that.
        """
        self._run_dir, self._uri, self._wait = run_dir, uri, wait_seconds
        self._study = json.loads((run_dir / "study.json").read_text())
        self._notes = run_dir / "mlflow.json"
        self._sent = self._load_notes()
        self._client: Any = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="mlflow", daemon=True)
        self._complained = False

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def close(self, timeout: float = 60.0) -> int:
        """Send what is left and stop; returns how many events could not be sent and wait for the next start."""
        self._stop.set()
        self._thread.join(timeout)
        return sum(1 for _ in read_events(self._run_dir / "journal.jsonl", self._sent["offset"]))

    def _load_notes(self) -> dict[str, Any]:
        if self._notes.exists():
            notes = json.loads(self._notes.read_text())
            if notes["server"] == digest(self._uri):
                return notes
        # The address may hold a password: only its hash is written down.
        return {"server": digest(self._uri), "offset": 0, "parent": None, "experiment": None, "runs": {}}

    def _follow(self) -> None:
        while True:
            last_round = self._stop.is_set()
            try:
                self._send_all()
                wait, self._complained = self._wait, False
            except Exception as error:
                self._complain(error)
                wait = 10 * self._wait
            if last_round:
                return
            self._stop.wait(wait)

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            log.warning(
                "MLflow (%s) cannot be written: %s. The study goes on; what is missing is sent once it answers.",
                public_uri(self._uri),
                str(error).replace(f"{_user_of(self._uri)}@", ""),
            )
        self._complained = True

    def _send_all(self) -> None:
        if self._client is None:
            self._client = _connect(self._uri)
        for event, offset in read_events(self._run_dir / "journal.jsonl", self._sent["offset"]):
            self._send(event)
            self._sent["offset"] = offset
            write_json(self._notes, self._sent)

    def _send(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "trial":
                run = self._run_of(event["trial"], event["time"])
                self._log(run, event, params=_params(event["config"]), tags=event["upstream"])
            case "point":
                metrics = event["metrics"] | {f"term.{name}": value for name, value in event["terms"].items()}
                metrics |= event["budget"]
                self._log(self._run_of(event["trial"], event["time"]), event, metrics, step=event["iteration"])
            case "end":
                self._end(self._run_of(event["trial"], event["time"]), event)
            case "artifact":
                facts = {name: event.get(name) for name in ("stage", "state", "cause", "metrics", "budget", "reused")}
                self._log(self._parent(event["time"]), event, tags={event["key"]: json.dumps(facts)})
            case "reference":
                metrics = {f"{event['kind']}.{name}": value for name, value in event["metrics"].items()}
                self._log(self._parent(event["time"]), event, metrics)
            case "front":
                metrics = {"hypervolume": event["hypervolume"], "front_size": len(event["members"])}
                self._log(self._parent(event["time"]), event, metrics, step=event["trials_ended"])
            case "blend":
                self._log_blend(event)
            case "enough":
                self._log(self._parent(event["time"]), event, tags={"enough": event["cause"]})
            case "study":
                self._mark_study(event)

    def _log_blend(self, event: dict[str, Any]) -> None:
        """Objectives alone, in the run of a trial that it is a blend of, under few names: many slow the UI down."""
        trials = [parent for parent in reversed(event["parents"]) if parent["trial"] is not None]
        run = self._run_of(trials[0]["trial"], event["time"]) if trials else self._parent(event["time"])
        names = [objective["metric"] for objective in self._study["objectives"]]
        kind = "blend" if len(trials) == 1 else "blend_of_neighbours"
        metrics = {f"{kind}.{event['space']}.{event['share']:g}.{name}": event["metrics"][name] for name in names}
        self._log(run, event, metrics, step=trials[0]["iteration"] if trials else 0)

    def _mark_study(self, event: dict[str, Any]) -> None:
        parent = self._parent(event["time"])
        self._log(parent, event, tags={"state": event["state"]})
        if event["state"] == "RUNNING":
            self._client.update_run(parent, status="RUNNING")
        else:
            self._client.set_terminated(parent, _STATUS[event["state"]], end_time=_milliseconds(event))

    def _end(self, run: str, event: dict[str, Any]) -> None:
        measured = {name: event.get(name) for name in ("overhead_seconds", "seconds")}
        tags = {"state": event["state"], "cause": event["cause"]}
        self._log(run, event, {name: value for name, value in measured.items() if value is not None}, tags=tags)
        self._client.set_terminated(run, _STATUS[event["state"]], end_time=_milliseconds(event))

    def _log(
        self,
        run: str,
        event: dict[str, Any],
        metrics: dict[str, float] | None = None,
        *,
        step: int = 0,
        params: dict[str, str] | None = None,
        tags: dict[str, Any] | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        at = _milliseconds(event)
        self._client.log_batch(
            run,
            metrics=[Metric(name, float(value), at, step) for name, value in (metrics or {}).items()],
            params=[Param(name, value) for name, value in (params or {}).items()],
            tags=[RunTag(name, str(value)[:_TAG_LENGTH]) for name, value in (tags or {}).items() if value is not None],
        )

    def _parent(self, at: float) -> str:
        if self._sent["parent"] is None:
            study = self._study
            tags = {
                "study": study["name"],
                "space": study["space"],
                "recipe": study["recipe"],
                "size": study["size"],
            }
            tags |= {
                "code_version": study["code_version"],
                "data.train": study["data"]["train"]["fingerprint"],
            }
            self._sent["parent"] = self._find_or_create("study", study["name"], at, tags)
        return self._sent["parent"]

    def _run_of(self, trial: int, at: float) -> str:
        runs = self._sent["runs"]
        if str(trial) not in runs:
            tags = {
                "mlflow.parentRunId": self._parent(at),
                "trial": str(trial),
                "recipe": self._study["recipe"],
            }
            runs[str(trial)] = self._find_or_create(
                f"trial-{trial:04d}", f"{self._study['name']}-{trial:04d}", at, tags
            )
        return runs[str(trial)]

    def _find_or_create(self, part: str, name: str, at: float, tags: dict[str, str]) -> str:
        experiment = self._experiment()
        mine = {"aesop.study": self._study["id"], "aesop.part": part}
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in mine.items())
        found = self._client.search_runs([experiment], query, max_results=1)
        if found:
            return found[0].info.run_id
        run = self._client.create_run(experiment, start_time=int(at * 1000), tags=tags | mine, run_name=name)
        return run.info.run_id

    def _experiment(self) -> str:
        if self._sent["experiment"] is None:
            name = self._study["name"]
            found = self._client.get_experiment_by_name(name)
            if found is not None:
                self._sent["experiment"] = found.experiment_id
            else:
                self._sent["experiment"] = self._client.create_experiment(name, self._artifact_location())
        return self._sent["experiment"]

    def _artifact_location(self) -> str | None:
        local = self._uri.startswith("sqlite:///")
        return (self._run_dir.resolve().parent / "mlartifacts" / self._study["name"]).as_uri() if local else None


def _user_of(uri: str) -> str:
    return uri.partition("://")[2].rpartition("@")[0]


def _connect(uri: str) -> Any:
    # A server that is away shall be noticed in seconds: we keep the records and try again ourselves.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with _making_tables(uri):
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # makes the tables of a new database now
    return client


def _making_tables(uri: str) -> AbstractContextManager[None]:
    """One after the other: two studies that make a database's tables at the same time leave it broken for good."""
    if not uri.startswith("sqlite:///"):
        return nullcontext()  # a server makes its own
    database = Path(uri.removeprefix("sqlite:///"))
    return only_one(database.with_name(f".{database.name}.lock"))


def _params(config: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in flatten(config).items()}


def _milliseconds(event: dict[str, Any]) -> int:
    return int(event["time"] * 1000)
