"""What runs inside a Tune trial: one job of the study, here or in a group of workers."""

import json
import time
from typing import Any

from ray import tune

from study.cluster.group import perform_together
from study.cluster.perform import perform
from study.training.team import ALONE

_jobs_done = 0


def work(config: dict[str, Any]) -> None:
    """Tune's trainable: do one job and report how it goes.

    Args:
        config: as for `perform`, with `"gpus"`, of each worker.
    """
    global _jobs_done
    if config["job"]["workers"] > 1:
        perform_together(config, _send)
        return
    _send({"type": "entered", "at": time.time(), "warm": _jobs_done > 0})
    _jobs_done += 1
    perform(config, ALONE, _send)


def _send(message: dict[str, Any]) -> None:
    # As text: Tune flattens nested results for its loggers at every report.
    tune.report({"message": json.dumps(message)})
