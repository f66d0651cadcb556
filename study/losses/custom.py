"""A custom loss: a Python file that defines `loss(sr, hr, lq)`, in place of the fidelity term.

The user's command reads and tests its text, and passes it to the training processes. A configuration holds its path and
hash alone: only a text that was passed on is ever executed.
"""

import hashlib
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from study.config import custom_loss_digest, custom_loss_path

CustomLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(sr, hr, lq) -> one value per image, shape (N,), at least float32."""

TEST_IMAGES = 2


class CustomLossError(ValueError):
    """A custom loss that cannot be used; the message names the file and the rule."""


def read_custom_loss(custom: str) -> str:
    """Read the text of `loss.custom`.

    Raises:
        CustomLossError: it cannot be read as text, or has changed since its hash was computed.
    """
    path = custom_loss_path(custom)
    try:
        content = Path(path).read_bytes()
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CustomLossError(
            f"loss.custom must name a Python file in UTF-8, but {path} cannot be read ({error})"
        ) from error
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != custom_loss_digest(custom):
        raise CustomLossError(f"loss.custom: {path} has changed since the command started; start again")
    return text


def load_custom_loss(custom: str, texts: Mapping[str, str]) -> CustomLoss:
    """Return the function that `loss.custom` names.

    Args:
        custom: the field's value.
        texts: of the losses that may be executed, by hash. The file itself is not read.

    Raises:
        CustomLossError: it is not among them, raises when it is executed, or defines no `loss`.
    """
    digest, path = custom_loss_digest(custom), custom_loss_path(custom)
    if digest not in texts:
        raise CustomLossError(
            f"loss.custom is {custom}, which was not given to the command that runs: a file is not executed because "
            "a configuration names it; name it with --set loss.custom=FILE, in the base of the search space, or among "
            "the values that the space suggests"
        )
    module = ModuleType(f"custom_loss_{digest.removeprefix('sha256:')[:16]}")
    sys.modules[module.__name__] = module  # dataclasses look it up
    try:
        exec(compile(texts[digest], path, "exec"), module.__dict__)  # the user named this file
    except Exception as error:
        raise CustomLossError(f"{path} cannot be executed: {_described(error, path)}; correct it") from error
    loss = getattr(module, "loss", None)
    if not callable(loss):
        raise CustomLossError(
            f"{path} must define `def loss(sr, hr, lq)`, but its functions are: {_functions_of(module)}; rename yours"
        )
    function: CustomLoss = loss
    return function


def try_custom_loss(custom: str, texts: Mapping[str, str], *, patch: int, scale: int, device: torch.device) -> None:
    """Call a custom loss with random images and check that its result can be minimised.

    Args:
        custom, texts: as for `load_custom_loss`.
        patch: side of the HR images in training, in pixels.
        scale: the SR factor.
        device: of the training.

    Raises:
        CustomLossError: it raises, changes `hr` or `lq`, or returns anything but one finite value per image with a
            finite gradient for `sr`.
    """
    path = custom_loss_path(custom)
    function = load_custom_loss(custom, texts)
    numbers = torch.Generator().manual_seed(0)
    draw = lambda side: torch.rand(TEST_IMAGES, 3, side, side, generator=numbers)  # noqa: E731
    hr, lq = draw(patch).to(device), draw(patch // scale).to(device)
    # Not clamped, and unequal to the HR image, as in training.
    sr = (1.5 * draw(patch).to(device) - 0.25).requires_grad_()
    given = hr.clone(), lq.clone()
    where = f"on random images (sr and hr {tuple(hr.shape)}, lq {tuple(lq.shape)}, on {device})"
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), explained(path, where):
        values = function(sr, hr, lq)
    if not torch.equal(hr, given[0]) or not torch.equal(lq, given[1]):
        raise CustomLossError(
            f"{path}: loss must not change hr and lq, which other terms read, but it did; work on a copy: hr.clone()"
        )
    _check_values(path, values)
    _check_gradient(path, values, sr)


@contextmanager
def explained(path: str, where: str) -> Iterator[None]:
    """Turn whatever a custom loss, or its backward pass, raises into a CustomLossError.

    Args:
        path: of the loss's file.
        where: on which images it was called, for the message.
    """
    try:
        yield
    except Exception as error:
        inplace = "modified by an inplace operation" in str(error)
        remedy = (
            "change no tensor in place: x.exp(), not x.exp_(), and x = x + y, not x += y" if inplace else "correct it"
        )
        raise CustomLossError(f"{path}: loss failed {where}: {_described(error, path)}; {remedy}") from error


def _check_values(path: str, values: object) -> None:
    if not isinstance(values, Tensor) or values.shape != (TEST_IMAGES,):
        got = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise CustomLossError(
            f"{path}: loss must return one value per image, a tensor of shape (N,), but for {TEST_IMAGES} images it "
            f"returned {got}; average over channels, rows and columns alone: .mean(dim=(1, 2, 3))"
        )
    if values.dtype not in (torch.float32, torch.float64):
        raise CustomLossError(
            f"{path}: loss must return at least float32, but it returned {values.dtype}; convert with .float() before "
            "averaging"
        )
    if not values.isfinite().all():
        raise CustomLossError(
            f"{path}: loss must be finite, but for random images it returned {values.tolist()}; look for a division "
            "by 0, or a root or logarithm of 0"
        )


def _check_gradient(path: str, values: Tensor, sr: Tensor) -> None:
    if values.requires_grad:
        with explained(path, "on random images"):
            values.sum().backward(inputs=[sr])
    if sr.grad is None or not sr.grad.any():
        raise CustomLossError(
            f"{path}: loss must have a gradient for sr, but it has none, so nothing would train; remove detach(), "
            "no_grad(), round() and comparisons"
        )
    if not sr.grad.isfinite().all():
        raise CustomLossError(
            f"{path}: the loss's gradient for sr must be finite, but for random images it is not; add a small "
            "number inside roots and logarithms, such as (x + 1e-12).sqrt()"
        )


def _described(error: Exception, path: str) -> str:
    """Format an exception with its line in the user's file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"


def _functions_of(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("__")]
    return ", ".join(names) or "none"
