"""AESOP's configuration and SwinIR's at the three sizes, which the other recipes change."""

from collections.abc import Mapping
from typing import Any, Literal

from study.config import (
    AutoencoderConfig,
    Budget,
    DataConfig,
    DiscriminatorConfig,
    EvalSchedule,
    FidelityConfig,
    LossConfig,
    Optimiser,
    RRDBConfig,
    RunConfig,
    replace,
)

Size = Literal["full", "small", "tiny"]
Changes = Mapping[str, Any]

# For networks that train in a minute.
FAST_OPTIMISER = {
    "learning_rate": 1.5e-3,
    "schedule": "cosine",
    "restarts": 1,
    "minimum": 1e-5,
    "warmup": 50,
    "ema_decay": 0.99,
}

# SwinIR and the training of its PSNR-oriented form (docs/methods/swinir.md).
SWINIR: dict[Size, Changes] = {
    "full": {
        "seed": 1,
        "generator": {"name": "swinir", "features": 180, "blocks": 6},
        "fidelity.budget": {"iterations": 500_000, "batch": 32, "patch": 256},
        "fidelity.optimiser": {"schedule": "steps", "milestones": [0.5, 0.8, 0.9, 0.95]},
        "budget.patch": 256,
    },
    "small": {
        "generator": {"name": "swinir", "features": 60, "blocks": 4},
        "fidelity.optimiser": {"schedule": "steps", "milestones": [0.5, 0.8, 0.9, 0.95]},
    },
    "tiny": {
        "generator": {
            "name": "swinir",
            "features": 24,
            "blocks": 2,
            "depth": 2,
            "heads": 3,
            "bilinear_skip": True,
        },
        "fidelity.budget": {
            "batch": 4,
            "patch": 64,
        },  # two attention windows a side: padding to them costs equally
    },
}


def aesop_full() -> RunConfig:
    """Return the paper's configuration of AESOP."""
    return RunConfig(
        recipe="aesop",
        size="full",
        data=DataConfig(),
        generator=RRDBConfig(features=64, blocks=23, growth=32),
        discriminator=DiscriminatorConfig(features=64),
        fidelity=FidelityConfig(
            budget=Budget(iterations=1_000_000, batch=16, patch=128),
            optimiser=Optimiser(learning_rate=2e-4, schedule="cosine", restarts=4),
        ),
        autoencoder=AutoencoderConfig(budget=Budget(iterations=100_000, batch=64, patch=256), optimiser=Optimiser()),
        loss=LossConfig(),
        optimiser=Optimiser(learning_rate=1e-4),
        budget=Budget(iterations=300_000, batch=64, patch=128),
        eval_schedule=EvalSchedule(evaluate_every=20_000, checkpoint_every=1_000),
    )


def aesop_small() -> RunConfig:
    """Return AESOP for one GPU and some hours."""
    body = {"features": 64, "blocks": 6, "growth": 32}
    return replace(
        aesop_full(),
        {
            "size": "small",
            "generator": body,
            "autoencoder": {**body, "budget": {"iterations": 15_000, "batch": 16, "patch": 128}},
            "fidelity.budget": {"iterations": 50_000, "batch": 16, "patch": 128},
            "fidelity.optimiser.restarts": 1,
            "budget": {"iterations": 25_000, "batch": 16, "patch": 128},
            "eval_schedule": {"evaluate_every": 2_500, "checkpoint_every": 500},
        },
    )


def aesop_tiny() -> RunConfig:
    """Return AESOP for two CPU cores and a minute."""
    # These weights help at this size: here the paper's adversarial weight makes LPIPS worse, and an RGB bottleneck
    # trains in seconds only with the bicubic skip.
    body = {"features": 16, "blocks": 2}
    return replace(
        aesop_full(),
        {
            "size": "tiny",
            "generator": {"name": "msrresnet", "init_scale": 0.5, **body},
            "discriminator.features": 8,
            "autoencoder": {
                "decoder": "msrresnet",
                "bicubic_skip": True,
                **body,
                "growth": 8,
                "budget": {"iterations": 200, "batch": 8, "patch": 64},
                "optimiser": FAST_OPTIMISER,
            },
            "fidelity": {"budget": {"iterations": 800, "batch": 8, "patch": 48}, "optimiser": FAST_OPTIMISER},
            "loss": {"perceptual_network": "squeezenet", "perceptual": 0.3, "adversarial": 1e-3},
            "optimiser": {"learning_rate": 5e-4, "ema_decay": 0.99},
            "budget": {"iterations": 160, "batch": 4, "patch": 64},
            "eval_schedule": {"evaluate_every": 80, "checkpoint_every": 40},
        },
    )
