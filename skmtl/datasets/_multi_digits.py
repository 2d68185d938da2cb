"""Images of two overlapping digits."""

from numbers import Integral

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.utils import check_random_state

from skmtl._core.validation import Interval, StrOptions, validate_params

WIDTH = 8  # of scikit-learn's digits


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "image_size": [Interval(Integral, WIDTH + 1, None, closed="left")],
        "max_shift": [Interval(Integral, 0, None, closed="left")],
        "subset": [StrOptions({"all", "train", "test"})],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_multi_digits(
    n_samples: int = 1000,
    *,
    image_size: int = 14,
    max_shift: int = 1,
    subset: str = "all",
    random_state: int | RandomState | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make images of two overlapping digits, to be told from each other.

    Two tasks per image: the left and the right digit. It is MultiMNIST [1]_, a common
    test of multi-task learning since [2]_, on a small scale: two of scikit-learn's
    handwritten digits of 8 x 8 pixels are drawn, shifted and added up, and what gets
    brighter than white stays white. Unlike in [1]_ both may be the same digit, so that
    one label tells nothing about the other.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of images.
    image_size : int, default=14
        Height and width of the images. Up to 15 the two squares of 8 x 8 pixels
        overlap wherever they lie.
    max_shift : int, default=1
        Most pixels that a digit is moved away from its side of the image, less than
        half of ``image_size - 8``, so that left stays left. How high it lies is free.
    subset : {"all", "train", "test"}, default="all"
        Which handwritten digits to draw from: all 1,797, the first two thirds or the
        others, so that a test meets no digit that was trained on.
    random_state : int, RandomState instance or None, default=None
        Decides what is drawn.

    Returns
    -------
    X : ndarray of shape (n_samples, 1, image_size, image_size)
        Images with values from 0, black, to 1, white, as float32.
    y : ndarray of shape (n_samples, 2)
        The left and the right digit.

    References
    ----------
    .. [1] S. Sabour, N. Frosst and G. E. Hinton, "Dynamic Routing Between Capsules",
       NeurIPS 2017.
    .. [2] O. Sener and V. Koltun, "Multi-Task Learning as Multi-Objective
       Optimization", NeurIPS 2018.

    Examples
    --------
    >>> from skmtl.datasets import make_multi_digits
    >>> X, y = make_multi_digits(200, subset="train", random_state=0)
    >>> X.shape, y.shape
    ((200, 1, 14, 14), (200, 2))
    """
    margin = image_size - WIDTH
    if 2 * max_shift >= margin:
        raise ValueError(
            "The 'max_shift' parameter of make_multi_digits must be less than half of "
            f"image_size - {WIDTH} = {margin}. Got {max_shift}: use less, or a larger "
            "image_size."
        )
    rng = check_random_state(random_state)
    images, labels = _digits(subset)
    pairs = rng.randint(len(images), size=(n_samples, 2))
    top = rng.randint(margin + 1, size=(n_samples, 2))
    left = rng.randint(max_shift + 1, size=(n_samples, 2))
    left[:, 1] = margin - left[:, 1]
    X = np.zeros((n_samples, 1, image_size, image_size), dtype=np.float32)
    square = np.arange(WIDTH)
    for side in range(2):
        rows = top[:, side, None, None] + square[:, None]  # (n, 8, 1)
        columns = left[:, side, None, None] + square  # (n, 1, 8)
        X[np.arange(n_samples)[:, None, None], 0, rows, columns] += images[
            pairs[:, side]
        ]
    return np.minimum(X, 1, out=X), labels[pairs]


def _digits(subset: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    digits = load_digits()
    n_train = 2 * len(digits.target) // 3
    rows = {
        "all": slice(None),
        "train": slice(n_train),
        "test": slice(n_train, None),
    }[subset]
    images = (digits.images[rows] / 16).astype(np.float32)
    return images, digits.target[rows].astype(np.int64)
