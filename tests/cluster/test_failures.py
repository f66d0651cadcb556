"""Causes from Tune's error files, with texts of Ray 2.60."""

from pathlib import Path

import pytest

from study.cluster.failures import failure_cause

KILLED = """Failure # 1 (occurred at 2026-11-21_19-05-41)
The actor died unexpectedly before finishing this task.
\tclass_name: Worker
\tactor_id: 49b3a33d5400169afe4bfaf803000000
\tpid: 18151
\tnamespace: 1f1
\tip: 192.0.2.2
The actor died because its node has died. Node Id: cffe
"""
RAISED = """Failure # 2 (occurred at 2026-11-21_19-06-41)
\x1b[36mray::Worker.train()\x1b[39m (pid=1, ip=192.0.2.2, actor_id=3)
  File "worker.py", line 52, in step
    raise RuntimeError("the worker received SIGTERM and saved a checkpoint")
RuntimeError: the worker received SIGTERM and saved a checkpoint
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            KILLED,
            "The actor died unexpectedly before finishing this task. The actor died because its node has died. "
            "Node Id: cffe",
        ),
        (
            KILLED + RAISED,
            "RuntimeError: the worker received SIGTERM and saved a checkpoint",
        ),
        ("", "Ray reports no cause"),
    ],
)
def test_the_last_cause_is_returned_in_one_line(text: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "error.txt").write_text(text)
    assert failure_cause(tmp_path / "error.txt") == cause


def test_without_a_file_the_cause_is_unknown(tmp_path: Path) -> None:
    assert failure_cause(tmp_path / "error.txt") == "Ray reports no cause"
