"""Metrics, parameters and tags on their way to MLflow, gathered by run: a request costs far more than what is in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TAG_LENGTH = 4000


@dataclass
class _Batch:
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    status: tuple[str, int | None] | None = None


class Batches:
    """What waits to be sent, by run, in the order in which it came."""

    def __init__(self) -> None:
        self._runs: dict[str, _Batch] = {}
        self.size = 0
        """How many metrics, parameters and tags wait."""

    def add(
        self,
        run: str,
        at: int,
        metrics: Mapping[str, float] | None = None,
        *,
        step: int = 0,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Add what an event says of a run.

        Args:
            run: its id.
            at: the event's time in milliseconds. It makes harmless what is sent twice: a metric's name, step, time and
                value are stored once.
            metrics, step: values by name, and where they were measured.
            params: values by name.
            tags: the last of a name counts; None is left out.
        """
        batch = self._runs.setdefault(run, _Batch())
        batch.metrics += [(name, float(value), at, step) for name, value in (metrics or {}).items()]
        batch.params |= params or {}
        batch.tags |= {name: str(value)[:TAG_LENGTH] for name, value in (tags or {}).items() if value is not None}
        self.size += len(metrics or {}) + len(params or {}) + len(tags or {})

    def set_status(self, run: str, status: str, ended_at: int | None = None) -> None:
        """Say how a run stands once all that was added before is sent."""
        self._runs.setdefault(run, _Batch()).status = (status, ended_at)

    def send(self, client: Any) -> None:
        """Send everything; the client cuts what is longer into requests of the size that MLflow takes."""
        from mlflow.entities import Metric, Param, RunTag

        for run, batch in self._runs.items():
            client.log_batch(
                run,
                metrics=[Metric(*metric) for metric in batch.metrics],
                params=[Param(name, value) for name, value in batch.params.items()],
                tags=[RunTag(name, value) for name, value in batch.tags.items()],
            )
            if batch.status is not None:
                _set_status(client, run, *batch.status)
        self._runs, self.size = {}, 0


def _set_status(client: Any, run: str, status: str, ended_at: int | None) -> None:
    if ended_at is None:
        client.update_run(run, status=status)
    else:
        client.set_terminated(run, status, end_time=ended_at)
