"""The plain description of a `RunContext`, which can be sent to a worker and opened there."""

import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from study.config import DataConfig, LargestPatch, PerceptualNetwork
from study.data import SourceError, load_source
from study.metrics.evaluator import study_evaluator
from study.models.backbones import file_digest
from study.training.artifact_store import open_artifacts
from study.training.context import RunContext
from study.training.loop import pick_device


@dataclass(frozen=True)
class ContextSpec:
    """Where the parts of a context are.

    Attributes:
        data: the image sources.
        largest_patch: the largest patch that is cut: smaller training images are left out.
        artifacts: the artifact store, a full path or a URI.
        backbones: files of the frozen networks that were found.
        lpips_weights: file of the network of LPIPS; None if it was not found.
        custom_losses: source texts of the runs' custom losses, by hash; workers execute these texts, not the files.
        fingerprints: SHA-256 of the images and networks that must be found, by what they are of; empty for any.
    """

    data: DataConfig
    largest_patch: LargestPatch
    artifacts: str
    backbones: Mapping[PerceptualNetwork, Path]
    lpips_weights: Path | None
    custom_losses: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            **asdict(self),
            "data": self.data.model_dump(mode="json"),
            "backbones": {name: str(path) for name, path in self.backbones.items()},
            "lpips_weights": None if self.lpips_weights is None else str(self.lpips_weights),
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "ContextSpec":
        """Return the spec that `to_dict` described."""
        return ContextSpec(
            data=DataConfig.model_validate(values["data"]),
            largest_patch=LargestPatch(*values["largest_patch"]),
            artifacts=values["artifacts"],
            backbones={name: Path(path) for name, path in values["backbones"].items()},
            lpips_weights=None if values["lpips_weights"] is None else Path(values["lpips_weights"]),
            custom_losses=values["custom_losses"],
            fingerprints=values["fingerprints"],
        )

    def pinned(self, context: RunContext) -> "ContextSpec":
        """Return the spec with the fingerprints of an opened context: `open` then refuses all other files."""
        return replace(self, fingerprints=self._fingerprints(context))

    def open(self) -> RunContext:
        """Read the images, build the evaluator, connect to the artifact store.

        Raises:
            SourceError, ImageError: names every problem of the images; or images or networks are not those of
                `fingerprints`.
            RemoteError: the artifact store cannot be reached.
        """
        train, val = load_source(self.data, self.largest_patch)
        device = pick_device()
        artifacts = open_artifacts(self.artifacts)
        evaluator = study_evaluator(self.lpips_weights, device)
        context = RunContext(train, val, artifacts, evaluator, self.backbones, device, custom_losses=self.custom_losses)
        self._check_fingerprints(context)
        return context

    def _fingerprints(self, context: RunContext) -> dict[str, str]:
        files = {path for path in (*self.backbones.values(), self.lpips_weights) if path is not None}
        images = {"the training images": context.train.fingerprint, "the validation images": context.val.fingerprint}
        return images | {str(path): file_digest(path) for path in sorted(files)}

    def _check_fingerprints(self, context: RunContext) -> None:
        if not self.fingerprints:
            return
        found = self._fingerprints(context)
        changed = [name for name, digest in self.fingerprints.items() if found[name] != digest]
        if changed:
            raise SourceError(
                f"{' and '.join(changed)} on {socket.gethostname()} are not those with which the study was started: "
                "they were changed since then, or this machine has another copy; restore them and --resume, or start "
                "a new study with another --output"
            )
