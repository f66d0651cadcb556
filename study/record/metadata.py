"""The directory of a study or a single run: what it belongs to, who may write into it, and the facts at its head."""

import fcntl
import json
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from study import __version__
from study.config import Precision, RunConfig, digest, to_dict
from study.data import ImageSet
from study.files import write_atomically, write_json
from study.metrics import METRICS
from study.search.front import Direction
from study.search.plan import SearchPlan
from study.training.context import RunContext

_THEN = ", then "
_OLDER = {"sampler": "tpe", "constraints": []}
"""What studies were that were started before these could be chosen."""


class OccupiedError(ValueError):
    """The output directory holds something else, or is in use."""


@dataclass(frozen=True)
class Facts:
    """What a run directory says of itself, in `study.json`.

    Attributes:
        name: the study's.
        space: its search space, or `single run`.
        space_fingerprint: hash of the space's text; empty for a single run.
        base: the run that trials vary.
        trials: how many were asked for.
        seed: of the sampler.
        reference: the hypervolume's reference point, by metric.
        groups: config paths by which fronts are told apart.
        notes: what every reader has to know.
        search: how its trials are chosen; None for a single run.
    """

    name: str
    space: str
    space_fingerprint: str
    base: RunConfig
    trials: int
    seed: int
    reference: Mapping[str, float]
    groups: Sequence[str]
    notes: Sequence[str]
    search: SearchPlan | None = None


def check_output(output: Path, *, resume: bool) -> None:
    """Refuse a directory that holds a study already, unless it shall be continued, or anything that is none.

    Raises:
        OccupiedError: with what is there and what to do.
    """
    if not output.exists():
        return
    if not output.is_dir():
        raise OccupiedError(f"--output must be a directory, but {output} is a file; name another")
    if (output / "study.json").exists():
        if not resume:
            name = json.loads((output / "study.json").read_text())["name"]
            raise OccupiedError(
                f"{output} holds the study {name!r} already; continue it with --resume, or name another --output"
            )
    elif any(path.name != ".driver.lock" for path in output.iterdir()):
        raise OccupiedError(f"{output} is not empty and holds no study; name another --output")


def precision_of(output: Path) -> Precision | None:
    """What the study there trains in, wherever it is continued; None if there is none yet."""
    path = output / "study.json"
    if not path.exists():
        return None
    precision: Precision = json.loads(path.read_text())["config"].get("precision", "fp32")
    return precision


@contextmanager
def sole_driver(output: Path) -> Iterator[None]:
    """Create a run directory and keep a second driver out of it; OccupiedError if there is one."""
    output.mkdir(parents=True, exist_ok=True)
    with open(output / ".driver.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OccupiedError(
                f"{output} is being written by a run that goes on right now; wait, or stop it"
            ) from None
        yield


def objectives_of(context: RunContext) -> dict[str, Direction]:
    """The two axes of every front, with their directions: fidelity, then perceptual distance."""
    return {name: METRICS[name].direction for name in ("psnr_y", context.evaluator.perceptual)}


def write_facts(output: Path, facts: Facts, context: RunContext) -> None:
    """Write study.json, or make sure that the one there is of the same study; beside it, custom losses, to be read.

    Raises:
        OccupiedError: it is of another; the message says in what they differ.
    """
    objectives = list(objectives_of(context))
    identity = identity_of(facts, context)
    study_id = _id_of(output, identity)
    for own, text in context.custom_losses.items():
        write_atomically(output / "custom_losses" / f"{_short(own)}.py", text.encode())
    write_json(
        output / "study.json",
        {
            "id": study_id,
            "identity": identity,
            "name": facts.name,
            "space": facts.space,
            "recipe": facts.base.recipe,
            "size": facts.base.size,
            "trials": facts.trials,
            "seed": facts.seed,
            "objectives": [_objective(name) for name in objectives],
            "reference": {name: facts.reference[name] for name in objectives},
            "constraints": [] if facts.search is None else [asdict(bound) for bound in facts.search.constraints],
            "notes": list(facts.notes),
            "data": {"train": _image_facts(context.train), "val": _image_facts(context.val)},
            "scale": facts.base.data.scale,
            "code_version": code_versions(output),
            "config": to_dict(facts.base),
            "groups": list(facts.groups),
        },
    )


def identity_of(facts: Facts, context: RunContext) -> dict[str, Any]:
    """What makes a study the one that it is, and may not change when it is continued."""
    return {
        "space": facts.space,
        "space_fingerprint": facts.space_fingerprint,
        "recipe": facts.base.recipe,
        "size": facts.base.size,
        "seed": facts.seed,
        "config": digest({**_without_custom_loss(facts.base), "data": facts.base.data.scale}),
        "training images": context.train.fingerprint[:16],
        "held-out images": context.val.fingerprint[:16],
        "objectives": list(objectives_of(context)),
        **({} if facts.search is None else facts.search.identity),
        **({"custom losses": sorted(_short(each) for each in context.custom_losses)} if context.custom_losses else {}),
    }


def _without_custom_loss(config: RunConfig) -> dict[str, Any]:
    """Custom losses count by their content, wherever they lie."""
    values = to_dict(config)
    del values["loss"]["custom"]
    return values


def _short(sha256: str) -> str:
    return sha256.removeprefix("sha256:")[:16]


def code_version() -> str:
    """The package's version, with the commit where it runs from a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        commit = ""
    return f"{__version__}+{commit}" if commit else __version__


def code_versions(output: Path) -> str:
    """By which code a study was begun and, where it was another, continued: "0.1.0+eef00b6, then 0.1.0+9aaf50a"."""
    path = output / "study.json"
    before = json.loads(path.read_text())["code_version"].split(_THEN) if path.exists() else []
    return _THEN.join(dict.fromkeys([*before, code_version()]))


def _id_of(output: Path, identity: dict[str, Any]) -> str:
    path = output / "study.json"
    if not path.exists():
        return uuid.uuid4().hex
    there = json.loads(path.read_text())
    before = there["identity"]
    before = {**_OLDER, **before}
    different = [
        f"{name} (there {before.get(name)}, asked for {value})"
        for name, value in identity.items()
        if before.get(name) != value
    ]
    if different:
        raise OccupiedError(
            f"{output} holds another study; it differs in {'; '.join(different)}. "
            "Go back to what it was started with, or name another --output"
        )
    return there["id"]


def _objective(name: str) -> dict[str, str]:
    info = METRICS[name]
    return {"metric": name, "direction": info.direction, "unit": info.unit, "label": info.label}


def _image_facts(images: ImageSet) -> dict[str, Any]:
    return {"name": images.name, "fingerprint": images.fingerprint, "images": list(images.names)}
