"""Backbone weights: found in order, fetched within a time limit, refused when they do not fit."""

import hashlib
import http.server
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from study.models import backbones
from study.models.backbones import AlwaysEval, collect_backbone, fetch_backbone, find_backbone, load_features


@pytest.fixture(scope="module")
def squeezenet_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    state: dict[str, Tensor] = torchvision.models.squeezenet1_1(weights=None).state_dict()
    return state


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace torch's cache by an empty one."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def weights_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    return folder


class Handler(http.server.BaseHTTPRequestHandler):
    """A server that sends `payload` at once, byte by byte without end, or never."""

    payload = b"weights"

    def do_GET(self) -> None:
        if self.path.startswith("/silent"):
            self.server.released.wait(10)  # type: ignore[attr-defined]
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.payload)
        while self.path.startswith("/dribbling") and not self.server.released.wait(0.02):  # type: ignore[attr-defined]
            try:
                self.wfile.write(b".")
            except OSError:
                return

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.released = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    running.released.set()  # type: ignore[attr-defined]
    running.shutdown()
    running.server_close()
    thread.join()


def serve(
    monkeypatch: pytest.MonkeyPatch, url: str, *, digest: str = hashlib.sha256(Handler.payload).hexdigest()
) -> str:
    """Publish alexnet at a URL under a hash; return its file name."""
    file_name = f"alexnet-{digest[:8]}.pth"
    monkeypatch.setattr(backbones, "published_url", lambda _name: f"{url}/{file_name}")
    monkeypatch.setattr(backbones, "_FILE_NAMES", {"alexnet": (file_name, "alexnet_features.pth")})
    return file_name


def test_the_users_folder_comes_before_torchs_cache(cache: Path, weights_dir: Path) -> None:
    cache.mkdir(parents=True)
    candidates = [
        cache / "alexnet-owt-7be5be79.pth",
        weights_dir / "alexnet_features.pth",
        weights_dir / "alexnet-owt-7be5be79.pth",
    ]

    assert find_backbone("alexnet", weights_dir) is None
    for candidate in candidates:
        candidate.touch()
        assert find_backbone("alexnet", weights_dir) == candidate
    assert find_backbone("alexnet", None) == candidates[0]
    assert find_backbone("vgg19", weights_dir) is None


def test_a_misspelt_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"wieghts does not exist"):
        find_backbone("alexnet", tmp_path / "wieghts")


@pytest.mark.parametrize("name", ["vgg19", "vgg16", "alexnet", "squeezenet"])
def test_cached_name_is_that_of_torchvisions_download(name: backbones.BackboneName, cache: Path) -> None:
    """Another name would miss torch's cache, and have another file's hash."""
    cache.mkdir(parents=True)
    expected = cache / backbones.published_url(name).rpartition("/")[2]
    expected.touch()

    assert find_backbone(name, None) == expected


