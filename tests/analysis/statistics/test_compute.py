"""The statistics of a report."""

from pathlib import Path

import pytest

from analysis.statistics.compute import compute_statistics
from analysis.statistics.tables import load_results


def test_importances_are_of_the_settings_whose_distributions_trials_state(full_run: Path) -> None:
    importances = compute_statistics(load_results(full_run), draws=20).importances
    assert set(importances) == {"psnr_y", "swd"}
    for shares in importances.values():
        assert set(shares) == {
            "loss.guidance",
            "autoencoder.bottleneck_channels",
            "budget.patch",
            "loss.adversarial",
        }
        assert sum(shares.values()) == pytest.approx(1)
