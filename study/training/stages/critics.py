"""The critics stage: MDF's critics, trained on one photograph, and how well they find distortions."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from study.config import DataConfig, RunConfig
from study.data import bicubic_upsample, to_float
from study.data.degradations import degradation_of, degrade
from study.data.images import pixel_digest
from study.data.pairs import image_to_tensor
from study.models import Critics
from study.models.build import build_critics
from study.training.context import RunContext
from study.training.evaluation import Evaluation, mean_over_images
from study.training.stages.critic_training import total_iterations, train_critics, training_image
from study.training.stages.spec import StageSpec

TRAINING = "training image"
"""The name of the training photograph among the evaluated images."""


def load_critics(config: RunConfig, context: RunContext) -> Critics:
    """Return the run's finished critics, frozen, in eval mode on the context's device."""
    critics = CRITICS.load(config, context)
    assert isinstance(critics, Critics)
    return critics.to(memory_format=torch.channels_last)


def evaluate_critics(critics: Critics, config: RunConfig, context: RunContext) -> Evaluation:
    """Compute the area under the ROC curve of each level's scores, clean against distorted windows of an image.

    0.5 is chance; 1 means that every clean window scores higher than every distorted one. The critics see images at
    full size, as in MDF's loss, and in [-1, 1], as in their training.

    Returns:
        As metrics, means over the held-out images: `auc`, over the used levels, and `auc_K` of each level; as images,
        the same of each image, and of the training photograph as `training image`.
    """
    name = training_image(config, context.train)
    photograph = context.train.images[context.train.names.index(name)]
    used = config.critics.used_levels
    images = {
        name: _areas(critics, image, config.data, used, context.device)
        for name, image in zip(context.val.names, context.val.images, strict=True)
    }
    metrics = mean_over_images(images)
    return Evaluation(metrics, {TRAINING: _areas(critics, photograph, config.data, used, context.device), **images})


def area_under_curve(clean: np.ndarray, distorted: np.ndarray) -> float:
    """Return the share of pairs in which the clean score is higher; ties count half (Mann and Whitney 1947)."""
    ordered = np.sort(distorted.ravel())
    below = np.searchsorted(ordered, clean.ravel(), side="left")
    up_to = np.searchsorted(ordered, clean.ravel(), side="right")
    return float((below + up_to).mean() / (2 * ordered.size))


def distorted_image(image: np.ndarray, data: DataConfig) -> np.ndarray:
    """Return the task's input at the image's size, (H, W, 3) uint8: for sr shrunk and enlarged by bicubic."""
    seed = int(pixel_digest(image)[:15], 16)
    lq = degrade(image, data.scale, degradation_of(data), seed=seed)
    if data.task != "sr":
        return lq
    enlarged = bicubic_upsample(to_float(image_to_tensor(lq)), data.scale)
    return enlarged.clamp(0, 1).mul(255).round().to(torch.uint8)[0].permute(1, 2, 0).numpy()


@torch.no_grad()
def _areas(critics: Critics, image: np.ndarray, data: DataConfig, used: int, device: torch.device) -> dict[str, float]:
    height, width = (side // data.scale * data.scale for side in image.shape[:2])
    clean = np.ascontiguousarray(image[:height, :width])
    areas = {}
    for level, critic in enumerate(list(critics.levels)[:used]):
        scores = [_scores(critic, shown, device) for shown in (clean, distorted_image(clean, data))]
        areas[f"auc_{level}"] = area_under_curve(*scores)
    return {"auc": float(np.mean(list(areas.values()))), **areas}


def _scores(critic: nn.Module, image: np.ndarray, device: torch.device) -> np.ndarray:
    scores: Tensor = critic(to_float(image_to_tensor(image)).to(device) * 2 - 1)
    return scores.cpu().numpy()


def _evaluate(config: RunConfig, context: RunContext, samples: Path) -> Evaluation:
    del samples  # critics return scores, not images
    return evaluate_critics(load_critics(config, context), config, context)


CRITICS = StageSpec(
    name="critics",
    upstream=lambda config: [],
    iterations=lambda config: total_iterations(config.critics),
    budget_field="critics",
    init_field="critics.init",
    yields_points=False,
    network=lambda config: build_critics(config.critics),
    train_alone=train_critics,
    evaluate=_evaluate,
)
