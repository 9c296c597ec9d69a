"""Faces, turned and scaled so that eyes, nose and mouth come to lie where the embedder expects them."""

from __future__ import annotations

import cv2
import numpy as np
from skimage.transform import SimilarityTransform

from trident.contract import FACE_SIDE, NUM_LANDMARKS
from trident.entities.crop import Pixels, part_around
from trident.geometry import Floats

_TEMPLATE_SIDE = 112
_TEMPLATE_52 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float64,
)
"""Where the five landmarks lie in a face of 112 x 112: the alignment that ArcFace (arXiv:1801.07698) made usual."""


def align_face(picture_HW3: Pixels, landmarks_52: Floats) -> Pixels | None:
    """Cut one face out of a picture, levelled and scaled.

    Args:
        picture_HW3: RGB UINT8.
        landmarks_52: right eye, left eye, nose, right and left mouth corner in pixels of ``picture_HW3``.

    Returns:
        RGB UINT8 ``[FACE_SIDE, FACE_SIDE, 3]``, black where the picture ends; None if the landmarks coincide, so that
        no face can be laid through them.

    Raises:
        ValueError: ``landmarks_52`` has another shape.
    """
    points_52 = np.asarray(landmarks_52, dtype=np.float64)
    if points_52.shape != (NUM_LANDMARKS, 2):
        raise ValueError(f"landmarks_52: expected shape ({NUM_LANDMARKS}, 2), got {points_52.shape}")
    if not np.isfinite(points_52).all():
        return None
    template_52 = _TEMPLATE_52 * (FACE_SIDE / _TEMPLATE_SIDE)
    transform = SimilarityTransform.from_estimate(points_52, template_52)
    if not transform or not np.isfinite(transform.params).all() or not transform.scale > 0:
        return None
    part_HW3, points_52 = part_around(picture_HW3, points_52, FACE_SIDE / transform.scale, transform.scale)
    transform = SimilarityTransform.from_estimate(points_52, template_52)
    aligned = cv2.warpAffine(part_HW3, transform.params[:2], (FACE_SIDE, FACE_SIDE), flags=cv2.INTER_LINEAR)
    return np.asarray(aligned, dtype=np.uint8)
