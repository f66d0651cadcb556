"""How a stage trains: its budget, its optimiser, when it is evaluated; and the base class of all parts."""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Stage = Literal["fidelity", "autoencoder", "critics", "adversarial"]
Precision = Literal["fp32", "bf16"]


class Frozen(BaseModel):
    """A part of a configuration: immutable, unknown keys refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=False)


class Budget(Frozen):
    """How long a stage trains, and on how many pixels a step."""

    iterations: int = Field(ge=1, lt=2**53)
    batch: int = Field(ge=1, le=4096, description="patches a step, over all workers")
    patch: int = Field(ge=8, le=1024, description="HR patch side in pixels")

    @property
    def pixels_per_step(self) -> int:
        """HR pixels in a step."""
        return self.batch * self.patch**2


class Optimiser(Frozen):
    """Adam and its schedule, the same for every network of a stage.

    Schedules are relative to the budget, so that a shortened run keeps the shape of the long one.
    """

    learning_rate: float = Field(1e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "cosine", "steps"] = "constant"
    restarts: int = Field(1, ge=1, description="cosine periods over the budget")
    minimum: float = Field(1e-7, ge=0, description="learning rate at the end of each cosine period")
    milestones: tuple[float, ...] = Field((), description="steps: shares of the budget after which the rate falls")
    gamma: float = Field(0.5, gt=0, le=1, description="steps: factor by which it falls each time")
    warmup: int = Field(
        0, ge=0, description="iterations over which the learning rate rises from 0; the papers have none"
    )
    ema_decay: float = Field(0.999, ge=0, lt=1, description="of the averaged weights; 0 for no average")

    @model_validator(mode="after")
    def _betas_in_range(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), but got {self.betas}")
        return self

    @model_validator(mode="after")
    def _cosine_falls(self) -> Self:
        if self.schedule == "cosine" and self.minimum > self.learning_rate:
            raise ValueError(
                f"minimum must not exceed learning_rate ({self.learning_rate:g}), but got {self.minimum:g}; lower it"
            )
        return self

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        inside = all(0 < share < 1 for share in self.milestones)
        if not inside or list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(
                f"milestones must be rising shares of the budget between 0 and 1, but got {list(self.milestones)}; "
                "for iteration 50,000 of 400,000 write 0.125"
            )
        if self.schedule == "steps" and not self.milestones:
            raise ValueError("schedule 'steps' needs milestones, but there are none; add some or use 'constant'")
        return self


def learning_rate_at(config: Optimiser, iteration: int, iterations: int) -> float:
    """Return the learning rate of step `iteration` (from 0), as a pure function: resuming needs no scheduler state.

    `cosine` falls from `learning_rate` to `minimum` in each of `restarts` equal periods (SGDR, Loshchilov 2017);
    `steps` multiplies it by `gamma` at each of the `milestones`, shares of the budget. During `warmup` the schedule's
    value is scaled by (iteration + 1) / warmup.
    """
    scheduled = config.learning_rate
    if config.schedule == "steps":
        scheduled *= config.gamma ** sum(iteration >= round(share * iterations) for share in config.milestones)
    if config.schedule == "cosine":
        period = iterations / config.restarts
        phase = (iteration % period) / period
        scheduled = config.minimum + (config.learning_rate - config.minimum) * (1 + math.cos(math.pi * phase)) / 2
    return scheduled * min(1.0, (iteration + 1) / config.warmup) if config.warmup else scheduled


class FidelityConfig(Frozen):
    """Training of the PSNR-oriented generator that a perceptual one starts from, by pixel L1 alone."""

    budget: Budget
    optimiser: Optimiser
    seed: int = Field(0, ge=0, lt=2**63)


class EvalSchedule(Frozen):
    """When the adversarial stage is evaluated and saved. It does not change what is trained."""

    evaluate_every: int = Field(5000, ge=1, description="iterations between points")
    evaluate_share: float = Field(
        1.0, gt=0, description="HR pixels evaluated over those trained on, at most; else there are fewer points"
    )
    checkpoint_every: int = Field(1000, ge=1, description="iterations between checkpoints, in every stage")
