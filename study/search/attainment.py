"""What several runs of a search reach together: attainment surfaces, through moocore."""

from collections.abc import Sequence

import moocore
import numpy as np

from study.search.front import Direction, as_losses


def attainment_surface(fronts: Sequence[np.ndarray], directions: Sequence[Direction], share: float = 0.5) -> np.ndarray:
    """The points that a share of the runs reach or beat (Grunert da Fonseca et al., EMO 2001; by moocore's `eaf`).

    Args:
        fronts: one a run, each of shape (points, objectives), two or three objectives.
        directions: what "better" means in each objective.
        share: above 0, at most 1; 0.5 for the median surface.

    Returns:
        The surface's corners, shape (n, objectives), sorted by the first objective.
    """
    sets = np.concatenate([np.full(len(front), number) for number, front in enumerate(fronts)])
    losses = as_losses(np.concatenate(list(fronts)), directions)
    surface = moocore.eaf(losses, sets, percentiles=[100 * share])
    corners = as_losses(np.asarray(surface)[:, : len(directions)], directions)
    return corners[np.lexsort(corners.T[::-1])]
