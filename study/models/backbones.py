"""The frozen ImageNet networks under perceptual losses and metrics: find, fetch and load their weights."""

import hashlib
import http.client
import io
import logging
import os
import pickle
import shutil
import threading
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn

from study.files import write_atomically

BackboneName = Literal["vgg19", "vgg16", "alexnet", "squeezenet"]

BACKBONES: Mapping[BackboneName, str] = MappingProxyType(
    {
        "vgg19": "the perceptual loss of ESRGAN, SPSR, LDL and AESOP",
        "vgg16": "LPIPS (VGG-16), DISTS, MDF's mix with VGG",
        "alexnet": "LPIPS (AlexNet), the perceptual objective of every study",
        "squeezenet": "LPIPS (SqueezeNet), a cheap perceptual loss",
    }
)
"""What each backbone is needed for."""

logger = logging.getLogger(__name__)

# torchvision's own file names, which end in the first digits of the file's SHA-256, then features-only files.
_FILE_NAMES: Mapping[BackboneName, tuple[str, str]] = MappingProxyType(
    {
        "vgg19": ("vgg19-dcbb9e9d.pth", "vgg19_features.pth"),
        "vgg16": ("vgg16-397923af.pth", "vgg16_features.pth"),
        "alexnet": ("alexnet-owt-7be5be79.pth", "alexnet_features.pth"),
        "squeezenet": ("squeezenet1_1-b8a52dc0.pth", "squeezenet1_1_features.pth"),
    }
)
_PUBLISHED_AT = "https://download.pytorch.org/models"
_BLOCK_BYTES = 1 << 20


class AlwaysEval(nn.Module):
    """A module that stays in evaluation mode when train() is called on it or on a parent."""

    def train(self, mode: bool = True) -> Self:
        """Ignore `mode`: dropout and batch statistics have no place in a frozen network."""
        return super().train(False)


class ImageNetModule(AlwaysEval):
    """Base of modules that compare features of torchvision's networks: normalises images as ImageNet training did."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def normalised(self, images: Tensor) -> Tensor:
        """Normalise images in [0, 1], shape (N, 3, H, W), by ImageNet's mean and deviation."""
        return (images - self.get_buffer("mean")) / self.get_buffer("std")


def find_backbone(name: BackboneName, weights_dir: Path | None) -> Path | None:
    """Find a backbone's weights in `weights_dir`, then in torch's cache; return None if there are none.

    `weights_dir` may hold torchvision's file (`alexnet-owt-7be5be79.pth`) or one with the convolutions alone
    (`alexnet_features.pth`).

    Raises:
        ValueError: if `weights_dir` is given but is no folder.
    """
    candidates = [_cached(name)]
    if weights_dir is not None:
        if not weights_dir.is_dir():
            raise ValueError(f"the weights folder {weights_dir} does not exist; create it or leave it out")
        candidates = [weights_dir / file_name for file_name in _FILE_NAMES[name]] + candidates
    return next((path for path in candidates if path.is_file()), None)


def fetch_backbone(name: BackboneName, weights_dir: Path | None, *, timeout_sec: float = 20.0) -> Path | None:
    """Find a backbone's weights, or try once to download them; warn and return None if that fails.

    A download is moved into torch's cache, under torchvision's file name, after its hash was checked.

    Args:
        timeout_sec: bounds the whole attempt, name look-up included, not only each read.

    Raises:
        ValueError: if `weights_dir` is given but is no folder.
    """
    found = find_backbone(name, weights_dir)
    if found is not None:
        return found
    target = _cached(name)
    failure = _download_within(timeout_sec, published_url(name), target)
    if failure is None:
        return target
    logger.warning(
        "no weights for %s: neither in %s nor in torch's cache, and the download failed (%s); the file is %s",
        name, weights_dir or "a folder of yours (--weights)", failure, target.name,
    )  # fmt: skip
    return None


