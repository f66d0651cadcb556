"""The weights on a study's front as versions of one registered model, each a folder of safetensors and JSON."""

import re
from collections.abc import Mapping
from typing import Any

from study.tracking.cursor import Cursor

_TAG_LENGTH = 4000


class ModelRegistry:
    """Registers each set of weights once, whatever was noted of it, and moves the aliases."""

    def __init__(self, client: Any, study: Mapping[str, Any], cursor: Cursor) -> None:
        self._client, self._study, self._cursor = client, study, cursor

    def register(self, event: Mapping[str, Any], run: str) -> None:
        """Make the weights that were uploaded into a run a version, unless they are one already.

        Args:
            event: `label`, how the front calls it; `folder`, where it lies in the run; `tags`.
            run: the id of the run that it was uploaded to.
        """
        if event["label"] in self._versions():
            return
        source = f"{self._client.get_run(run).info.artifact_uri}/{event['folder']}"
        tags = {"aesop.study": self._study["id"], "label": event["label"], **event["tags"]}
        shown = {name: str(value)[:_TAG_LENGTH] for name, value in tags.items() if value is not None}
        self._client.create_model_version(self._model(), source, run, tags=shown, description=event["label"])

    def name(self, event: Mapping[str, Any]) -> None:
        """Point the aliases at versions, and say of each version whether it is on the front."""
        versions = self._versions()
        for label, version in versions.items():
            front = "yes" if label in event["members"] else "no"
            self._client.set_model_version_tag(self._model(), version, "front", front)
        for alias, label in event["aliases"].items():
            if label in versions:
                self._client.set_registered_model_alias(self._model(), alias, versions[label])

    def _versions(self) -> dict[str, str]:
        """This study's versions, by label."""
        versions: dict[str, str] = {}
        token: str | None = None
        while True:
            page = self._client.search_model_versions(f"name = '{self._model()}'", page_token=token)
            mine = [found for found in page if found.tags.get("aesop.study") == self._study["id"]]
            versions |= {found.tags["label"]: found.version for found in mine}
            token = page.token
            if not token:
                return versions

    def _model(self) -> str:
        """The study's registered model, made if it is not there; where the name is another study's, with our id."""
        if self._cursor.model is None:
            own, plain = self._study["id"], model_name(self._study["name"])
            for name in (plain, f"{plain}-{own[:8]}"):
                there = self._find(name)
                if there is None:
                    self._client.create_registered_model(name, {"aesop.study": own}, f"Weights on the front of {name}")
                if there is None or there.tags.get("aesop.study") == own:
                    self._cursor.model = name
                    break
        assert self._cursor.model is not None
        return self._cursor.model

    def _find(self, name: str) -> Any | None:
        found = self._client.search_registered_models(f"name = '{name}'", max_results=1)
        return found[0] if found else None


def model_name(study: str) -> str:
    """A study's name as MLflow takes it for a model: letters, digits, `-`, `_` and single dots."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", study).strip("-") or "study"
