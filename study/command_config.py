"""The configuration that the options of a training command describe."""

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from study.config import (
    INITIAL_WEIGHTS,
    MADE,
    ConfigError,
    Precision,
    RunConfig,
    Stage,
    check_set_fields,
    get,
    parse_assignments,
    pin_custom_loss,
    replace,
)
from study.config.recipes import for_task, parse_task, rescale

_DETERMINED = {
    "--scale": ["data.scale"],
    "--task": ["data.task", "data.scale", "data.sigma", "data.quality"],
    "--precision": ["precision"],
    "--data": ["data.train"],
    "--val": ["data.val"],
    "--lq": ["data.train_lq"],
    "--val-lq": ["data.val_lq"],
}
"""Fields by the option that determines them."""

_IMAGES = ("data.train", "data.val", "data.train_lq", "data.val_lq")  # fields that name images


def with_options(
    config: RunConfig, arguments: argparse.Namespace, fastest: Precision, varied: Collection[str] = ()
) -> RunConfig:
    """Apply the scale, task, sources and overrides of a command line to a configuration.

    Args:
        config: the recipe.
        arguments: of `add_common_options`.
        fastest: the precision of `--precision auto` where the run trains; tiny networks use fp32.
        varied: the fields that a search will vary.

    Raises:
        ConfigError: an option is invalid for the recipe.
    """
    config = _with_task(config, arguments)
    data = config.data
    options = {
        "data.train": _absolute(arguments.data or data.train),
        "data.val": _absolute(arguments.val or data.val),
        "data.train_lq": _absolute(arguments.lq or (None if arguments.data else data.train_lq)),
        "data.val_lq": _absolute(arguments.val_lq or (None if arguments.val else data.val_lq)),
        "precision": _automatic(config, fastest) if arguments.precision == "auto" else arguments.precision,
    }
    whole = replace(config, options | with_full_paths(parse_assignments(arguments.set)), varied)
    _check_contradictions(arguments, config, options, whole)
    return pin_custom_loss(whole)


def _with_task(config: RunConfig, arguments: argparse.Namespace) -> RunConfig:
    """Return a recipe at the scale and for the task of a command line; ConfigError where these contradict."""
    config = for_task(rescale(config, arguments.scale or config.data.scale), *parse_task(arguments.task))
    if arguments.scale not in (None, config.data.scale):
        raise ConfigError(
            f"--scale {arguments.scale} contradicts --task {arguments.task}, which keeps the images' size; "
            "leave one of the two out"
        )
    return config


def _check_contradictions(
    arguments: argparse.Namespace, config: RunConfig, options: Mapping[str, Any], whole: RunConfig
) -> None:
    """Check that --set changes nothing that another option determines; ConfigError if it does."""
    for option, paths in _DETERMINED.items():
        value = getattr(arguments, option.removeprefix("--").replace("-", "_"))
        for path in paths if value not in (None, "auto", "sr") else ():
            if get(whole, path) != (options[path] if path in options else get(config, path)):
                raise ConfigError(
                    f"--set {path}={get(whole, path)} contradicts {option} {value}; leave one of the two out"
                )


def check_set(
    arguments: argparse.Namespace, recipe: RunConfig, runs: Sequence[RunConfig], until: Stage = "adversarial"
) -> None:
    """Check that each field of --set is read by one of the runs that a command trains; ConfigError if one is not.

    Args:
        arguments: of `add_common_options`.
        recipe: to which `with_options` applied them.
        runs: the result, and those that a search makes of it.
        until: the last stage.
    """
    changes = with_full_paths(parse_assignments(arguments.set))
    check_set_fields(changes, _with_task(recipe, arguments), runs, until)


def _automatic(config: RunConfig, fastest: Precision) -> Precision:
    """Return the precision of `--precision auto`.

    Tiny networks train in fp32: bfloat16 makes them faster by only a tenth (measured), and makes results depend on
    the machine.
    """
    return "fp32" if config.size == "tiny" else fastest


def with_full_paths(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes with absolute paths of images and initial weights: workers have another working directory."""
    given = {path: value for path, value in changes.items() if isinstance(value, str)}
    weights = {path: str(Path(value).resolve()) for path, value in given.items() if path in INITIAL_WEIGHTS}
    images = {path: _absolute(value) for path, value in given.items() if path in _IMAGES}
    return {**changes, **weights, **images}


def _absolute(source: str | None) -> str | None:
    """Return a source with an absolute path: workers have another working directory."""
    from study.data.remote import is_uri  # late, so that --help answers at once

    if source is None or source in ("photographs", MADE) or is_uri(source):
        return source
    return str(Path(source).resolve())
