"""Every method by name: a recipe is a function of a size that returns a complete configuration.

`full` is the paper's own setting (METHODS 1.3, 1.5, 2.1, 4.3), `small` one that suits a single GPU for some hours,
`tiny` one that suits two CPU cores for a minute. Each size keeps every term of the method.
"""

from collections.abc import Callable
from typing import Literal

from study.config import (
    AutoencoderConfig,
    Budget,
    Cadence,
    ConfigError,
    DataConfig,
    DiscriminatorConfig,
    FidelityConfig,
    GeneratorConfig,
    LossConfig,
    Optimiser,
    RunConfig,
    replace,
)

Size = Literal["full", "small", "tiny"]
Recipe = Callable[[Size], RunConfig]


def aesop(size: Size = "full") -> RunConfig:
    """AESOP: the fidelity term between auto-encoded images, LDL's artifact map, perceptual and RaGAN (METHODS 1.5)."""
    return {"full": _aesop_full, "small": _aesop_small, "tiny": _aesop_tiny}[size]()


def ldl(size: Size = "full") -> RunConfig:
    """LDL: pixel L1 in AESOP's place, the other terms the same (METHODS 4.3)."""
    return replace(aesop(size), {"recipe": "ldl", "loss.guidance": "pixel", "loss.fidelity": 1e-2})


RECIPES: dict[str, Recipe] = {"aesop": aesop, "ldl": ldl}


def get_recipe(name: str, size: str = "full") -> RunConfig:
    """Build a recipe by name; ConfigError names the known ones."""
    if name not in RECIPES:
        raise ConfigError(f"recipe must be one of {', '.join(sorted(RECIPES))}, but got {name!r}")
    if size not in ("full", "small", "tiny"):
        raise ConfigError(f"size must be one of full, small, tiny, but got {size!r}")
    return RECIPES[name](size)  # type: ignore[arg-type]  # checked on the line above


def _aesop_full() -> RunConfig:
    return RunConfig(
        recipe="aesop",
        size="full",
        data=DataConfig(),
        generator=GeneratorConfig(name="rrdb", features=64, blocks=23, growth=32),
        discriminator=DiscriminatorConfig(features=64),
        fidelity=FidelityConfig(
            budget=Budget(iterations=1_000_000, batch=16, patch=128),
            optimiser=Optimiser(learning_rate=2e-4, schedule="cosine", restarts=4),
        ),
        autoencoder=AutoencoderConfig(budget=Budget(iterations=100_000, batch=64, patch=256), optimiser=Optimiser()),
        loss=LossConfig(),
        optimiser=Optimiser(learning_rate=1e-4),
        budget=Budget(iterations=300_000, batch=64, patch=128),
        cadence=Cadence(evaluate_every=20_000, checkpoint_every=1_000),
    )


def _aesop_small() -> RunConfig:
    body = {"features": 64, "blocks": 6, "growth": 32}
    return replace(
        _aesop_full(),
        {
            "size": "small",
            "generator": body,
            "autoencoder": {**body, "budget": {"iterations": 15_000, "batch": 16, "patch": 128}},
            "fidelity.budget": {"iterations": 50_000, "batch": 16, "patch": 128},
            "fidelity.optimiser.restarts": 1,
            "budget": {"iterations": 25_000, "batch": 16, "patch": 128},
            "cadence": {"evaluate_every": 2_500, "checkpoint_every": 500},
        },
    )


def _aesop_tiny() -> RunConfig:
    # The weights are the ones that help at this size: there the paper's adversarial weight alone spoils LPIPS, and
    # an RGB bottleneck is learned in seconds only with the bicubic skip (METHODS 1.8.7).
    body = {"features": 16, "blocks": 2, "growth": 8}
    fast = {
        "learning_rate": 1.5e-3,
        "schedule": "cosine",
        "restarts": 1,
        "minimum": 1e-5,
        "warmup": 50,
        "ema_decay": 0.99,
    }
    return replace(
        _aesop_full(),
        {
            "size": "tiny",
            "generator": {"name": "msrresnet", "init_scale": 0.5, **body},
            "discriminator.features": 8,
            "autoencoder": {
                "decoder": "msrresnet",
                "bicubic_skip": True,
                **body,
                "budget": {"iterations": 200, "batch": 8, "patch": 64},
                "optimiser": fast,
            },
            "fidelity": {"budget": {"iterations": 800, "batch": 8, "patch": 48}, "optimiser": fast},
            "loss": {"perceptual_network": "squeezenet", "perceptual": 0.3, "adversarial": 1e-3},
            "optimiser": {"learning_rate": 5e-4, "ema_decay": 0.99},
            "budget": {"iterations": 160, "batch": 4, "patch": 64},
            "cadence": {"evaluate_every": 80, "checkpoint_every": 40},
        },
    )
