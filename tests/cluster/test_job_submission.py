"""A study submitted as a job: a head with a token, and a checkout on another machine."""

import json
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ray._private.runtime_env.packaging import _dir_travel

from study.record.events import PointEvaluated, TrialStarted
from tests.cluster.small_studies import (
    ROOT,
    entries,
    free_port,
    kill_children,
    states_and_statuses,
    states_everywhere,
    wait_for,
)

pytestmark = pytest.mark.cluster

README = (ROOT / "README.md").read_text()
# `ray` as the README calls it, on ports and in a folder that this test alone uses, and in the foreground.
TOKEN = {"RAY_AUTH_MODE": "token"}
RAY = """ray() {
    if [ "$1" = start ]; then command ray "$@" --block --num-cpus=2 --disable-usage-stats $START_OPTIONS
    else command ray "$@"; fi
}
"""


class Head(NamedTuple):
    """A cluster's head: the environment of its user's shell, and its address."""

    user: dict[str, str]
    address: str


def readme_block() -> str:
    """Return the README's commands for a cluster on one machine."""
    blocks = re.findall(r"(?:^    .*\n)+", README, flags=re.MULTILINE)
    (found,) = [block for block in blocks if "ray start --head" in block]
    return textwrap.dedent(found).replace("\\\n", "")


@pytest.fixture
def user(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has never used Ray."""
    (tmp_path / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"HOME": str(tmp_path / "home"), "PATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def head(user: dict[str, str], tmp_path: Path) -> Iterator[Head]:
    """A head that the README's commands start; the tests' shared cluster must not run at the same time."""
    dashboard, agent, port = (free_port() for _ in range(3))
    folder = tempfile.mkdtemp(prefix="ray-")
    ports = f"--port={port} --dashboard-port={dashboard} --dashboard-agent-listen-port={agent}"
    user["START_OPTIONS"] = f"{ports} --temp-dir={folder}"
    user["RAY_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
    commands, *_ = readme_block().partition("ray job submit")
    with open(tmp_path / "head.log", "wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", RAY + commands], env=user, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for_port(dashboard, process, tmp_path / "head.log")
        yield Head(user, f"127.0.0.1:{port}")
    finally:
        kill_children(process.pid)
        process.kill()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    limit = time.monotonic() + 90
    while time.monotonic() < limit:
        assert process.poll() is None, log.read_text()
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.2)
    pytest.fail(log.read_text())


def checkout(target: Path) -> Path:
    """A bare checkout, with a version that differs from the installed one."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    package = target / "study" / "__init__.py"
    package.write_text(package.read_text() + '\n__version__ += "+submitted"\n')
    return target


def add_data(checkout: Path) -> None:
    """Put 600 MB of what people keep in a checkout beside its code; the files are sparse."""
    for name in ("photographs/one.png", "DF2K.arrow", "weights/swinir.pth"):
        (checkout / name).parent.mkdir(exist_ok=True)
        with open(checkout / name, "wb") as file:
            file.truncate(200_000_000)


def submit_command(study: list[str]) -> str:
    """Return the README's commands for a user's shell, with another study."""
    exported, submit = re.findall(r"^(?:export|ray job submit) .*$", readme_block(), flags=re.MULTILINE)
    before, script, _ = submit.partition("study/sweep.py ")
    return f"{exported}\n{before}{script}{shlex.join(study)}"


def test_the_readmes_commands_run_a_job_from_a_fresh_home(head: Head, material: Path, tmp_path: Path) -> None:
    here, output = tmp_path / "elsewhere", tmp_path / "shared" / "study"
    here.mkdir()
    work = checkout(tmp_path / "checkout")
    add_data(work)
    sources = ["--data", str(material / "train"), "--val", str(material / "val")]
    study = ["--space", str(material / "space.py"), "--interpolate", "0", *sources, "--output", str(output)]

    token = Path(head.user["HOME"]) / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o077 == 0
    assert token.read_text() not in (tmp_path / "head.log").read_text()

    options: dict[str, Any] = {"cwd": here, "capture_output": True, "text": True, "timeout": 300}
    stranger = head.user | {"HOME": str(here)}
    for mode in ({}, TOKEN):
        refused = subprocess.run(["ray", "job", "submit", "--", "true"], env=stranger | mode, **options)
        assert refused.returncode != 0
        assert "token" in (refused.stdout + refused.stderr).lower()

    wrong = tmp_path / "wrong-token"
    wrong.write_text(secrets.token_hex(32))
    outside = [sys.executable, str(ROOT / "study" / "sweep.py"), *study, "--address", head.address]
    began = time.monotonic()
    user = head.user | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(wrong)}
    refused = subprocess.run(outside, env=user, **options)
    assert refused.returncode == 2
    assert "Most often the token is wrong: give the cluster's token by RAY_AUTH_TOKEN_PATH" in refused.stderr
    assert wrong.read_text() not in refused.stdout + refused.stderr
    assert not output.parent.exists()  # refused before anything was read or written
    assert time.monotonic() - began < 90

    dashboard = head.user["RAY_ADDRESS"].removeprefix("http://")
    refused = subprocess.run([*outside[:-1], dashboard], env=head.user, **options)
    assert refused.returncode == 2
    assert f"--address {dashboard} is an HTTP server, such as Ray's dashboard; give the port of" in refused.stderr

    slower = ["budget.iterations=600", "eval_schedule.evaluate_every=300", "eval_schedule.checkpoint_every=50"]
    study += ["--trials", "2", "--resume", *(word for value in slower for word in ("--set", value))]
    stopped = submit(study, head, work)
    assert "was stopped" in stop_in_the_middle(stopped, head, output)
    stopped_states = states_and_statuses(output)
    assert ("INTERRUPTED", "KILLED") in stopped_states
    assert stopped_states <= {("INTERRUPTED", "KILLED"), ("COMPLETE", "FINISHED")}

    resumed = submit(study, head, work)
    log, _ = resumed.communicate(timeout=480)
    assert resumed.returncode == 0, log
    assert "succeeded" in log
    assert "2 of 2 trials done" in log
    expected = dict.fromkeys(range(2), "COMPLETE")
    assert states_everywhere(output) == {"journal": expected, "optuna": expected, "mlflow": expected}
    assert states_and_statuses(output) == {("COMPLETE", "FINISHED")}
    assert len(entries(output, PointEvaluated)) == 4
    assert "+submitted" in json.loads((output / "study.json").read_text())["code_version"]
    assert (output / "report.html").stat().st_size > 10_000


