"""Interpolations of two trained generators: weight by weight, or of their images, evaluated without any training."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from study.config import RunConfig
from study.data import Pairs, to_uint8
from study.models import load_weights, save_weights
from study.models.build import build_generator
from study.models.tiling import Upscaler, memory_bound
from study.record.events import InterpolationEvaluated
from study.record.paths import RunDirectory, point_samples
from study.record.points import FidelityPoint, InterpolatedPoint, InterpolationSpace, Spent, TrialPoint
from study.training.context import RunContext
from study.training.evaluation import Evaluation, evaluate, evaluate_generator
from study.training.loop import Stopped
from study.training.stages.artifacts import load_generator


@dataclass(frozen=True)
class Trained:
    """A generator that a study has trained: a point of a trial, or the fidelity generator that a run starts from.

    Attributes:
        point: which.
        config: the run of the trial, or one that starts from the generator.
    """

    point: TrialPoint | FidelityPoint
    config: RunConfig

    def load(self, context: RunContext, run_dir: RunDirectory) -> nn.Module:
        """Return the generator, in eval mode on the context's device."""
        if isinstance(self.point, FidelityPoint):
            return load_generator(self.config, context)
        generator = build_generator(self.config.generator, self.config.data.scale)
        load_weights(generator, run_dir.weights(self.point))
        return generator.eval().to(context.device)


def interpolate_weights(first: nn.Module, second: nn.Module, share: float, into: nn.Module) -> nn.Module:
    """Give `into` the weights (1 - share) * first + share * second; what is not floating point is the second's.

    Raises:
        ValueError: they are not the same network.
    """
    there, here = first.state_dict(), second.state_dict()
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in (there, here)]
    if shapes[0] != shapes[1]:
        raise ValueError("only weights of the same network can be interpolated; interpolate the images instead")
    mixed = {
        name: torch.lerp(there[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in here.items()
    }
    into.load_state_dict(mixed)
    return into


def evaluate_interpolations(
    first: Trained,
    second: Trained,
    *,
    spaces: Sequence[InterpolationSpace],
    shares: Sequence[float],
    context: RunContext,
    run_dir: RunDirectory,
) -> Iterator[InterpolationEvaluated]:
    """Make and evaluate the interpolations of two generators.

    Args:
        first, second: the parents.
        spaces: in weights, in images, or both.
        shares: of the second parent, above 0 and below 1.
        context: images, artifacts, metrics; its `stopping` is read before each interpolation.
        run_dir: gets the crops of each interpolation and, of one of weights, the weights.

    Yields:
        Each interpolation, evaluated.

    Raises:
        Stopped: the context was asked to stop; what was yielded counts.
        ValueError: an output that is not finite, or weights of different networks.
    """
    parents = first.load(context, run_dir), second.load(context, run_dir)
    test = context.val_pairs(second.config.data)
    kept = _kept_images(parents, test) if "images" in spaces else []
    for space in spaces:
        for share in shares:
            if context.stopping():
                raise Stopped(f"stopped before the interpolation of {space} at {share:g}")
            point, began = InterpolatedPoint(first.point, second.point, space, share), time.monotonic()
            samples = run_dir.root / point_samples(point)
            if space == "weights":
                mixed = interpolate_weights(*parents, share, second.load(context, run_dir))
                evaluation = evaluate_generator(mixed, test, context.evaluator, samples)
                save_weights(mixed, run_dir.weights(point), layout="plain")
            else:
                evaluation = _interpolate_images(kept, share, test, context, samples)
            yield InterpolationEvaluated(
                point=point,
                metrics=evaluation.metrics,
                images=evaluation.images,
                spent=Spent(device_seconds=time.monotonic() - began),
                samples=point_samples(point),
            )


def _kept_images(parents: tuple[nn.Module, nn.Module], test: Pairs) -> list[tuple[Tensor, Tensor]]:
    """What both make of each held-out image, as a file would hold it, for all shares to be interpolated from."""
    made = []
    device = next(parents[0].parameters()).device
    upscalers = [
        Upscaler(parent.eval().to(memory_format=torch.channels_last), test.scale, bound=memory_bound(device))
        for parent in parents
    ]
    with torch.no_grad():
        for index in range(len(test.names)):
            lq = test.tensors(index)[0].to(device)
            first, second = (to_uint8(upscale(lq).clamp(0, 1)).cpu() for upscale in upscalers)
            made.append((first, second))
    return made


def _interpolate_images(
    kept: Sequence[tuple[Tensor, Tensor]], share: float, test: Pairs, context: RunContext, samples: Path
) -> Evaluation:
    interpolated = (torch.lerp(first.float() / 255, second.float() / 255, share) for first, second in kept)
    return evaluate(lambda lq: next(interpolated).to(lq.device), test, context.evaluator, context.device, samples)
