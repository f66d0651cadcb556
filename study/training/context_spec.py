"""The plain description of a `RunContext`, which can be sent to a worker and opened there."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from study.config import DataConfig, LargestPatch, PerceptualNetwork
from study.data import load_source
from study.metrics.evaluator import study_evaluator
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
    """

    data: DataConfig
    largest_patch: LargestPatch
    artifacts: str
    backbones: Mapping[PerceptualNetwork, Path]
    lpips_weights: Path | None
    custom_losses: Mapping[str, str] = field(default_factory=dict)

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
        )

    def open(self) -> RunContext:
        """Read the images, build the evaluator, connect to the artifact store.

        Raises:
            SourceError, ImageError: names every problem of the images.
            RemoteError: the artifact store cannot be reached.
        """
        train, val = load_source(self.data, self.largest_patch)
        device = pick_device()
        artifacts = open_artifacts(self.artifacts)
        evaluator = study_evaluator(self.lpips_weights, device)
        return RunContext(train, val, artifacts, evaluator, self.backbones, device, custom_losses=self.custom_losses)
