"""Tune's trainable: runs the study's jobs one after the other, each in this process or in a group of workers."""

import queue
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune

from study.cluster.group import run_job_in_group
from study.cluster.messages import Entered, JobEnded, JobRequest, WorkerDone, read_request, write_message
from study.cluster.run_job import Send, run_job
from study.cluster.signals import STOP_SECONDS, StopRequests
from study.training.distributed import SINGLE_PROCESS


class Worker(tune.Trainable):
    """Runs one job in a thread and reports each of its messages as a result.

    Its configuration holds `"request"`, a `JobRequest` as text, and `"lane"`. On SIGTERM, which a node sends before it
    shuts down, the job saves before the process ends.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return the resources of a job, with a few bytes of memory that differ for each lane.

        Tune gives a free worker to any waiting job with equal resources, and cancels the worker that was starting for
        it: with jobs hardly longer than a start, no second worker would ever start. The workers of a group have their
        own placement, beside these bytes of the trial that starts them.
        """
        lane = {"memory": float(1 + config["lane"])}
        request = read_request(config["request"])
        if request.workers > 1:
            return tune.PlacementGroupFactory([lane])
        bundle = {"CPU": float(request.threads)} | lane
        return tune.PlacementGroupFactory([bundle | ({"GPU": request.gpus} if request.gpus else {})])

    @staticmethod
    def run_alone(request: JobRequest, send: Send, stopping: Callable[[], bool]) -> None:
        """Run a job in this process."""
        run_job(request, SINGLE_PROCESS, send, stopping)

    def setup(self, config: dict[str, Any]) -> None:
        """Start the first job."""
        self._jobs_done = 0
        self._terminated = threading.Event()
        before = signal.getsignal(signal.SIGTERM)

        def terminate(number: int, frame: Any) -> None:
            self._terminated.set()
            if not self._thread.is_alive() and callable(before):
                before(number, frame)

        signal.signal(signal.SIGTERM, terminate)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another job; return False if the previous one does not stop."""
        if not self._end():
            return False
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Wait for the next message and return it.

        Raises:
            RuntimeError: the process received SIGTERM; Tune restarts the job on another node.
            ray.train.TrainingFailedError: a process of the group died; Tune restarts the job.
        """
        message = self._messages.get()
        if isinstance(message, BaseException):
            raise message
        if isinstance(message, JobEnded) and message.state == "STOPPED" and self._terminated.is_set():
            raise RuntimeError("the worker received SIGTERM and saved a checkpoint")
        return {"message": write_message(message), "done": isinstance(message, WorkerDone)}

    def cleanup(self) -> None:
        """Stop the present job."""
        self._end()

    def _begin(self, config: dict[str, Any]) -> None:
        self._stop, self._messages = threading.Event(), queue.SimpleQueue[Any]()
        request = read_request(config["request"])
        requests, name = StopRequests(Path(request.run_dir)), request.job.name
        reasons = (self._stop.is_set, self._terminated.is_set, lambda: requests.is_requested(name))
        arguments = (request, self._jobs_done > 0, self._messages.put, lambda: any(reason() for reason in reasons))
        self._thread = threading.Thread(target=self._work, args=arguments, daemon=True)
        self._jobs_done += 1
        self._thread.start()

    def _end(self) -> bool:
        self._stop.set()
        self._thread.join(STOP_SECONDS)
        return not self._thread.is_alive()

    def _work(self, request: JobRequest, warm: bool, send: Callable[[Any], None], stopping: Callable[[], bool]) -> None:
        try:
            if request.workers > 1:
                run_job_in_group(request, send, stopping)
            else:
                send(Entered(time.time(), warm))
                self.run_alone(request, send, stopping)
            send(WorkerDone())
        except BaseException as error:  # `step` waits for a message in any case
            send(error)
