"""Search spaces: one Python file per question, loaded by name or path and checked before any training.

A space file defines

- `SIZE`, `TRIALS`: defaults; at most a million trials.
- `REFERENCE`: the hypervolume's reference point, by metric.
- `GROUPS`: at most 20 config paths; trials are grouped by their values.
- `base(size, networks) -> RunConfig` and `sample(trial, base) -> {config path: value}`.
- optionally `STRATIFY`, by config path the values that trials take in turn, in place of sampled ones, so that each
  value has equally many trials; or a function `stratify(base, networks)` that returns it, given the names of the frozen
  networks with weights at hand.
- optionally `NETWORKS`: the frozen networks that its trials can use; by default the one that its base uses.

A parameter is named by the config path that it sets. Where several methods have a range each for one path, a suffix
after `@` distinguishes them: `loss.fidelity@ldl`. A relative path of `loss.custom` starts at the space file's folder.
"""

import ast
import hashlib
import importlib.util
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replace_field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import optuna

from study.config import PerceptualNetwork, RunConfig, custom_loss_path, get, pin_custom_loss, replace
from study.search.distributions import config_path
from study.search.space_parts import REQUIRED, SpaceError, check_unread, check_values

FOLDER = Path(__file__).resolve().parents[2] / "search_spaces"
DRY_DRAWS = 32


@dataclass(frozen=True)
class SearchSpace:
    """A loaded space file.

    Attributes:
        name: the file's stem.
        path: of the file.
        size, trials: its defaults.
        reference: the worst value of interest, by metric name.
        groups: config paths; the first is the main one.
        text: of the file.
        networks: the frozen networks that its trials can use.
        stratified: by config path, the values that trials take in turn.
    """

    name: str
    path: Path
    size: str
    trials: int
    reference: Mapping[str, float]
    groups: tuple[str, ...]
    text: str = field(repr=False)
    _base: Callable[[str, Collection[str]], RunConfig]
    _sample: Callable[[optuna.Trial, RunConfig], Mapping[str, Any]]
    networks: tuple[PerceptualNetwork, ...] = ()
    stratified: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    _stratify: Callable[[RunConfig, Collection[str]], Mapping[str, Any]] | None = field(default=None, repr=False)
    _custom_losses: dict[str, str | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def fingerprint(self) -> str:
        """Hash of the program in the file: comments, docstrings and spacing are no part of it."""
        tree = ast.parse(self.text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
                del node.body[0]
        return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]

    def base(self, size: str, networks: Collection[str]) -> RunConfig:
        """Return the run that the space varies, at a size, given the names of the frozen networks at hand.

        Raises:
            SpaceError: the file's function raised.
        """
        try:
            return self._pinned(self._base(size, networks))
        except Exception as error:
            raise SpaceError(f"{self.path.name}, base at size {size}: {type(error).__name__}: {error}") from error

    def around(self, base: RunConfig, networks: Collection[str]) -> "SearchSpace":
        """Return the space around a run, stratified as the frozen networks at hand allow.

        Raises:
            SpaceError: the file's function raised.
        """
        if self._stratify is None:
            return self
        try:
            return replace_field(self, stratified=_tuples(self._stratify(base, networks)))
        except Exception as error:
            raise SpaceError(f"{self.path.name}, stratify: {type(error).__name__}: {error}") from error

    def reference_for(self, metrics: Collection[str]) -> dict[str, float]:
        """Return the reference point of a front over these metrics; SpaceError if the file lacks one of them."""
        missing = [name for name in metrics if name not in self.reference]
        if missing:
            raise SpaceError(f"{self.path.name}: REFERENCE has no value for {', '.join(missing)}; add it")
        return {name: self.reference[name] for name in metrics}

    def sample(self, trial: optuna.Trial, base: RunConfig) -> RunConfig:
        """Sample a configuration.

        Raises:
            SpaceError: the file's function raised, or the configuration is not valid.
        """
        try:
            return self._pinned(replace(base, self._sample(trial, base)))
        except Exception as error:
            raise SpaceError(f"{self.path.name}, trial with {trial.params}: {type(error).__name__}: {error}") from error

    def _pinned(self, config: RunConfig) -> RunConfig:
        """Pin a custom loss to its text at the first draw: later edits of the file change no trial."""
        custom = config.loss.custom
        if custom is None:
            return config
        if custom not in self._custom_losses:
            self._custom_losses[custom] = pin_custom_loss(config, self.path.resolve().parent).loss.custom
        return replace(config, {"loss.custom": self._custom_losses[custom]})

    def stratum_of(self, number: int) -> dict[str, Any]:
        """Return the stratified values of trial `number`, by config path."""
        return {path: values[number % len(values)] for path, values in self.stratified.items()}

    def _check_first_stratum(self, base: RunConfig) -> None:
        """Check that the strata begin with the recipe's own values, which trial 0 has; else a combination is lost."""
        recipe = self.own_values(base)
        for path, value in self.stratum_of(0).items():
            if recipe.get(path, value) != value:
                raise SpaceError(
                    f"{self.path.name}: STRATIFY must begin with the recipe's own value, which is {recipe[path]!r} for "
                    f"{path}, but it begins with {value!r}; put the recipe's value first"
                )

    def own_values(self, base: RunConfig) -> dict[str, Any]:
        """Return the recipe's own values of all that the space varies, by parameter name.

        Raises:
            SpaceError: a parameter is no config path, or its range excludes the recipe's own value.
        """
        recorder = _RecipeTrial(base, self.path.resolve().parent)
        self.sample(cast(optuna.Trial, recorder), base)
        return recorder.params

    def varied(self, base: RunConfig) -> set[str]:
        """Return the config paths that the space varies around a run, whatever the run's own values are.

        Raises:
            SpaceError: the file's function raised.
        """
        recorder = _RecipeTrial(base, self.path.resolve().parent, nearest=True)
        try:
            self._sample(cast(optuna.Trial, recorder), base)
        except Exception as error:
            raise SpaceError(f"{self.path.name}: {type(error).__name__}: {error}") from error
        return {config_path(name) for name in recorder.params}

    def try_out(self, base: RunConfig) -> list[RunConfig]:
        """Sample `DRY_DRAWS` configurations at random, to find a faulty space before any training.

        Returns:
            The base and the samples.

        Raises:
            SpaceError: a sample failed.
        """
        for path in (*self.groups, *self.stratified):
            _require_field(base, path, self.path.name)
        self._check_first_stratum(base)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study()
        draws = [base]
        for number in range(DRY_DRAWS):
            study.sampler = stratify(optuna.samplers.RandomSampler(seed=number), self, number)
            draws.append(self.sample(study.ask(), base))
        return draws


def stratify(sampler: optuna.samplers.BaseSampler, space: SearchSpace, number: int) -> optuna.samplers.BaseSampler:
    """Return a sampler that gives trial `number` its stratified values."""
    fixed = space.stratum_of(number)
    return optuna.samplers.PartialFixedSampler(fixed, sampler) if fixed else sampler


def load_space(name: str) -> SearchSpace:
    """Load `search_spaces/NAME.py`, or any file by its path.

    Raises:
        SpaceError: there is no such file, it raises, lacks a part, has a part by its former name, or defines something
            that looks like a part and is none.
    """
    path = Path(name) if name.endswith(".py") else FOLDER / f"{name}.py"
    if not path.is_file():
        known = sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "__init__")
        raise SpaceError(f"no search space at {path}; --space takes a path to a .py file or one of: {', '.join(known)}")
    module = _run(path)
    missing = [part for part in REQUIRED if not hasattr(module, part)]
    if missing:
        raise SpaceError(f"{path} does not define {', '.join(missing)}; search_spaces/quick.py is a complete example")
    for former in vars(module):
        if former.lower() == "in_turn":
            name = "STRATIFY" if former.isupper() else "stratify"
            raise SpaceError(f"{path}: {former} is called {name} now; rename it")
    text = path.read_text()
    check_unread(path, text)
    if isinstance(module.GROUPS, str):
        raise SpaceError(f"{path}: GROUPS must be a tuple of config paths, but got {module.GROUPS!r}; add a comma")
    check_values(path, module)
    return SearchSpace(
        name=path.stem,
        path=path,
        size=module.SIZE,
        trials=module.TRIALS,
        reference=module.REFERENCE,
        groups=tuple(module.GROUPS),
        networks=tuple(getattr(module, "NETWORKS", ())),
        text=text,
        _base=module.base,
        _sample=module.sample,
        stratified=_tuples(getattr(module, "STRATIFY", {})),
        _stratify=getattr(module, "stratify", None),
    )


