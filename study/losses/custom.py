"""A loss of the user's: a Python file that defines `loss(sr, hr, low)`, in place of the fidelity term.

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

from study.config import own_loss_digest, own_loss_path

OwnLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(sr, hr, low) -> one value per image, shape (N,), at least float32."""

TRIED_IMAGES = 2


class OwnLossError(ValueError):
    """An own loss that cannot be used: names the file, and what is wrong with it."""


def read_own_loss(own: str) -> str:
    """Read the text of `loss.own`.

    Raises:
        OwnLossError: it cannot be read as text, or it is no longer what it was when its hash was taken.
    """
    path = own_loss_path(own)
    try:
        content = Path(path).read_bytes()
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise OwnLossError(f"loss.own must name a Python file in UTF-8, but {path} cannot be read ({error})") from error
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != own_loss_digest(own):
        raise OwnLossError(f"loss.own: {path} was changed while it was read; start again")
    return text


def load_own_loss(own: str, texts: Mapping[str, str]) -> OwnLoss:
    """Make the function that `loss.own` names.

    Args:
        own: the field's value.
        texts: of the losses that may be run, by hash. The file itself is not looked at.

    Raises:
        OwnLossError: it is not among them, raises when it is read, or defines no `loss`.
    """
    digest, path = own_loss_digest(own), own_loss_path(own)
    if digest not in texts:
        raise OwnLossError(
            f"loss.own is {own}, which was not given to the command that runs: a file is not run because a "
            "configuration names it; name it with --set loss.own=FILE, or let the search space name it in its base, or "
            "among the values that it tries out"
        )
    module = ModuleType(f"own_loss_{digest.removeprefix('sha256:')[:16]}")
    sys.modules[module.__name__] = module  # where dataclasses look for it
    try:
        exec(compile(texts[digest], path, "exec"), module.__dict__)  # because a person named this file
    except Exception as error:
        raise OwnLossError(f"{path} cannot be read: {_described(error, path)}; correct it") from error
    loss = getattr(module, "loss", None)
    if not callable(loss):
        raise OwnLossError(
            f"{path} must define `def loss(sr, hr, low)`, but the functions in it are: {_functions_of(module)}; "
            "name yours so"
        )
    function: OwnLoss = loss
    return function


def try_own_loss(own: str, texts: Mapping[str, str], *, patch: int, scale: int, device: torch.device) -> None:
    """Ask an own loss about random images and make sure that its answer can be descended.

    Args:
        own, texts: as for `load_own_loss`.
        patch: side of the HR images that it will get, in pixels.
        scale: by how much the LR images are smaller.
        device: where it will train.

    Raises:
        OwnLossError: it raises, or returns anything but one finite value per image that hangs on `sr`.
    """
    path = own_loss_path(own)
    function = load_own_loss(own, texts)
    numbers = torch.Generator().manual_seed(0)
    draw = lambda side: torch.rand(TRIED_IMAGES, 3, side, side, generator=numbers)  # noqa: E731
    hr, low = draw(patch).to(device), draw(patch // scale).to(device)
    # Not clamped, and never equal to the HR image, as in training.
    sr = (1.5 * draw(patch).to(device) - 0.25).requires_grad_()
    given = hr.clone(), low.clone()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            values = function(sr, hr, low)
        except Exception as error:
            shapes = f"sr and hr {tuple(hr.shape)}, low {tuple(low.shape)}"
            raise OwnLossError(
                f"{path}: loss failed on random images ({shapes}, on {device}): {_described(error, path)}; correct it"
            ) from error
    if not torch.equal(hr, given[0]) or not torch.equal(low, given[1]):
        raise OwnLossError(
            f"{path}: loss must leave hr and low as they are, which other terms read, but it changed them; "
            "work on a copy: hr.clone()"
        )
    _check_values(path, values)
    _check_gradient(path, values, sr)


def _check_values(path: str, values: object) -> None:
    if not isinstance(values, Tensor) or values.shape != (TRIED_IMAGES,):
        got = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise OwnLossError(
            f"{path}: loss must return one value per image, a tensor of shape (N,), but for {TRIED_IMAGES} images it "
            f"returned {got}; average over channels, rows and columns alone: .mean(dim=(1, 2, 3))"
        )
    if values.dtype not in (torch.float32, torch.float64):
        raise OwnLossError(
            f"{path}: loss must return at least float32, but it returned {values.dtype}; convert with .float() before "
            "it averages"
        )
    if not values.isfinite().all():
        raise OwnLossError(
            f"{path}: loss must be finite, but for random images it returned {values.tolist()}; look for a division "
            "by 0, or a root or logarithm of 0"
        )


def _check_gradient(path: str, values: Tensor, sr: Tensor) -> None:
    if values.requires_grad:
        values.sum().backward(inputs=[sr])
    if sr.grad is None or not sr.grad.any():
        raise OwnLossError(
            f"{path}: loss must have a gradient towards sr, but it has none: nothing would train; leave out detach(), "
            "no_grad(), round() and comparisons"
        )
    if not sr.grad.isfinite().all():
        raise OwnLossError(
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
