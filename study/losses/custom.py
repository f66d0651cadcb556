"""A loss of the user's: a Python file that defines `loss(sr, hr, lq)`, in place of the fidelity term.

Its text is read where the user's command runs, tried out there, and handed to whoever trains. A configuration holds its
path and its hash, which are code to nobody: only a text that was handed over is ever run.
"""

import hashlib
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from study.config import custom_loss_digest, custom_loss_path

CustomLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(sr, hr, lq) -> one value per image, shape (N,), at least float32."""

TRIED_IMAGES = 2


class CustomLossError(ValueError):
    """A custom loss that cannot be used: names the file, and what is wrong with it."""


def read_custom_loss(own: str) -> str:
    """Read the text of `loss.custom`.

    Raises:
        CustomLossError: it cannot be read as text, or it is no longer what it was when its hash was taken.
    """
    path = custom_loss_path(own)
    try:
        content = Path(path).read_bytes()
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CustomLossError(
            f"loss.custom must name a Python file in UTF-8, but {path} cannot be read ({error})"
        ) from error
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != custom_loss_digest(own):
        raise CustomLossError(f"loss.custom: {path} was changed while it was read; start again")
    return text


def load_custom_loss(own: str, texts: Mapping[str, str]) -> CustomLoss:
    """Make the function that `loss.custom` names.

    Args:
        own: the field's value.
        texts: of the losses that may be run, by hash. The file itself is not looked at.

    Raises:
        CustomLossError: it is not among them, raises when it is read, or defines no `loss`.
    """
    digest, path = custom_loss_digest(own), custom_loss_path(own)
    if digest not in texts:
        raise CustomLossError(
            f"loss.custom is {own}, which was not given to the command that runs: a file is not run because a "
            "configuration names it; name it with --set loss.custom=FILE, or let the search space name it in its base, or "
            "among the values that it tries out"
        )
    module = ModuleType(f"custom_loss_{digest.removeprefix('sha256:')[:16]}")
    sys.modules[module.__name__] = module  # where dataclasses look for it
    try:
        exec(compile(texts[digest], path, "exec"), module.__dict__)  # because a person named this file
    except Exception as error:
        raise CustomLossError(f"{path} cannot be read: {_described(error, path)}; correct it") from error
    loss = getattr(module, "loss", None)
    if not callable(loss):
        raise CustomLossError(
            f"{path} must define `def loss(sr, hr, lq)`, but the functions in it are: {_functions_of(module)}; "
            "name yours so"
        )
    function: CustomLoss = loss
    return function


def try_custom_loss(own: str, texts: Mapping[str, str], *, patch: int, scale: int, device: torch.device) -> None:
    """Ask a custom loss about random images and make sure that its answer can be descended.

    Args:
        own, texts: as for `load_custom_loss`.
        patch: side of the HR images that it will get, in pixels.
        scale: by how much the LR images are smaller.
        device: where it will train.

    Raises:
        CustomLossError: it raises, or returns anything but one finite value per image that hangs on `sr`.
    """
    path = custom_loss_path(own)
    function = load_custom_loss(own, texts)
    numbers = torch.Generator().manual_seed(0)
    draw = lambda side: torch.rand(TRIED_IMAGES, 3, side, side, generator=numbers)  # noqa: E731
    hr, lq = draw(patch).to(device), draw(patch // scale).to(device)
    # Not clamped, and never equal to the HR image, as in training.
    sr = (1.5 * draw(patch).to(device) - 0.25).requires_grad_()
    given = hr.clone(), lq.clone()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            values = function(sr, hr, lq)
        except Exception as error:
            shapes = f"sr and hr {tuple(hr.shape)}, lq {tuple(lq.shape)}"
            raise CustomLossError(
                f"{path}: loss failed on random images ({shapes}, on {device}): {_described(error, path)}; correct it"
            ) from error
    if not torch.equal(hr, given[0]) or not torch.equal(lq, given[1]):
        raise CustomLossError(
            f"{path}: loss must leave hr and lq as they are, which other terms read, but it changed them; "
            "work on a copy: hr.clone()"
        )
    _check_values(path, values)
    _check_gradient(path, values, sr)


def _check_values(path: str, values: object) -> None:
    if not isinstance(values, Tensor) or values.shape != (TRIED_IMAGES,):
        got = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise CustomLossError(
            f"{path}: loss must return one value per image, a tensor of shape (N,), but for {TRIED_IMAGES} images it "
            f"returned {got}; average over channels, rows and columns alone: .mean(dim=(1, 2, 3))"
        )
    if values.dtype not in (torch.float32, torch.float64):
        raise CustomLossError(
            f"{path}: loss must return at least float32, but it returned {values.dtype}; convert with .float() before "
            "it averages"
        )
    if not values.isfinite().all():
        raise CustomLossError(
            f"{path}: loss must be finite, but for random images it returned {values.tolist()}; look for a division "
            "by 0, or a root or logarithm of 0"
        )


def _check_gradient(path: str, values: Tensor, sr: Tensor) -> None:
    if values.requires_grad:
        values.sum().backward(inputs=[sr])
    if sr.grad is None or not sr.grad.any():
        raise CustomLossError(
            f"{path}: loss must have a gradient towards sr, but it has none: nothing would train; leave out detach(), "
            "no_grad(), round() and comparisons"
        )
    if not sr.grad.isfinite().all():
        raise CustomLossError(
            f"{path}: the loss's gradient towards sr must be finite, but for random images it is not; add a small "
            "number below roots and logarithms, such as (x + 1e-12).sqrt()"
        )


def _described(error: Exception, path: str) -> str:
    """What was raised, with the line of the user's file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}{where}"


def _functions_of(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("__")]
    return ", ".join(names) or "none"
