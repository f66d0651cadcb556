"""Count the floating-point operations of a stage's step, by part, without computing it.

PyTorch's counter inspects each operation's shapes. It covers convolutions and matrix products, forward and backward; a
multiplication and an addition are two operations. Activations, normalisation and Adam move memory rather than compute
and are not counted, but operator calls are: each takes time, however small its work. The step is the study's, run on
tensors with shapes and no values, so that a laptop counts the largest one within seconds.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from study.config import PerceptualNetwork, RunConfig, Stage
from study.cost.measurement import give_random_upstream
from study.data import ImageSet, bicubic
from study.metrics.evaluator import study_evaluator
from study.models import Autoencoder
from study.models.backbones import ImageNetModule
from study.models.build import build_generator
from study.models.lpips_distance import LpipsDistance
from study.training.artifact_store import ArtifactFolder
from study.training.context import RunContext
from study.training.stages.graph import STAGES
from study.training.state import TrainState

OTHER = "other"
"""The part of operations outside networks, such as downsampling images for a loss."""

_FROZEN: dict[type[nn.Module], str] = {
    Autoencoder: "autoencoder",
    ImageNetModule: "perceptual",
    LpipsDistance: "perceptual",
}


@dataclass(frozen=True)
class Operations:
    """Operations of a step, or of one image.

    Attributes:
        parts: floating-point operations by network and pass, such as `generator backward`; `reference` is a forward
            pass without graph, of a target.
        calls: of PyTorch's operators that create or change tensors.
    """

    parts: dict[str, int]
    calls: int

    @property
    def total(self) -> int:
        """Operations of all parts."""
        return sum(self.parts.values())


def counting_context(folder: Path) -> RunContext:
    """Return a context to count in, with one blank image and weights of zeros.

    Args:
        folder: for the networks that stages start from; further counts reuse them.
    """
    nothing = ImageSet.loaded("nothing", ("nothing",), (np.zeros((1024, 1024, 3), np.uint8),))
    device = torch.device("cpu")
    backbones = _shapes_of_backbones(folder)
    return RunContext(
        nothing, nothing, ArtifactFolder(folder / "artifacts"), study_evaluator(None, device), backbones, device
    )


def count_step(config: RunConfig, stage: Stage, context: RunContext) -> Operations:
    """Count a step of a stage in which all layers train.

    Args:
        config: the run.
        stage: any except `critics`, whose networks differ between levels.
        context: by `counting_context`.

    Raises:
        ValueError: the stage is critics.
    """
    prepare = STAGES[stage].prepare
    if prepare is None:
        raise ValueError("operations of stage critics are not counted: images and networks differ between its levels")
    give_random_upstream(config, stage, context)
    state, step, batches = prepare(config, context)
    state.iteration = STAGES[stage].iterations(config) - 1  # after the share in which layers are frozen
    sides = (batches.patch // batches.pairs.scale, batches.patch)
    with _without_values(), _PartCounter(_owners(state, stage)) as counter, _Calls() as calls:
        lq, hr = (torch.rand(batches.batch, 3, side, side) for side in sides)
        step(state, *(images.contiguous(memory_format=torch.channels_last) for images in (lq, hr)))
    return Operations(counter.parts, calls.number)


@contextmanager
def _without_values() -> Iterator[None]:
    """Compute shapes alone; drop the matrices without values that the bicubic resize has cached meanwhile."""
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        bicubic._bands.cache_clear()


def count_image(config: RunConfig, height: int, width: int) -> Operations:
    """Count the generator's forward pass on one image, given the HR sides in pixels."""
    scale = config.data.scale
    generator = build_generator(config.generator, scale).eval()
    owners = dict.fromkeys(generator.modules(), "generator")
    with (
        _without_values(),
        torch.no_grad(),
        _PartCounter(owners) as counter,
        _Calls() as calls,
    ):
        generator(torch.rand(1, 3, height // scale, width // scale))
    return Operations(counter.parts, calls.number)


def _shapes_of_backbones(folder: Path) -> dict[PerceptualNetwork, Path]:
    """Write the frozen ImageNet networks with zeros for values, a kilobyte each; return the files."""
    from torchvision import models  # late: it is slow to import

    builders: dict[PerceptualNetwork, Callable[..., nn.Module]] = {
        "vgg19": models.vgg19,
        "vgg16": models.vgg16,
        "alexnet": models.alexnet,
        "squeezenet": models.squeezenet1_1,
    }
    paths: dict[PerceptualNetwork, Path] = {}
    for name, build in builders.items():
        with torch.device("meta"):
            shapes = build(weights=None).get_submodule("features").state_dict()
        paths[name] = folder / f"{name}.pth"
        torch.save({key: torch.zeros(()).expand(tensor.shape) for key, tensor in shapes.items()}, paths[name])
    return paths


def _owners(state: TrainState, stage: Stage) -> dict[nn.Module, str]:
    """Return the part of each layer of the trained networks; frozen networks are recognised by type."""
    networks = {"autoencoder" if stage == "autoencoder" else "generator": state.model, "average": state.ema}
    networks |= {name.replace("adversarial", "discriminator"): net for name, net in state.discriminators.items()}
    return {layer: name for name, network in networks.items() for layer in network.modules()}


class _Calls(TorchDispatchMode):
    """Counts operator calls, without views, which move nothing."""

    number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += not func.is_view
        return func(*args, **(kwargs or {}))


class _PartCounter:
    """Counts operations by part, from entry to exit; the current part is the network whose module runs."""

    def __init__(self, owners: dict[nn.Module, str]) -> None:
        self.parts: dict[str, int] = {}
        self._owners, self._counter = owners, FlopCounterMode(display=False)
        self._part, self._counted, self._depth = OTHER, 0, 0
        self._contexts = ExitStack()

    def __enter__(self) -> "_PartCounter":
        self._contexts.enter_context(self._counter)
        for handle in (
            register_module_forward_pre_hook(self._enter_module),
            register_module_forward_hook(self._leave_module, always_call=True),
        ):
            self._contexts.callback(handle.remove)
        return self

    def __exit__(self, *error: Any) -> None:
        self._switch(OTHER)
        self._contexts.close()

    def _switch(self, part: str) -> None:
        total = int(self._counter.get_total_flops())
        if total > self._counted:
            self.parts[self._part] = self.parts.get(self._part, 0) + total - self._counted
        self._part, self._counted = part, total

    def _enter_module(self, module: nn.Module, inputs: Any) -> None:
        if self._depth == 0:
            self._switch(f"{self._name(module)} {'forward' if torch.is_grad_enabled() else 'reference'}")
        self._depth += 1

    def _leave_module(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._switch(OTHER)
            backward = self._backward_of(f"{self._name(module)} backward")
            for tensor in output if isinstance(output, tuple) else (output,):
                if isinstance(tensor, Tensor) and tensor.requires_grad:
                    tensor.register_hook(backward)  # called when the gradient arrives, before it goes on

    def _backward_of(self, part: str) -> Callable[[Tensor], None]:
        return lambda gradient: self._switch(part)

    def _name(self, module: nn.Module) -> str:
        if module in self._owners:
            return self._owners[module]
        return next((name for kind, name in _FROZEN.items() if isinstance(module, kind)), "losses")
