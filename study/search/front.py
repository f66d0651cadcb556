"""The Pareto front of a set of points, its hypervolume, and attainment surfaces, all through moocore."""

from collections.abc import Sequence

import moocore
import numpy as np

from study.record.goals import Direction


def as_losses(values: np.ndarray, directions: Sequence[Direction]) -> np.ndarray:
    """Negate the objectives that are maximised, so that less is better in every column."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(directions):
        raise ValueError(
            f"values must have shape (n, {len(directions)}), one column per direction, but got {values.shape}"
        )
    signs = np.array([-1.0 if direction == "maximize" else 1.0 for direction in directions])
    return values * signs


def non_dominated(values: np.ndarray, directions: Sequence[Direction]) -> np.ndarray:
    """Mark the points that no other point dominates.

    A point is dominated if another is at least as good in every objective and better in one. Of several equal points
    the first is kept. A point with NaN in an objective is never on the front.

    Args:
        values: objectives, shape (n, m), any finite range or NaN.
        directions: of the m columns.

    Returns:
        Boolean mask, shape (n,).
    """
    losses = as_losses(values, directions)
    mask = ~np.isnan(losses).any(axis=1)
    if mask.any():
        mask[mask] = moocore.is_nondominated(losses[mask], keep_weakly=False)
    return mask


def hypervolume(values: np.ndarray, reference: Sequence[float], directions: Sequence[Direction]) -> float:
    """Compute the hypervolume that the points dominate, bounded by the reference point.

    Args:
        values: objectives, shape (n, m); rows with NaN, and rows that do not beat the reference, add nothing.
        reference: the worst value of interest in each objective, in the objectives' own units.
        directions: of the m columns.

    Returns:
        The exact hypervolume, in the product of the objectives' units; 0 without points.
    """
    losses = as_losses(values, directions)
    corner = as_losses(np.asarray([reference], dtype=np.float64), directions)[0]
    losses = losses[~np.isnan(losses).any(axis=1)]
    if not len(losses):
        return 0.0
    return float(moocore.hypervolume(losses, ref=corner))


def attainment_surface(fronts: Sequence[np.ndarray], directions: Sequence[Direction], share: float = 0.5) -> np.ndarray:
    """Compute the surface that a share of the runs attain (Grunert da Fonseca et al., EMO 2001; moocore's `eaf`).

    Args:
        fronts: one a run, each of shape (points, objectives), two or three objectives.
        directions: of the objectives.
        share: above 0, at most 1; 0.5 for the median surface.

    Returns:
        The surface's corners, shape (n, objectives), sorted by the first objective.
    """
    sets = np.concatenate([np.full(len(front), number) for number, front in enumerate(fronts)])
    losses = as_losses(np.concatenate(list(fronts)), directions)
    surface = moocore.eaf(losses, sets, percentiles=[100 * share])
    corners = as_losses(np.asarray(surface)[:, : len(directions)], directions)
    return corners[np.lexsort(corners.T[::-1])]
