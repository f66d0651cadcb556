"""The objectives of each point on each validation image, as an array to resample."""

import numpy as np
import pandas as pd

from study.record.metadata import StudyMetadata


def image_values(points: pd.DataFrame, images: pd.DataFrame, metadata: StudyMetadata) -> np.ndarray:
    """Return the objectives of each point on each image.

    Args:
        points: rows of the points table.
        images: the images table.
        metadata: of the study.

    Returns:
        Shape (points, images, objectives), images in the order of `metadata.val_images`; NaN for missing values.
    """
    names = metadata.val_images
    rows = pd.Index(points.index).get_indexer(images["point"])
    columns = pd.Index(names).get_indexer(images["image"].astype(object))
    known = (rows >= 0) & (columns >= 0)
    values = np.full((len(points), len(names), len(metadata.objectives)), np.nan)
    for place, metric in enumerate(metadata.goals.metrics):
        if metric in images:
            values[rows[known], columns[known], place] = images[metric].to_numpy(dtype=np.float64)[known]
    return values
