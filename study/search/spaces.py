"""Search spaces: one Python file per question, loaded by name or path and tried out before anything is spent on it.

A space file defines `SIZE`, `TRIALS` (defaults), `REFERENCE` (the hypervolume's reference point, by metric), `GROUPS`
(config paths by which fronts are told apart), `base(size, networks) -> RunConfig` and
`sample(trial, base) -> {config path: value}`. It may define `STRATIFY`, by config path the values that trials take in
turn instead of by the sampler's choice, so that a comparison of them rests on equally many trials each; or, in its
place, a function `in_turn(base, networks)` that makes it of the base and of the names of the frozen networks at hand.
It may define `NETWORKS`, the frozen networks that its trials can use; by default the one that its base uses.

A parameter is named by the config path that it sets. Where one path has ranges of its own for several methods, what
follows an `@` tells them apart: `loss.fidelity@ldl`. A relative path of `loss.custom` starts where the
space file is.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replace_field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import optuna

from study.config import RunConfig, custom_loss_path, get, pin_custom_loss, replace

FOLDER = Path(__file__).resolve().parents[2] / "search_spaces"
DRY_DRAWS = 32


class SpaceError(ValueError):
    """A search space that cannot be used: names the file and what is wrong in it."""


@dataclass(frozen=True)
class SearchSpace:
    """A loaded space file.

    Attributes:
        name: the file's stem.
        path: where it was found.
        size, trials: its defaults.
        reference: the worst value of interest, by metric name.
        groups: config paths; the first is the main one.
        fingerprint: hash of the file's text.
        networks: the frozen networks that its trials can use.
        in_turn: by config path, the values that trials take in turn.
    """

    name: str
    path: Path
    size: str
    trials: int
    reference: Mapping[str, float]
    groups: tuple[str, ...]
    fingerprint: str
    _base: Callable[[str, Collection[str]], RunConfig]
    _sample: Callable[[optuna.Trial, RunConfig], Mapping[str, Any]]
    networks: tuple[str, ...] = ()
    in_turn: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    _turns: Callable[[RunConfig, Collection[str]], Mapping[str, Any]] | None = field(default=None, repr=False)
    _custom_losses: dict[str, str | None] = field(default_factory=dict, repr=False, compare=False)

    def base(self, size: str, networks: Collection[str]) -> RunConfig:
        """The run that the space varies, at a size, where these frozen networks are at hand.

        Raises:
            SpaceError: the file's function raised.
        """
        try:
            return self._pinned(self._base(size, networks))
        except Exception as error:
            raise SpaceError(f"{self.path.name}, base at size {size}: {type(error).__name__}: {error}") from error

    def around(self, base: RunConfig, networks: Collection[str]) -> "SearchSpace":
        """The space as it is around a run, where these frozen networks are at hand: with the turns that they allow."""
        return self if self._turns is None else replace_field(self, in_turn=_tuples(self._turns(base, networks)))

    def reference_for(self, metrics: Collection[str]) -> dict[str, float]:
        """The reference point of a front over these metrics; SpaceError if the file lacks one of them."""
        missing = [name for name in metrics if name not in self.reference]
        if missing:
            raise SpaceError(f"{self.path.name}: REFERENCE has no value for {', '.join(missing)}; add it")
        return {name: self.reference[name] for name in metrics}

    def sample(self, trial: optuna.Trial, base: RunConfig) -> RunConfig:
        """Draw a configuration.

        Raises:
            SpaceError: the file's function raised, or what it drew is no valid configuration.
        """
        try:
            return self._pinned(replace(base, self._sample(trial, base)))
        except Exception as error:
            raise SpaceError(f"{self.path.name}, trial with {trial.params}: {type(error).__name__}: {error}") from error

    def _pinned(self, config: RunConfig) -> RunConfig:
        """A custom loss counts as it was when it was first drawn: who edits it meanwhile changes no later trial."""
        own = config.loss.custom
        if own is None:
            return config
        if own not in self._custom_losses:
            self._custom_losses[own] = pin_custom_loss(config, self.path.resolve().parent).loss.custom
        return replace(config, {"loss.custom": self._custom_losses[own]})

    def turn_of(self, number: int) -> dict[str, Any]:
        """What trial `number` takes because it is its turn."""
        return {path: values[number % len(values)] for path, values in self.in_turn.items()}

    def _own_come_first(self, base: RunConfig) -> None:
        """The first trial has the recipe's own values: it is the turn of these, or one combination would be lost."""
        own, first = self.own_values(base), self.turn_of(0)
        for path, value in first.items():
            if own.get(path, value) != value:
                raise SpaceError(
                    f"{self.path.name}: STRATIFY must begin with the recipe's own value, which is {own[path]!r} for "
                    f"{path}, but it begins with {value!r}; put the own value first"
                )

    def own_values(self, base: RunConfig) -> dict[str, Any]:
        """The recipe's own values of all that the space varies, by parameter name.

        Raises:
            SpaceError: a parameter that is no config path, or whose range does not hold the recipe's own value.
        """
        recorder = _OwnValues(base, self.path.resolve().parent)
        self.sample(cast(optuna.Trial, recorder), base)
        return recorder.params

    def try_out(self, base: RunConfig) -> list[RunConfig]:
        """Draw at random many times, so that a faulty space is found out before any training.

        Returns:
            What was drawn, the recipe's own values first.

        Raises:
            SpaceError: a draw failed.
        """
        for path in (*self.groups, *self.in_turn):
            _require_field(base, path, self.path.name)
        self._own_come_first(base)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study()
        draws = [base]
        for number in range(DRY_DRAWS):
            study.sampler = in_turn(optuna.samplers.RandomSampler(seed=number), self, number)
            draws.append(self.sample(study.ask(), base))
        return draws


