"""A few hundred damaged files of benchmarks/fuzz_data.py are refused, or give the right image."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_data import CHECKED, EXPECTED, damaged, outcome, samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.filterwarnings("ignore")  # decoders comment on damage
@settings(max_examples=300, deadline=None, derandomize=True)
@given(number=st.integers(0, 2**40))
def test_damaged_files_are_refused_or_read_right(folder: Path, number: int) -> None:
    kind, what = outcome(number, folder)
    assert what in EXPECTED, f"input {number} ({kind}, {damaged(number)[1]})"


def test_undamaged_files_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in samples():
        monkeypatch.setattr("benchmarks.fuzz_data.damaged", lambda _, kind=kind: (kind, [], samples()[kind]))
        assert outcome(0, folder) == (kind, "same")


def test_a_wrong_image_would_be_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fuzz test is able to fail."""
    for kind in sorted(CHECKED - {"store"}):
        other = samples()["bmp" if kind == "png-16" else "png-16"]
        monkeypatch.setattr("benchmarks.fuzz_data.damaged", lambda _, kind=kind, other=other: (kind, ["flip"], other))
        assert outcome(0, folder) == (kind, "wrong")


def test_the_inputs_are_reproducible() -> None:
    assert damaged(12345) == damaged(12345)
    assert len({damaged(number)[2] for number in range(50)}) > 45
