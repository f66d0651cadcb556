"""Budget, optimiser, schedule and seed in an option file."""

from typing import Any

from study.config import Stage
from study.config.basicsr.options import Options


def read_training(options: Options, until: Stage) -> dict[str, Any]:
    """Return the changes to budget, optimiser, schedule and seed of the stage that the file trains."""
    part = {"fidelity": "fidelity.", "autoencoder": "autoencoder.", "adversarial": ""}[until]
    iterations = int(options.number("train.total_iter", 0))
    gpus = options.take("num_gpu")
    if not isinstance(gpus, int):
        options.notes.append(f"num_gpu: {gpus!r}: counted as 1; set {part}budget.batch to the patches over all GPUs")
        gpus = 1
    patch = options.take("datasets.train.gt_size", options.values.get("gt_size"))
    options.must("gt_size", patch, why=f"datasets.train.gt_size is {patch}")
    batch = options.take("datasets.train.batch_size_per_gpu") * max(1, gpus)
    if until == "adversarial" and not options.has("train.optim_d."):
        options.assumed.append("train.optim_d: not in the file; the optimiser of the generator is assumed")
    changes = {
        f"{part}budget": {"iterations": iterations, "batch": batch, "patch": patch},
        f"{part}optimiser": _optimiser(options, iterations),
        f"{part}seed": options.take("manual_seed"),
        "eval_schedule.checkpoint_every": int(options.number("logger.save_checkpoint_freq", 5000)),
        "eval_schedule.evaluate_every": int(options.number("val.val_freq", 5000)),
    }
    if until != "adversarial":
        _require_pixel_loss(options)
    if until == "autoencoder":
        changes["autoencoder.bottleneck_weight"] = options.loss_weight("train.pixel_at_LR_opt.")
        frozen = options.number("train.freeze_decoder", 0)
        changes["autoencoder.frozen_decoder"] = min(1.0, frozen / max(1, iterations))
    return changes


def _optimiser(options: Options, iterations: int) -> dict[str, Any]:
    settings = {}
    for name in ("optim_g", "optim_d"):
        if name == "optim_d" and not options.has("train.optim_d."):
            continue
        options.must(f"train.{name}.type", "Adam", why="every network has Adam")
        settings[name] = {
            "learning_rate": options.number(f"train.{name}.lr", 1e-4),
            "weight_decay": options.number(f"train.{name}.weight_decay", 0),
            "betas": [float(beta) for beta in options.take(f"train.{name}.betas", [0.9, 0.999])],
        }
    if settings.get("optim_d", settings["optim_g"]) != settings["optim_g"]:
        options.problems.append(
            f"train.optim_d: {settings['optim_d']}: the discriminator has the generator's optimiser"
        )
    warmup = int(options.number("train.warmup_iter", -1))
    decay = options.number("train.ema_decay", 0)
    return settings["optim_g"] | {"warmup": max(0, warmup), "ema_decay": decay} | _schedule(options, iterations)


def _schedule(options: Options, iterations: int) -> dict[str, Any]:
    kind = options.take("train.scheduler.type")
    if kind in ("MultiStepLR", "MultiStepRestartLR"):
        options.assume({"train.scheduler.milestones": []})
        reached = [step for step in options.take("train.scheduler.milestones") if step < iterations]
        gamma = options.number("train.scheduler.gamma", 0.1)
        if not reached or gamma == 1:
            return {"schedule": "constant"}
        return {"schedule": "steps", "milestones": [step / iterations for step in reached], "gamma": gamma}
    if kind == "CosineAnnealingRestartLR":
        options.assume({"train.scheduler.periods": [iterations]})
        periods = options.take("train.scheduler.periods")
        weights = options.take("train.scheduler.restart_weights", [1])
        if len(set(periods)) > 1 or sum(periods) != iterations:
            options.problems.append(f"train.scheduler.periods: {periods}: periods are equal and fill train.total_iter")
        if set(weights) != {1}:
            options.problems.append(f"train.scheduler.restart_weights: {weights}: every period starts at the full rate")
        minimum = options.number("train.scheduler.eta_min", 0)
        return {"schedule": "cosine", "restarts": len(periods), "minimum": minimum}
    options.problems.append(
        f"train.scheduler.type: {kind!r}: schedules are MultiStepLR and CosineAnnealingRestartLR; the rate is constant"
    )
    return {"schedule": "constant"}


def _require_pixel_loss(options: Options) -> None:
    """Require mean L1 of weight 1, the loss of the fidelity and the auto-encoder stage."""
    if not options.has("train.pixel_opt."):
        options.problems.append("train.pixel_opt: not in the file: this stage descends L1")
    options.must("train.pixel_opt.type", "L1Loss", why="this stage descends L1")
    options.must("train.pixel_opt.loss_weight", 1, 1.0, why="this stage's loss has the weight 1")
    options.must("train.pixel_opt.reduction", "mean", why="losses are means")