def in_turn(sampler: optuna.samplers.BaseSampler, space: SearchSpace, number: int) -> optuna.samplers.BaseSampler:
    """A sampler that leaves to a trial's number what the space wants taken in turn."""
    fixed = space.turn_of(number)
    return optuna.samplers.PartialFixedSampler(fixed, sampler) if fixed else sampler


def config_path(parameter: str) -> str:
    """The config path that a parameter sets: `loss.fidelity` of `loss.fidelity@ldl`."""
    return parameter.partition("@")[0]


def load_space(name: str) -> SearchSpace:
    """Load `search_spaces/NAME.py`, or any file by its path.

    Raises:
        SpaceError: no such file, a file that raises when it is read, or one that lacks a part.
    """
    path = Path(name) if name.endswith(".py") else FOLDER / f"{name}.py"
    if not path.is_file():
        known = sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "__init__")
        raise SpaceError(f"no search space at {path}; --space takes a path to a .py file or one of: {', '.join(known)}")
    module = _run(path)
    missing = [
        part for part in ("SIZE", "TRIALS", "REFERENCE", "GROUPS", "base", "sample") if not hasattr(module, part)
    ]
    if missing:
        raise SpaceError(
            f"{path} does not define {', '.join(missing)}; search_spaces/quick.py is an example of a whole one"
        )
    if isinstance(module.GROUPS, str):
        raise SpaceError(f"{path}: GROUPS must be a tuple of config paths, but got {module.GROUPS!r}; add a comma")
    return SearchSpace(
        name=path.stem,
        path=path,
        size=module.SIZE,
        trials=module.TRIALS,
        reference=module.REFERENCE,
        groups=tuple(module.GROUPS),
        networks=tuple(getattr(module, "NETWORKS", ())),
        fingerprint=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        _base=module.base,
        _sample=module.sample,
        in_turn=_tuples(getattr(module, "STRATIFY", {})),
        _turns=getattr(module, "in_turn", None),
    )


def _tuples(turns: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {path: tuple(values) for path, values in turns.items()}


def _require_field(base: RunConfig, path: str, file: str) -> None:
    try:
        get(base, path)
    except ValueError as error:
        raise SpaceError(f"{file}, GROUPS or STRATIFY: {error}") from error


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"search_space_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SpaceError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    return module


class _OwnValues:
    """Stands in for a trial: answers each suggestion with the recipe's own value, and remembers it."""

    number = 0

    def __init__(self, base: RunConfig, folder: Path) -> None:
        self.params: dict[str, Any] = {}
        self._base, self._folder = base, folder

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        del step, log
        return self._within(name, low, high)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        del step, log
        return self._within(name, low, high)

    def suggest_categorical(self, name: str, choices: Collection[Any]) -> Any:
        value = get(self._base, config_path(name))
        if config_path(name) == "loss.custom":
            value = next((choice for choice in choices if self._is_file(choice, value)), value)
        if value not in choices:
            raise ValueError(f"{name} offers {list(choices)}, but the recipe's own value is {value}; add it")
        return self._keep(name, value)

    def _is_file(self, choice: str | None, own: str | None) -> bool:
        """Whether a choice is the path of a custom loss, which has its hash with it already."""
        if choice is None or own is None:
            return False
        return Path(self._folder, choice).resolve() == Path(custom_loss_path(own))

    def _within(self, name: str, low: float, high: float) -> Any:
        value = get(self._base, config_path(name))
        if not low <= value <= high:
            raise ValueError(f"{name} ranges over [{low}, {high}], but the recipe's own value is {value}; widen it")
        return self._keep(name, value)

    def _keep(self, name: str, value: Any) -> Any:
        self.params[name] = value
        return value
