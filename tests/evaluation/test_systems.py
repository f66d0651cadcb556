"""Rows of the comparison table."""

from pathlib import Path

import pytest

from study.evaluation.systems import System, with_unique_names


def test_no_two_rows_share_a_name_or_a_folder(caplog: pytest.LogCaptureFixture) -> None:
    names = ["held", "held", "held (2)", "held", "a/b", "a_b"]
    systems = [System(name, None, source=Path(str(number), name)) for number, name in enumerate(names)]
    renamed = with_unique_names(systems)
    assert [system.name for system in renamed] == ["held", "held (3)", "held (2)", "held (4)", "a/b", "a_b (2)"]
    assert "held (3) is 1/held" in caplog.text
    assert with_unique_names(renamed) == renamed
