"""A job that several workers do together: a Ray Train group for it, started from its Tune trial.

The group has a placement of its own; the trial that starts it holds nothing but its lane. Messages of the first worker
come back through a queue, for `ray.train.report` would make all workers wait for each other at each of them.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Empty, Queue

from study.cluster.messages import Entered, JobEnded, JobRequest, Message
from study.cluster.run_job import Send, run_job
from study.cluster.signals import StopRequests
from study.record.paths import RunDirectory
from study.training.distributed import COLLECTIVE_TIMEOUT, DistributedContext

LISTEN_SECONDS = 0.2


def run_job_in_group(request: JobRequest, send: Send, stopping: Callable[[], bool] = lambda: False) -> None:
    """Do one job in a Ray Train group; messages go to `send`.

    Args:
        request: the job, and what its workers need.
        send: takes messages, in this thread.
        stopping: asked often whether the group is to save and stop.

    Raises:
        ray.train.TrainingFailedError: a worker died before the job ended. Tune starts the trial anew, so often and no
            more, and the job goes on from its checkpoint.
    """
    messages = Queue(actor_options={"num_cpus": 0})
    requests, name = StopRequests(Path(request.run_dir)), request.job.name
    try:
        with ThreadPoolExecutor(1) as thread:
            group = thread.submit(_trainer(request, messages).fit)
            pass_on_request = lambda: requests.request(name) if stopping() else None  # noqa: E731
            ended = _pass_on(_messages(messages, group, pass_on_request), send)
        if not ended:
            group.result()
    finally:
        requests.withdraw(name)
        messages.shutdown()


def _trainer(request: JobRequest, messages: Queue) -> TorchTrainer:
    resources = {"CPU": float(request.threads)} | ({"GPU": request.gpus} if request.gpus else {})
    return TorchTrainer(
        _member,
        train_loop_config={"request": request, "messages": messages},
        scaling_config=ray.train.ScalingConfig(
            num_workers=request.workers, use_gpu=bool(request.gpus), resources_per_worker=resources
        ),
        torch_config=TorchConfig(timeout_s=int(COLLECTIVE_TIMEOUT.total_seconds())),
        run_config=ray.train.RunConfig(
            name=request.job.name,
            storage_path=str(RunDirectory(Path(request.run_dir)).tune / "groups"),
            failure_config=ray.train.FailureConfig(max_failures=0),
        ),
    )


def _member(arguments: dict[str, Any]) -> None:
    """One worker of a group."""
    request, messages = arguments["request"], arguments["messages"]
    distributed = DistributedContext.of_process_group()
    if torch.cuda.is_available():
        torch.cuda.set_device(ray.train.torch.get_device())
    if distributed.is_main:
        messages.put(Entered(time.time(), warm=False))
    send = messages.put if distributed.is_main else lambda message: _put_failure(messages, message)
    requests, name = StopRequests(Path(request.run_dir)), request.job.name
    state = run_job(request, distributed, send, lambda: requests.is_requested(name))
    if state not in ("COMPLETE", "STOPPED"):
        # Train ends the others, which may wait for this one in an exchange.
        raise RuntimeError(f"{name} ended {state}")


def _put_failure(messages: Queue, message: Message) -> None:
    """Of the others, nothing counts but that one cannot go on."""
    if isinstance(message, JobEnded) and message.state not in ("COMPLETE", "STOPPED"):
        messages.put(message)


def _pass_on(messages: Iterable[Message], send: Send) -> bool:
    """Send messages up to the first that says how the job ended; whether there was one."""
    ended = False
    for message in messages:
        if not ended:
            send(message)
        ended = ended or isinstance(message, JobEnded)
    return ended


def _messages(messages: Queue, group: "Future[Any]", look: Callable[[], None]) -> Iterator[Message]:
    """What comes as long as the group lives, and what is left then; `look` is called in between."""
    while True:
        look()
        ended = group.done()
        try:
            yield messages.get(timeout=LISTEN_SECONDS)
        except Empty:
            if ended:
                return
