"""A study submitted as a job: a head with a token, and a checkout on another machine."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from study.record.events import PointEvaluated
from tests.cluster.small_studies import ROOT, entries, free_port, kill_children, states_everywhere

pytestmark = pytest.mark.cluster

RAY = str(Path(sys.executable).parent / "ray")


class Head(NamedTuple):
    """Addresses of a cluster's head: its job server, and Ray."""

    jobs: str
    address: str


@pytest.fixture
def user(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has the cluster's token."""
    (tmp_path / "token").write_text(secrets.token_hex(32))
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"), "OMP_NUM_THREADS": "1"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | own | {"PATH": path}


@pytest.fixture
def head(user: dict[str, str], tmp_path: Path) -> Iterator[Head]:
    """A head with a job server; the tests' shared cluster must not run at the same time."""
    dashboard, port, sockets = (
        free_port(),
        free_port(),
        tempfile.mkdtemp(prefix="ray-"),
    )  # a socket's path may have 107 characters
    command = [RAY, "start", "--head", "--block", "--num-cpus=2", f"--port={port}", "--disable-usage-stats"]
    command += [f"--dashboard-port={dashboard}", f"--temp-dir={sockets}"]
    with open(tmp_path / "head.log", "wb") as log:
        process = subprocess.Popen(command, env=user, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for_port(dashboard, process, tmp_path / "head.log")
        yield Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}")
    finally:
        kill_children(process.pid)
        process.kill()
        process.wait(60)
        shutil.rmtree(sockets, ignore_errors=True)


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


def test_a_job_from_a_checkout_runs_to_its_end(
    head: Head, user: dict[str, str], material: Path, tmp_path: Path
) -> None:
    here, output = tmp_path / "elsewhere", tmp_path / "shared" / "study"
    here.mkdir()
    work = checkout(tmp_path / "checkout")
    submit = [RAY, "job", "submit", "--address", head.jobs]
    code = ["--working-dir", str(work), "--runtime-env", str(work / "cluster" / "runtime_env.yaml")]
    sources = ["--data", str(material / "train"), "--val", str(material / "val")]
    space = ["--space", str(material / "space.py"), "--interpolate", "0"]
    study = ["python", "study/sweep.py", *space, *sources, "--output", str(output)]

    stranger = {name: value for name, value in user.items() if name != "RAY_AUTH_TOKEN_PATH"}
    options = {"cwd": here, "capture_output": True, "text": True, "timeout": 300}
    refused = subprocess.run([*submit, "--", "true"], env=stranger | {"HOME": str(here)}, **options)
    assert refused.returncode != 0
    assert "token" in (refused.stdout + refused.stderr).lower()

    wrong = tmp_path / "wrong-token"
    wrong.write_text(secrets.token_hex(32))
    outside = [sys.executable, str(ROOT / "study" / "sweep.py"), *study[2:], "--address", head.address]
    began = time.monotonic()
    refused = subprocess.run(outside, env=user | {"RAY_AUTH_TOKEN_PATH": str(wrong)}, **options)
    assert refused.returncode == 2
    assert "Most often the token is wrong: give the cluster's token by RAY_AUTH_TOKEN_PATH" in refused.stderr
    assert wrong.read_text() not in refused.stdout + refused.stderr
    assert not output.parent.exists()  # refused before anything was read or written
    assert time.monotonic() - began < 90

    for _ in range(30):
        done = subprocess.run([*submit, *code, "--", *study, "--trials", "2"], env=user, **options)
        log = done.stdout + done.stderr
        if "No available agent to submit job, please try again later" not in log:
            break
        time.sleep(1)  # the head runs, but not yet its agent
    assert done.returncode == 0, log
    assert "succeeded" in log
    assert "2 of 2 trials done" in log
    expected = dict.fromkeys(range(2), "COMPLETE")
    assert states_everywhere(output) == {"journal": expected, "optuna": expected, "mlflow": expected}
    assert len(entries(output, PointEvaluated)) == 4
    assert "+submitted" in json.loads((output / "study.json").read_text())["code_version"]
    assert (output / "report.html").stat().st_size > 10_000


def test_the_environment_leaves_out_packages_no_study_imports() -> None:
    environment = yaml.safe_load((ROOT / "cluster" / "runtime_env.yaml").read_text())
    assert {"/tests", "/docs", "/benchmarks", ".git"} <= set(environment["excludes"])
    needed = {"study", "search_spaces", "analysis", "cluster"}
    assert not needed & {name.strip("/") for name in environment["excludes"]}
    assert all(isinstance(value, str) for value in environment["env_vars"].values())
    assert set(environment) <= {"excludes", "env_vars"}
