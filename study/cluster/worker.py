"""Tune's trainable: one job of the study after the other, each in this process or in a group of workers."""

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
    """Does one job in a thread and reports each of its messages as a result.

    Its configuration holds `"request"`, a `JobRequest` as text, and `"lane"`. On SIGTERM, which nodes send before they
    are taken away, the job saves before the process ends.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return what a job occupies; a few bytes of memory make the workers of each lane a kind of their own.

        Tune gives a free worker to any job of its kind that waits for a starting one, and drops the starting one: with
        jobs not much longer than a start, no second worker would ever come up. The workers of a group have a placement
        of their own, beside these few bytes of the trial that starts them.
        """
        lane = {"memory": float(1 + config["lane"])}
        request = read_request(config["request"])
        if request.workers > 1:
            return tune.PlacementGroupFactory([lane])
        bundle = {"CPU": float(request.threads)} | lane
        return tune.PlacementGroupFactory([bundle | ({"GPU": request.gpus} if request.gpus else {})])

    @staticmethod
    def run_alone(request: JobRequest, send: Send, stopping: Callable[[], bool]) -> None:
        """Do a job in this process alone."""
        run_job(request, SINGLE_PROCESS, send, stopping)

    def setup(self, config: dict[str, Any]) -> None:
        """Start on the first job."""
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
        """Go on to another job; False where the one before does not stop."""
        if not self._end():
            return False
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Wait for the next message.

        Raises:
            RuntimeError, ray.train.TrainingFailedError: the process is to be taken away, or one of the group died: Tune
                starts the job anew elsewhere.
        """
        message = self._messages.get()
        if isinstance(message, BaseException):
            raise message
        if isinstance(message, JobEnded) and message.state == "STOPPED" and self._terminated.is_set():
            raise RuntimeError("the worker was told to terminate (SIGTERM) and has saved a checkpoint")
        return {"message": write_message(message), "done": isinstance(message, WorkerDone)}

    def cleanup(self) -> None:
        """Stop, for good."""
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
        except BaseException as error:  # whatever it is, Tune waits for a message
            send(error)
