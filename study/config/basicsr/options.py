"""An option file as flat keys, each of which is taken once."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from study.config import ConfigError, flatten

# Keys without a part in training.
_TECHNICAL = re.compile(
    r"name|find_unused_parameters|dist_params\..*|logger\.(?!save_checkpoint_freq).*|val\.(?!val_freq).*"
    r"|datasets\.val.*|datasets\.train\.(name|type|filename_tmpl|use_shuffle|num_worker_per_gpu"
    r"|dataset_enlarge_ratio|prefetch_mode|num_prefetch_queue|pin_memory|phase|scale)"
    r"|path\.(strict_load_.*|root|experiments_root|models|training_states|log"
    r"|visualization)|network_[gd]\.use_checkpoint|queue_size|.*\.autoencoder_load\.key|.*\.enc_opt\.placeholder"
)

_MAX_NODES = 10_000
"""Of a file's values, written out. Option files have a few hundred; nested aliases make any number of one kilobyte."""


@dataclass
class Options:
    """The flat keys of a file; each is taken once, and a configuration cannot express the ones that are left."""

    values: dict[str, Any]
    path: Path
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)

    def assume(self, defaults: Mapping[str, Any]) -> None:
        """Fill in keys that the file does not have and for which BasicSR has no default; list each."""
        for key, value in defaults.items():
            if key not in self.values:
                self.values[key] = value
                self.assumed.append(f"{key}: not in the file; {value!r} is assumed")

    def take(self, key: str, default: Any = None) -> Any:
        """Remove a key and return its value."""
        return self.values.pop(key, default)

    def number(self, key: str, default: float) -> float:
        """Take a number, also where YAML reads `1e-4` as a string."""
        value = self.take(key, default)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ConfigError(f"{self.path}: {key} must be a number, but got {value!r}") from None

    def text(self, key: str, field: str) -> dict[str, Any]:
        """Take a key as the string of a field, if the file has it."""
        value = self.take(key)
        return {} if value is None else {field: str(value)}

    def loss_weight(self, prefix: str, allowed: tuple[str, ...] = ("L1Loss",)) -> float:
        """Take the weight of a loss of these types; 0 if the file has no such loss."""
        if not self.has(prefix):
            return 0.0
        self.assume({f"{prefix}type": allowed[0]})
        self.must(f"{prefix}type", *allowed, why=f"this loss is {' or '.join(allowed)}")
        self.must(f"{prefix}reduction", "mean", why="losses are means")
        return self.number(f"{prefix}loss_weight", 1)

    def has(self, prefix: str) -> bool:
        """Whether a key with this prefix is left."""
        return any(key.startswith(prefix) for key in self.values)

    def must(self, key: str, *allowed: Any, why: str) -> None:
        """Take a key for which a configuration allows these values only; note any other value as a difference."""
        value = self.take(key, allowed[0])
        if value not in allowed:
            self.problems.append(f"{key}: {value!r}: {why}")

    def left(self) -> Iterator[str]:
        """Describe the keys that were not taken and have a part in training."""
        for key, value in self.values.items():
            if not _TECHNICAL.fullmatch(key):
                yield f"{key}: {value!r}: no field of a configuration says this"


def load(path: Path) -> dict[str, Any]:
    """Read the flat keys of an option file; ConfigError for any other file."""
    try:
        text = path.read_text(encoding="utf-8")
        _check_nodes(path, text)
        content = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); --basicsr takes an option file") from None
    except RecursionError:
        raise ConfigError(
            f"{path}: its values are nested too deeply for an option file, or contain themselves"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or "model_type" not in content:
        raise ConfigError(f"{path} is no option file of a BasicSR-family project: it has no model_type")
    return {key: value for key, value in flatten(content).items() if value is not None}


def _check_nodes(path: Path, text: str) -> None:
    """Raise ConfigError if a file has too many values, each counted as often as aliases repeat it."""
    counts: dict[int, int] = {}  # by node: an alias gives the node itself, so each is visited once

    def count(node: yaml.Node) -> int:
        if id(node) not in counts:
            inner = node.value if isinstance(node, yaml.CollectionNode) else []
            parts = [part for entry in inner for part in (entry if isinstance(entry, tuple) else (entry,))]
            counts[id(node)] = 1 + sum(map(count, parts))
        return counts[id(node)]

    root = yaml.compose(text, yaml.SafeLoader)
    if root is not None and (nodes := count(root)) > _MAX_NODES:
        raise ConfigError(
            f"{path}: has {nodes:,} values once its aliases are written out, but an option file may have "
            f"{_MAX_NODES:,}; write the values that it needs without aliases"
        )
