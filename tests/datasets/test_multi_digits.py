"""Images of two digits hold the two digits."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skmtl.datasets import make_multi_digits

DIGITS = load_digits()
BASE = (DIGITS.images / 16).astype(np.float32)


def test_shapes_types_and_range():
    X, y = make_multi_digits(50, random_state=0)
    assert X.shape == (50, 1, 14, 14)
    assert X.dtype == np.float32
    assert X.min() == 0
    assert X.max() == 1
    assert y.shape == (50, 2)
    assert np.issubdtype(y.dtype, np.integer)


def test_the_same_seed_gives_the_same_images():
    for a, b in zip(*(make_multi_digits(9, random_state=3) for _ in "ab"), strict=True):
        np.testing.assert_array_equal(a, b)
    other, _ = make_multi_digits(9, random_state=4)
    assert not np.array_equal(make_multi_digits(9, random_state=3)[0], other)


def found_at(image, digits):
    """Return which digits of 8 x 8 pixels a square of the image is."""
    return np.flatnonzero((digits == image).all(axis=(1, 2)))


@pytest.mark.parametrize(("image_size", "max_shift"), [(16, 0), (20, 2), (21, 2)])
def test_digits_lie_on_their_sides_with_their_labels(image_size, max_shift):
    # Images are wide enough for the digits not to overlap.
    X, y = make_multi_digits(
        30, image_size=image_size, max_shift=max_shift, random_state=0
    )
    margin, heights, sideways = image_size - 8, set(), set()
    for image, labels in zip(X[:, 0], y, strict=True):
        rest = image.copy()
        for side in range(2):
            places = [
                (row, shift, columns)
                for row in range(margin + 1)
                for shift in range(max_shift + 1)
                for columns in [(shift, margin - shift)[side]]
                for match in [
                    found_at(image[row : row + 8, columns : columns + 8], BASE)
                ]
                if labels[side] in DIGITS.target[match]
            ]
            assert places, "the digit is not where it should be"
            row, shift, column = places[0]
            rest[row : row + 8, column : column + 8] = 0
            heights.add(row)
            sideways.add(shift)
        assert not rest.any()  # nothing else is in the image
    assert len(heights) > margin / 2
    assert sideways == set(range(max_shift + 1))


def test_overlapping_digits_add_up_to_white():
    X, _ = make_multi_digits(300, image_size=9, max_shift=0, random_state=0)
    ink = X.sum(axis=(1, 2, 3))
    one = BASE.sum(axis=(1, 2)).mean()
    assert 1.2 * one < ink.mean() < 1.9 * one
    assert (X == 1).mean() > 2 * (BASE == 1).mean()


def test_all_pairs_of_digits_occur_alike():
    _, y = make_multi_digits(20_000, random_state=0)
    counts = np.histogram2d(*y.T, bins=10)[0]
    assert counts.min() > 120
    assert counts.max() < 290


def test_train_and_test_have_no_digit_in_common():
    found = {}
    for subset, allowed in {"train": slice(1198), "test": slice(1198, None)}.items():
        X, y = make_multi_digits(
            60, image_size=16, max_shift=0, subset=subset, random_state=0
        )
        for image, labels in zip(X[:, 0], y, strict=True):
            candidates = [
                match
                for row in range(9)
                for match in found_at(image[row : row + 8, :8], BASE[allowed])
                if DIGITS.target[allowed][match] == labels[0]
            ]
            assert candidates
        found[subset] = X
    assert not np.array_equal(found["train"], found["test"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_samples": 0}, "'n_samples' parameter of make_multi_digits must be an int"),
        ({"image_size": 8}, "'image_size' parameter of make_multi_digits must be"),
        ({"max_shift": -1}, "'max_shift' parameter of make_multi_digits must be an"),
        (
            {"image_size": 12, "max_shift": 2},
            r"'max_shift' parameter .* less than half of image_size - 8 = 4. Got 2",
        ),
        ({"subset": "valid"}, "'subset' parameter of make_multi_digits must be a str"),
        ({"random_state": "a"}, "'random_state' parameter of make_multi_digits must"),
    ],
)
def test_bad_parameters_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_multi_digits(**settings)