def test_a_download_lands_in_the_cache(server: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file_name = serve(monkeypatch, server)

    assert fetch_backbone("alexnet", None, timeout_sec=5) == cache / file_name
    assert (cache / file_name).read_bytes() == Handler.payload
    assert [path.name for path in cache.iterdir()] == [file_name]


@pytest.mark.usefixtures("cache")
def test_existing_files_are_not_downloaded(weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, "http://127.0.0.1:9")  # nothing listens there
    (weights_dir / "alexnet_features.pth").touch()

    assert fetch_backbone("alexnet", weights_dir) == weights_dir / "alexnet_features.pth"


def test_collecting_downloads_once_into_the_folder(
    server: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_name = serve(monkeypatch, server)
    pieces: list[int] = []

    path = collect_backbone("alexnet", tmp_path / "all", advance=pieces.append)

    assert path == tmp_path / "all" / file_name
    assert path.read_bytes() == Handler.payload
    assert sum(pieces) == len(Handler.payload)
    assert not cache.exists()
    monkeypatch.setattr(backbones, "published_url", lambda _name: "http://127.0.0.1:9/x")  # nothing listens there
    assert collect_backbone("alexnet", tmp_path / "all") == path


@pytest.mark.usefixtures("cache")
def test_collecting_copies_from_torchs_cache(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file_name = serve(monkeypatch, "http://127.0.0.1:9")  # nothing listens there
    cache.mkdir(parents=True)
    (cache / file_name).write_bytes(Handler.payload)

    assert collect_backbone("alexnet", tmp_path).read_bytes() == Handler.payload


def test_collecting_refuses_a_damaged_file_that_is_there(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_name = serve(monkeypatch, "http://127.0.0.1:9")
    (tmp_path / file_name).write_bytes(b"half")

    with pytest.raises(ValueError, match=r"is not the published .*; remove .* if it is there"):
        collect_backbone("alexnet", tmp_path)


def test_collected_convolutions_are_those_of_the_whole_file(
    squeezenet_state: dict[str, Tensor], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir(parents=True)
    torch.save(squeezenet_state, cache / "x")
    digest = backbones.file_digest(cache / "x")
    (cache / "x").rename(cache / f"squeezenet1_1-{digest[:8]}.pth")
    names = {"squeezenet": (f"squeezenet1_1-{digest[:8]}.pth", "squeezenet1_1_features.pth")}
    monkeypatch.setattr(backbones, "_FILE_NAMES", names)
    whole = load_features("squeezenet", cache / f"squeezenet1_1-{digest[:8]}.pth").state_dict()

    path = collect_backbone("squeezenet", tmp_path / "small", features_only=True)

    assert [file.name for file in (tmp_path / "small").iterdir()] == ["squeezenet1_1_features.pth"]
    found = load_features("squeezenet", path).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())
    assert path.stat().st_size < (cache / f"squeezenet1_1-{digest[:8]}.pth").stat().st_size
    assert collect_backbone("squeezenet", tmp_path / "small", features_only=True) == path


def test_a_wrong_hash_leaves_no_file(
    server: str, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    serve(monkeypatch, server, digest="0badc0de")

    assert fetch_backbone("alexnet", None, timeout_sec=5) is None
    assert list(cache.iterdir()) == []
    assert "is not the published 0badc0de" in caplog.text


@pytest.mark.parametrize("manner", ["silent", "dribbling"])
def test_a_server_that_hangs_is_left_in_time(
    server: str, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, manner: str
) -> None:
    file_name = serve(monkeypatch, f"{server}/{manner}")
    start = time.monotonic()

    with caplog.at_level(logging.WARNING):
        assert fetch_backbone("alexnet", None, timeout_sec=0.3) is None

    assert time.monotonic() - start < 2
    assert "not done within 0.3 s" in caplog.text
    assert file_name in caplog.text
    assert not (cache / file_name).exists()


@pytest.mark.usefixtures("cache")
def test_no_network_is_a_warning_not_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    serve(monkeypatch, "http://127.0.0.1:9")

    assert fetch_backbone("alexnet", None, timeout_sec=5) is None
    assert "no weights for alexnet" in caplog.text


@pytest.mark.parametrize("prefix", ["features.", ""])
def test_full_and_features_only_files_load_alike(
    prefix: str, squeezenet_state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    kept = {k: v for k, v in squeezenet_state.items() if prefix or k.startswith("features.")}
    torch.save({k if prefix else k.removeprefix("features."): v for k, v in kept.items()}, path)
    reference = torchvision.models.squeezenet1_1(weights=None)
    reference.load_state_dict(squeezenet_state)
    images = torch.rand(1, 3, 40, 40)

    features = load_features("squeezenet", path)

    with torch.no_grad():
        assert torch.equal(features(images), reference.features.eval()(images))
    assert not features.training
    assert not any(parameter.requires_grad for parameter in features.parameters())


def test_no_layer_overwrites_what_another_returned(squeezenet_state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(squeezenet_state, tmp_path / "weights.pth")
    features = load_features("squeezenet", tmp_path / "weights.pth")
    convolved = features[0](torch.rand(1, 3, 32, 32))
    before = convolved.clone()

    features[1](convolved)

    assert (before < 0).any()
    assert torch.equal(convolved, before)


def test_loading_keeps_the_random_state(squeezenet_state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(squeezenet_state, tmp_path / "weights.pth")
    state = torch.random.get_rng_state()

    load_features("squeezenet", tmp_path / "weights.pth")

    assert torch.equal(torch.random.get_rng_state(), state)


def spoiled(state: dict[str, Tensor], how: str) -> object:
    match how:
        case "missing":
            return {name: value for name, value in state.items() if name != "features.0.weight"}
        case "unexpected":
            return state | {"features.99.weight": torch.zeros(1)}
        case "wrong shape":
            return state | {"features.0.weight": torch.zeros(64, 3, 5, 5)}
        case "not a dict":
            return [1, 2, 3]
        case _:
            return {"features.0.weight": "text"}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"0\.weight"),
        ("unexpected", r"99\.weight"),
        ("wrong shape", r"\[64, 3, 5, 5\]"),
        ("not a dict", "state dict.*list"),
        ("not tensors", "state dict"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(
    how: str, message: str, squeezenet_state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "spoiled.pth"
    torch.save(spoiled(squeezenet_state, how), path)

    with pytest.raises(ValueError, match=rf"(?s)spoiled\.pth.*{message}"):
        load_features("squeezenet", path)


@pytest.mark.parametrize("content", ["truncated", "text", "empty", "code"])
def test_an_unreadable_file_is_refused_by_name(
    content: str, squeezenet_state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "broken.pth"
    if content == "truncated":
        torch.save(squeezenet_state, path)
        path.write_bytes(path.read_bytes()[:20_000])
    elif content == "code":
        torch.save(nn.ReLU(), path)  # a pickled object: loading it would run code
    else:
        path.write_bytes(b"" if content == "empty" else b"<html>not found</html>")

    with pytest.raises(ValueError, match=r"broken\.pth is not a readable file of weights"):
        load_features("squeezenet", path)


def test_train_on_a_parent_does_not_change_a_frozen_module() -> None:
    frozen = AlwaysEval()
    frozen.dropout = nn.Dropout()

    nn.Sequential(frozen).train()

    assert not frozen.training
    assert not frozen.dropout.training


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("vgg19", torchvision.models.VGG19_Weights),
        ("vgg16", torchvision.models.VGG16_Weights),
        ("alexnet", torchvision.models.AlexNet_Weights),
        ("squeezenet", torchvision.models.SqueezeNet1_1_Weights),
    ],
)
def test_weights_are_published_where_torchvision_says(name: backbones.BackboneName, weights: Any) -> None:
    assert backbones.published_url(name) == weights.IMAGENET1K_V1.url
