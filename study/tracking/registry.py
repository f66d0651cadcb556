"""The weights on a study's front as versions of one registered model, each a folder of safetensors and JSON."""

import re
from typing import Any

from study.record.events import AliasesPublished, ModelPublished
from study.record.metadata import StudyMetadata
from study.tracking.cursor import Cursor


class ModelRegistry:
    """Registers each set of weights once, and moves the aliases."""

    def __init__(self, client: Any, study: StudyMetadata, cursor: Cursor) -> None:
        self._client, self._study, self._cursor = client, study, cursor

    def register(self, event: ModelPublished, run: str) -> None:
        """Make weights that were uploaded into a run, by its id, a version, unless they are one already."""
        if event.point.slug in self._versions():
            return
        source = f"{self._client.get_run(run).info.artifact_uri}/{event.folder}"
        tags = {"aesop.study": self._study.id, "point": event.point.slug, "label": event.point.label, **event.tags}
        shown = {name: str(value) for name, value in tags.items() if value is not None}
        self._client.create_model_version(self._model(), source, run, tags=shown, description=event.point.label)

    def set_aliases(self, event: AliasesPublished) -> None:
        """Point the aliases at versions, and tag each version with whether it is on the front."""
        versions, members = self._versions(), {member.slug for member in event.members}
        for slug, version in versions.items():
            self._client.set_model_version_tag(self._model(), version, "front", "yes" if slug in members else "no")
        for alias, point in event.aliases.items():
            if point.slug in versions:
                self._client.set_registered_model_alias(self._model(), alias, versions[point.slug])

    def _versions(self) -> dict[str, str]:
        """Return this study's versions, by the slug of their point."""
        versions: dict[str, str] = {}
        token: str | None = None
        while True:
            page = self._client.search_model_versions(f"name = '{self._model()}'", page_token=token)
            mine = [found for found in page if found.tags.get("aesop.study") == self._study.id]
            versions |= {found.tags["point"]: found.version for found in mine}
            token = page.token
            if not token:
                return versions

    def _model(self) -> str:
        """Return the study's registered model; make it, with the study's id where another study has the name."""
        if self._cursor.model is None:
            study, plain = self._study.id, model_name(self._study.name)
            for name in (plain, f"{plain}-{study[:8]}"):
                found = self._find(name)
                if found is None:
                    self._client.create_registered_model(
                        name, {"aesop.study": study}, f"Weights on the front of {name}"
                    )
                if found is None or found.tags.get("aesop.study") == study:
                    self._cursor.model = name
                    break
        assert self._cursor.model is not None
        return self._cursor.model

    def _find(self, name: str) -> Any | None:
        found = self._client.search_registered_models(f"name = '{name}'", max_results=1)
        return found[0] if found else None


def model_name(study: str) -> str:
    """Return a study's name as MLflow accepts it for a model: letters, digits, `-`, `_` and single dots."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", study).strip("-") or "study"