def _tuples(stratified: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {path: tuple(values) for path, values in stratified.items()}


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


class _RecipeTrial:
    """Stand-in for a trial that suggests the recipe's own values, with `nearest` those next to them; records them."""

    number = 0

    def __init__(self, base: RunConfig, folder: Path, *, nearest: bool = False) -> None:
        self.params: dict[str, Any] = {}
        self._base, self._folder, self._nearest = base, folder, nearest

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
            value = self._instead(name, value, next(iter(choices)), f"offers {list(choices)}", "add it there")
        return self._keep(name, value)

    def _is_file(self, choice: str | None, custom: str | None) -> bool:
        """Return whether a choice is the path of a custom loss that is pinned already."""
        if choice is None or custom is None:
            return False
        return Path(self._folder, choice).resolve() == Path(custom_loss_path(custom))

    def _within(self, name: str, low: float, high: float) -> Any:
        value = get(self._base, config_path(name))
        if value is None or not low <= value <= high:
            nearest = high if value is not None and value > high else low
            value = self._instead(name, value, nearest, f"ranges over [{low}, {high}]", "widen it there")
        return self._keep(name, value)

    def _instead(self, name: str, value: Any, offered: Any, offer: str, change: str) -> Any:
        """Return a value that the space offers in place of the recipe's; ValueError unless that is allowed."""
        if self._nearest:
            return offered
        text = offered if isinstance(offered, str) else json.dumps(offered)
        raise ValueError(
            f"{name} {offer}, but the recipe's own value, with which the search begins, is {value}; choose one with "
            f"--set {config_path(name)}={text}, or {change}"
        )

    def _keep(self, name: str, value: Any) -> Any:
        self.params[name] = value
        return value
