"""Interpolations of two trained generators, of their weights or of their images, evaluated without training."""

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
from study.training.active_clock import ActiveClock
from study.training.context import RunContext
from study.training.evaluation import Evaluation, evaluate, evaluate_generator
from study.training.loop import Stopped
from study.training.stages.fidelity import load_generator


@dataclass(frozen=True)
class Trained:
    """A trained generator: a point of a trial, or the fidelity generator that a run starts from.

    Attributes:
        point: which.
        config: the trial's run, or one that starts from the fidelity generator.
    """

    point: TrialPoint | FidelityPoint
    config: RunConfig

    def load(self, context: RunContext, run_dir: RunDirectory) -> nn.Module:
        """Return the generator in eval mode on the context's device."""
        if isinstance(self.point, FidelityPoint):
            return load_generator(self.config, context)
        generator = build_generator(self.config.generator, self.config.data.scale)
        load_weights(generator, run_dir.weights(self.point))
        return generator.eval().to(context.device)


def interpolate_weights(first: nn.Module, second: nn.Module, share: float, into: nn.Module) -> nn.Module:
    """Load (1 - share) * first + share * second into `into`; tensors without floating point are the second's.

    Raises:
        ValueError: the networks differ.
    """
    state, other = first.state_dict(), second.state_dict()
    shapes = [{name: tensor.shape for name, tensor in each.items()} for each in (state, other)]
    if shapes[0] != shapes[1]:
        raise ValueError("only weights of the same network can be interpolated; interpolate the images instead")
    mixed = {
        name: torch.lerp(state[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in other.items()
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
    """Compute and evaluate the interpolations of two generators.

    Args:
        first, second: the parents.
        spaces: `weights`, `images` or both.
        shares: of the second parent.
        context: images, artifacts, metrics; its `stopping` is called before each interpolation.
        run_dir: gets the crops of each interpolation and, of one of weights, the weights.

    Yields:
        Each interpolation, evaluated.

    Raises:
        Stopped: `context.stopping` returned True; the interpolations yielded before are stored.
        ValueError: an output is not finite, or the networks differ.
    """
    parents = first.load(context, run_dir), second.load(context, run_dir)
    pairs = context.val_pairs(second.config.data)
    outputs = _outputs(parents, pairs) if "images" in spaces else []
    with ActiveClock() as clock:
        for space in spaces:
            for share in shares:
                if context.stopping():
                    raise Stopped(f"stopped before the interpolation of {space} at {share:g}")
                point, began = InterpolatedPoint(first.point, second.point, space, share), clock.seconds()
                samples = run_dir.root / point_samples(point)
                if space == "weights":
                    mixed = interpolate_weights(*parents, share, second.load(context, run_dir))
                    evaluation = evaluate_generator(mixed, pairs, context.evaluator, samples)
                    save_weights(mixed, run_dir.weights(point), layout="plain")
                else:
                    evaluation = _interpolate_images(outputs, share, pairs, context, samples)
                yield InterpolationEvaluated(
                    point=point,
                    metrics=evaluation.metrics,
                    images=evaluation.images,
                    spent=Spent(device_seconds=clock.seconds() - began),
                    samples=point_samples(point),
                )


def _outputs(parents: tuple[nn.Module, nn.Module], pairs: Pairs) -> list[tuple[Tensor, Tensor]]:
    """Return both parents' outputs of each held-out image, as 8-bit images on the CPU."""
    outputs = []
    device = next(parents[0].parameters()).device
    upscalers = [
        Upscaler(parent.eval().to(memory_format=torch.channels_last), pairs.scale, bound=memory_bound(device))
        for parent in parents
    ]
    with torch.no_grad():
        for index in range(len(pairs.names)):
            lq = pairs.tensors(index)[0].to(device)
            first, second = (to_uint8(upscale(lq).clamp(0, 1)).cpu() for upscale in upscalers)
            outputs.append((first, second))
    return outputs


def _interpolate_images(
    outputs: Sequence[tuple[Tensor, Tensor]], share: float, pairs: Pairs, context: RunContext, samples: Path
) -> Evaluation:
    interpolated = (torch.lerp(first.float() / 255, second.float() / 255, share) for first, second in outputs)
    return evaluate(lambda lq: next(interpolated).to(lq.device), pairs, context.evaluator, context.device, samples)