def collect_backbone(
    name: BackboneName, folder: Path, *, features_only: bool = False, advance: Callable[[int], None] | None = None
) -> Path:
    """Put a backbone's weights, from torch's cache or downloaded, into a folder for machines without internet.

    A file that the folder has already is kept after its hash was checked.

    Args:
        folder: created if absent.
        features_only: keep the convolutions alone, which suffice for losses and metrics.
        advance: called with the bytes of each downloaded block.

    Returns:
        The file.

    Raises:
        ValueError: a hash that is not the published one, or a file that does not fit.
        OSError: the download failed, or the file system refused.
        http.client.HTTPException: the server closed the connection.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole, features = (folder / file_name for file_name in _FILE_NAMES[name])
    if features_only and features.is_file():
        load_features(name, features)
        return features
    if not whole.is_file():
        cached = _cached(name)
        if cached.is_file():
            shutil.copyfile(cached, whole)
        else:
            _download(published_url(name), whole, cancelled=threading.Event(), read_timeout_sec=60, advance=advance)
    _check_digest(whole, file_digest(whole))
    if not features_only:
        return whole
    state = {f"features.{key}": tensor.clone() for key, tensor in _read_features(whole).items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(features, buffer.getvalue())
    whole.unlink()
    return features


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_features(name: BackboneName, path: Path) -> nn.Sequential:
    """Build torchvision's `features` stack of a backbone with the weights in `path`, frozen and in eval mode.

    Its ReLUs do not work in place, so what a layer returns stays valid.

    Args:
        path: a state dict of the whole network or of its convolutions alone (names with or without
            `features.`), read without unpickling objects.

    Raises:
        ValueError: if the file cannot be read as such a state dict, naming what does not fit.
        OSError: if the file cannot be opened.
    """
    features = _empty_features(name)
    state = _read_features(path)
    try:
        # The stack was built without memory: take over the tensors rather than copy into them.
        features.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{path} does not hold the weights of {name}: {error}") from error
    for module in features.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return features.float().requires_grad_(False).eval()


def published_url(name: BackboneName) -> str:
    """Return the address of torchvision's ImageNet weights of a backbone."""
    # Spelled here because importing torchvision takes seconds; a test compares it with torchvision's.
    return f"{_PUBLISHED_AT}/{_FILE_NAMES[name][0]}"


def _cached(name: BackboneName) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / _FILE_NAMES[name][0]


def _empty_features(name: BackboneName) -> nn.Sequential:
    """Build the layers on the meta device: VGG's classifier alone would take half a gigabyte."""
    # Imported late: torchvision is slow to import, and fails beside a torch of another build.
    from torchvision import models

    build = {
        "vgg19": models.vgg19,
        "vgg16": models.vgg16,
        "alexnet": models.alexnet,
        "squeezenet": models.squeezenet1_1,
    }[name]
    with torch.device("meta"):
        return cast(nn.Sequential, build(weights=None).features)


def _read_features(path: Path) -> dict[str, Tensor]:
    """Read the convolutions' tensors, named as inside `features`; a classifier is left out."""
    with path.open("rb") as file:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        # A truncated archive shows as an OSError too, although the file itself could be opened.
        except (RuntimeError, OSError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{path} is not a readable file of weights ({reason}); get it again") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} must hold a state dict, names to tensors, but holds {type(state).__name__}")
    return {key.removeprefix("features."): value for key, value in state.items() if not key.startswith("classifier.")}


def _download_within(timeout_sec: float, url: str, target: Path) -> str | None:
    """Download in a thread that can be abandoned, since a name look-up has no time limit.

    Returns:
        None if the file was downloaded, else the reason; the same one for a slow attempt and for a slow read, which
        have the same limit.
    """
    late = f"not done within {timeout_sec:g} s"
    cancelled = threading.Event()
    failures: list[str] = []

    def attempt() -> None:
        try:
            _download(url, target, cancelled=cancelled, read_timeout_sec=timeout_sec)
        except (OSError, http.client.HTTPException, ValueError) as error:
            timed_out = isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError)
            failures.append(late if timed_out else f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=attempt, name=f"fetch {target.name}", daemon=True)
    thread.start()
    thread.join(timeout_sec)
    if thread.is_alive():
        cancelled.set()
        return late
    return failures[0] if failures else None


def _download(
    url: str,
    target: Path,
    *,
    cancelled: threading.Event,
    read_timeout_sec: float,
    advance: Callable[[int], None] | None = None,
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=read_timeout_sec) as response, partial.open("wb") as file:
            # read1 returns the bytes of one packet: a slow server cannot delay the check for cancellation.
            while block := response.read1(_BLOCK_BYTES):
                if cancelled.is_set():
                    return
                digest.update(block)
                file.write(block)
                if advance is not None:
                    advance(len(block))
        _check_digest(target, digest.hexdigest())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _check_digest(path: Path, digest: str) -> None:
    """Raise ValueError unless the hash begins with the digits at the end of the file's name."""
    expected = path.stem.rpartition("-")[2]
    if not digest.startswith(expected):
        raise ValueError(f"its SHA-256 {digest[:8]} is not the published {expected}; remove {path} if it is there")