def submit(study: list[str], head: Head, work: Path) -> "subprocess.Popen[str]":
    """Submit a job as the README does; the head's agent, which begins later than the head, takes it."""
    command = ["bash", "-c", submit_command(study)]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    for _ in range(30):
        probe = subprocess.run(["ray", "job", "submit", "--", "true"], env=head.user | TOKEN, capture_output=True)
        if probe.returncode == 0:
            break
        time.sleep(1)
    return subprocess.Popen(command, env=head.user, cwd=work, **options)


def stop_in_the_middle(job: "subprocess.Popen[str]", head: Head, output: Path) -> str:
    """Stop a job by `ray job stop` in its first trials; return what its `ray job submit` printed afterwards."""
    assert job.stdout is not None
    number = next(found.group() for line in job.stdout if (found := re.search(r"raysubmit_\w+", line)))
    wait_for(job, lambda: output.exists() and bool(entries(output, TrialStarted)))
    stop = ["ray", "job", "stop", number]
    subprocess.run(stop, env=head.user | TOKEN, check=True, capture_output=True, timeout=120)
    return job.communicate(timeout=120)[0]


def test_a_job_uploads_the_code_and_none_of_the_data(tmp_path: Path) -> None:
    work = checkout(tmp_path / "checkout")
    add_data(work)
    own = {"lab/my_space.py", "my_losses.py", "options/train.yml"}
    data = {".git/config", "runs/a/journal.jsonl", "train.lmdb/data.mdb", "lab/scan.TIF", "set.tar.gz"}
    for name in own | data:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).touch()
    uploaded: set[str] = set()
    collect = lambda path: uploaded.add(str(path.relative_to(work))) if path.is_file() else None  # noqa: E731
    _dir_travel(work, [], collect, include_gitignore=True)

    code = {
        str(path.relative_to(work))
        for package in ("study", "search_spaces")
        for path in work.rglob(f"{package}/**/*.py")
    }
    assert uploaded >= own | code | {
        "analysis/report.py",
        "analysis/page/templates/report.html.j2",
        "cluster/save_and_leave.py",
    }
    assert not uploaded & data
    assert not [name for name in uploaded if name.startswith(("photographs/", "weights/", "tests/", "docs/"))]
    assert "DF2K.arrow" not in uploaded
    assert sum((work / name).stat().st_size for name in uploaded) < 5_000_000
