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

from study.cluster.notice import StopNotices
from study.cluster.run_job import Send, run_job
from study.training.distributed import COLLECTIVE_TIMEOUT, DistributedContext

LISTEN_SECONDS = 0.2


def run_job_in_group(config: dict[str, Any], send: Send, stopping: Callable[[], bool] = lambda: False) -> None:
    """Do one job in a Ray Train group; messages go to `send`.

    Args:
        config: as for `perform`, with `"gpus"`, of each worker.
        send: takes messages, in this thread.
        stopping: asked often whether the group is to save and stop.

    Raises:
        ray.train.TrainingFailedError: a worker died before the job ended. Tune starts the trial anew, so often and no
            more, and the job goes on from its checkpoint.
    """
    messages = Queue(actor_options={"num_cpus": 0})
    notices, name = StopNotices(Path(config["run_dir"])), config["job"]["name"]
    try:
        with ThreadPoolExecutor(1) as thread:
            group = thread.submit(_trainer(config, messages).fit)
            pass_notice = lambda: notices.put_up(name) if stopping() else None  # noqa: E731
            ended = _pass_on(_messages(messages, group, pass_notice), send)
        if not ended:
            group.result()
    finally:
        notices.take_down(name)
        messages.shutdown()


def _trainer(config: dict[str, Any], messages: Queue) -> TorchTrainer:
    job = config["job"]
    resources = {"CPU": float(config["threads"])} | ({"GPU": config["gpus"]} if config["gpus"] else {})
    return TorchTrainer(
        _member,
        train_loop_config={"config": config, "messages": messages},
        scaling_config=ray.train.ScalingConfig(
            num_workers=job["workers"], use_gpu=bool(config["gpus"]), resources_per_worker=resources
        ),
        torch_config=TorchConfig(timeout_s=int(COLLECTIVE_TIMEOUT.total_seconds())),
        run_config=ray.train.RunConfig(
            name=job["name"],
            storage_path=str(Path(config["run_dir"]) / "tune" / "groups"),
            failure_config=ray.train.FailureConfig(max_failures=0),
        ),
    )


def _member(arguments: dict[str, Any]) -> None:
    """One worker of a group."""
    config, messages = arguments["config"], arguments["messages"]
    distributed = DistributedContext.of_process_group()
    if torch.cuda.is_available():
        torch.cuda.set_device(ray.train.torch.get_device())
    if distributed.is_main:
        messages.put({"type": "entered", "at": time.time(), "warm": False})
    send = messages.put if distributed.is_main else lambda message: _put_failure(messages, message)
    notices, name = StopNotices(Path(config["run_dir"])), config["job"]["name"]
    state = run_job(config, distributed, send, lambda: notices.asks(name))
    if state not in ("COMPLETE", "STOPPED"):
        # Train ends the others, which may wait for this one in an exchange.
        raise RuntimeError(f"{config['job']['name']} ended {state}")


def _put_failure(messages: Queue, message: dict[str, Any]) -> None:
    """Of the others, nothing counts but that one cannot go on."""
    if message["type"] == "end" and message["state"] not in ("COMPLETE", "STOPPED"):
        messages.put(message)


def _pass_on(messages: Iterable[dict[str, Any]], send: Send) -> bool:
    """Send messages up to the first that says how the job ended; whether there was one."""
    ended = False
    for message in messages:
        if not ended:
            send(message)
        ended = ended or message["type"] == "end"
    return ended


def _messages(messages: Queue, group: "Future[Any]", look: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """What comes as long as the group lives, and what is left then; `look` is called in between."""
    while True:
        look()
        ended = group.done()
        try:
            yield messages.get(timeout=LISTEN_SECONDS)
        except Empty:
            if ended:
                return
