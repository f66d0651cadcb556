"""The files of cluster/, checked without a cluster."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from study.sweep import _parse

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "cluster"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def of_kind(name: str, kind: str) -> dict[str, Any]:
    (found,) = [document for document in documents(name) if document["kind"] == kind]
    return found


def test_the_study_on_kubernetes_has_valid_options() -> None:
    words = shlex.split(of_kind("kuberay.yaml", "RayJob")["spec"]["entrypoint"])
    assert words[:2] == ["python", "/home/ray/aesop-study/study/sweep.py"]
    options = _parse(words[2:])
    assert (options.space, options.resume, options.gpus_per_trial) == ("aesop", True, 1.0)
    assert str(options.output).startswith("/shared/")


def test_versions_are_those_of_the_lock() -> None:
    locked = re.search(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    version = locked.group(1)
    assert version == ray.__version__
    assert of_kind("kuberay.yaml", "RayJob")["spec"]["rayClusterSpec"]["rayVersion"] == version
    assert f"FROM rayproject/ray:{version}-py311" in (FOLDER / "Dockerfile").read_text()


def test_authentication_is_on_and_no_file_holds_a_secret() -> None:
    assert of_kind("kuberay.yaml", "RayJob")["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    vms = yaml.safe_load((FOLDER / "vms.yaml").read_text())
    for commands in (vms["head_start_ray_commands"], vms["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in commands[-1]
    assert "RAY_AUTH_MODE=token" in (FOLDER / "slurm.sh").read_text()
    for path in FOLDER.iterdir():
        assert not re.search(r"(password|token|secret)\s*[:=]\s*['\"]?[A-Za-z0-9]{12,}", path.read_text()), path.name


def test_every_node_mounts_the_storage() -> None:
    job = of_kind("kuberay.yaml", "RayJob")["spec"]["rayClusterSpec"]
    claims = {document["metadata"]["name"]: document for document in documents("kuberay.yaml") if "spec" in document}
    assert claims["aesop-shared"]["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in (job["headGroupSpec"], *job["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert {"name": "shared", "persistentVolumeClaim": {"claimName": "aesop-shared"}} in pod["volumes"]
        assert {"name": "shared", "mountPath": "/shared"} in pod["containers"][0]["volumeMounts"]


def test_a_pod_that_is_stopped_has_time_to_save() -> None:
    (group,) = of_kind("kuberay.yaml", "RayJob")["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    pod = group["template"]["spec"]
    *_, script, seconds = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert (ROOT / Path(script).relative_to("/home/ray/aesop-study")).is_file()
    assert float(seconds) < pod["terminationGracePeriodSeconds"]


def test_ray_up_takes_the_file_for_machines() -> None:
    validate_config(prepare_config(yaml.safe_load((FOLDER / "vms.yaml").read_text())))
    assert yaml.safe_load((FOLDER / "vms.yaml").read_text())["provider"]["type"] == "local"


def test_the_slurm_script_is_a_script() -> None:
    subprocess.run(["bash", "-n", str(FOLDER / "slurm.sh")], check=True)
    assert re.search(r"^#SBATCH --signal=B:TERM@\d+$", (FOLDER / "slurm.sh").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", ["kuberay.yaml", "mlflow.yaml"])
def test_every_document_is_one_of_kubernetes(name: str) -> None:
    for document in documents(name):
        assert {"apiVersion", "kind", "metadata", "spec"} <= set(document)
