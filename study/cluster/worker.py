"""What runs inside a Tune trial: one job of the study after the other, each here or in a group of workers."""

import json
import queue
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune

from study.cluster.group import run_job_in_group
from study.cluster.notice import StopNotices
from study.cluster.run_job import Send, run_job
from study.training.distributed import SINGLE_PROCESS

STOP_SECONDS = 60.0  # for a job that is told to stop, to save what it has


class Worker(tune.Trainable):
    """Tune's trainable: does one job in a thread, and reports what it says; each message is a result.

    Its configuration is that of `perform`, with `"gpus"`, of each worker of a group. SIGTERM, which nodes that are
    about to be taken away send, makes the job save where it is before the process dies of it.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What a job occupies, and a few bytes that make each lane's workers a kind of their own.

        The workers of a group have a placement of their own, beside the few bytes of the trial that starts them.

        Tune gives a worker that gets free to whatever job of its kind waits for a starting one, and takes the starting
        one away. Behind jobs not much longer than a start, no second worker would ever come up.
        """
        lane = {"memory": float(1 + config["lane"])}
        if config["job"]["workers"] > 1:
            return tune.PlacementGroupFactory([lane])
        bundle = {"CPU": float(config["threads"])} | lane
        return tune.PlacementGroupFactory([bundle | ({"GPU": config["gpus"]} if config["gpus"] else {})])

    @staticmethod
    def run_job(config: dict[str, Any], send: Send, stopping: Callable[[], bool]) -> None:
        """Do a job in this process alone."""
        run_job(config, SINGLE_PROCESS, send, stopping)

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
        if message.get("state") == "STOPPED" and self._terminated.is_set():
            raise RuntimeError("the worker was told to terminate (SIGTERM) and has saved a checkpoint")
        # As text: Tune flattens nested results for its loggers.
        return {"message": json.dumps(message), "done": message["type"] == "done"}

    def cleanup(self) -> None:
        """Stop, for good."""
        self._end()

    def _begin(self, config: dict[str, Any]) -> None:
        self._stop, self._messages = threading.Event(), queue.SimpleQueue[Any]()
        notices, name = StopNotices(Path(config["run_dir"])), config["job"]["name"]
        asked = (self._stop.is_set, self._terminated.is_set, lambda: notices.asks(name))
        arguments = (config, self._jobs_done > 0, self._messages.put, lambda: any(ask() for ask in asked))
        self._thread = threading.Thread(target=self._work, args=arguments, daemon=True)
        self._jobs_done += 1
        self._thread.start()

    def _end(self) -> bool:
        self._stop.set()
        self._thread.join(STOP_SECONDS)
        return not self._thread.is_alive()

    def _work(
        self, config: dict[str, Any], warm: bool, send: Callable[[Any], None], stopping: Callable[[], bool]
    ) -> None:
        try:
            if config["job"]["workers"] > 1:
                run_job_in_group(config, send, stopping)
            else:
                send({"type": "entered", "at": time.time(), "warm": warm})
                self.run_job(config, send, stopping)
            send({"type": "done"})
        except BaseException as error:  # whatever it is, Tune is waiting for a message
            send(error)
