"""How well each critic tells distorted images from clean ones: on its training photograph, and on others."""

import numpy as np
import torch
from torch import Tensor, nn

from study.config import DataConfig, RunConfig
from study.data import bicubic_upsample, to_float
from study.data.degradations import degradation_of, degrade
from study.data.images import pixel_digest
from study.data.pairs import image_to_tensor
from study.models.critics import Critics
from study.training.context import RunContext
from study.training.evaluation import Evaluation, mean_over_images
from study.training.stages.critics import training_image

TRAINING = "training image"


def evaluate_critics(critics: Critics, config: RunConfig, context: RunContext) -> Evaluation:
    """Measure the area under the ROC curve of each level's scores, distorted against clean windows of an image.

    0.5 is chance; 1 gives every clean window more than every distorted one. Images are shown at full size, as MDF
    shows them, in [-1, 1], as the critics were trained.

    Returns:
        As metrics, means over the held-out images: `auc`, over the used levels, and `auc_K` of each; per image the
        same, with the training photograph among them as `training image`.
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
    """The share of pairs in which the clean one scores higher, ties counting half (Mann and Whitney 1947)."""
    ordered = np.sort(distorted.ravel())
    below = np.searchsorted(ordered, clean.ravel(), side="left")
    up_to = np.searchsorted(ordered, clean.ravel(), side="right")
    return float((below + up_to).mean() / (2 * ordered.size))


def distorted_image(image: np.ndarray, data: DataConfig) -> np.ndarray:
    """What the task starts from, at the image's own size, (H, W, 3) uint8: for sr shrunk and enlarged by bicubic."""
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
