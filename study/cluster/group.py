"""Jobs on several workers: a Ray Train group, started from the job's Tune trial.

The group has its own placement; the trial that starts it holds only its lane. The first worker sends messages through a
queue: `ray.train.report` would synchronise all workers at each message.
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

POLL_SECONDS = 0.2


def run_job_in_group(request: JobRequest, send: Send, stopping: Callable[[], bool] = lambda: False) -> None:
    """Run one job in a Ray Train group.

    Args:
        request: the job, and what its workers need.
        send: called with each message, in this thread.
        stopping: polled: whether the group must save and stop.

    Raises:
        ray.train.TrainingFailedError: a worker died before the job ended. Tune restarts the trial a limited number of
            times, and the job continues from its checkpoint.
    """
    messages = Queue(actor_options={"num_cpus": 0})
    requests, name = StopRequests(Path(request.run_dir)), request.job.name
    try:
        with ThreadPoolExecutor(1) as thread:
            group = thread.submit(_trainer(request, messages).fit)
            forward_stop = lambda: requests.request(name) if stopping() else None  # noqa: E731
            ended = _forward(_messages(messages, group, forward_stop), send)
        if not ended:
            group.result()
    finally:
        requests.withdraw(name)
        messages.shutdown()


def _trainer(request: JobRequest, messages: Queue) -> TorchTrainer:
    resources = {"CPU": float(request.threads)} | ({"GPU": request.gpus} if request.gpus else {})
    return TorchTrainer(
        _run_member,
        train_loop_config={"request": request, "messages": messages},
        scaling_config=ray.train.ScalingConfig(
            num_workers=request.workers, use_gpu=bool(request.gpus), resources_per_worker=resources
        ),
        torch_config=TorchConfig(timeout_s=int(COLLECTIVE_TIMEOUT.total_seconds())),
        run_config=ray.train.RunConfig(
            name=request.job.name,
            storage_path=str(RunDirectory(Path(request.run_dir)).groups),
            failure_config=ray.train.FailureConfig(max_failures=0),
        ),
    )


def _run_member(arguments: dict[str, Any]) -> None:
    """Run the job in one worker of a group."""
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
        # Ray Train then ends the other workers, which may wait for this one in a collective operation.
        raise RuntimeError(f"{name} ended {state}")


def _put_failure(messages: Queue, message: Message) -> None:
    """Send a failure of a worker other than the first; its other messages are duplicates."""
    if isinstance(message, JobEnded) and message.state not in ("COMPLETE", "STOPPED"):
        messages.put(message)


def _forward(messages: Iterable[Message], send: Send) -> bool:
    """Send messages up to the first `JobEnded`; return whether there was one."""
    ended = False
    for message in messages:
        if not ended:
            send(message)
        ended = ended or isinstance(message, JobEnded)
    return ended


def _messages(messages: Queue, group: "Future[Any]", poll: Callable[[], None]) -> Iterator[Message]:
    """Yield messages until the group has ended and the queue is empty; `poll` is called in between."""
    while True:
        poll()
        ended = group.done()
        try:
            yield messages.get(timeout=POLL_SECONDS)
        except Empty:
            if ended:
                return
