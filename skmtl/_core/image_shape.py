"""The order of the axes of images."""

from collections.abc import Sequence

#: What to do with images whose channels come last.
CHANNELS_LAST = "channels last? Use X.transpose(0, 3, 1, 2)"


def has_channels_last(shape: Sequence[int]) -> bool:
    """Tell whether images look as if their channels came last."""
    return len(shape) == 3 and shape[2] in (1, 3, 4) and shape[0] == shape[1] > 4
