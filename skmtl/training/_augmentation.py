"""What changes batches at random while training: the ``augmentation`` parameter."""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from skmtl._core.layers import get_generator
from skmtl._core.specs import Spec, resolve_spec
from skmtl._core.validation import Interval
from skmtl.training._batches import Batch, BlockTarget, TrainingRows


class Augmentation(Spec):
    """Base class of augmentation specs: what changes a batch at random.

    Subclasses write ``inputs``, or ``batch`` where labels change too. Both draw only
    from torch, on the device of the batch, without waiting for it, and change nothing
    in place.
    """

    #: Whether it changes images only.
    of_images: ClassVar[bool] = False

    def inputs(self, X: Tensor) -> Tensor:
        """Return changed inputs.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            Inputs.

        Returns
        -------
        Tensor of shape (n, ...)
            Changed inputs, by default as they were.
        """
        return X

    def batch(self, X: Tensor, y: list[BlockTarget]) -> Batch:
        """Return a changed batch.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            Inputs.
        y : list of (Tensor of shape (m n, n_block_tasks), Tensor or None)
            Labels and weights of each block of tasks, with m labels per row: those of
            all rows, then a second one of all rows, and so on. Where a relation has a
            teacher, its predictions follow, of shape (m n, n_outputs).

        Returns
        -------
        X : Tensor of shape (n, ...)
            Changed inputs.
        y : list of (Tensor, Tensor or None)
            Labels and weights, by default as they were.
        """
        return self.inputs(X), y

    def check(self, X: Tensor) -> None:
        """Raise an error for inputs that cannot be changed.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            A small batch of them.

        Raises
        ------
        ValueError
            If the augmentation cannot change them.
        """
        if self.of_images and X.ndim != 4:
            raise ValueError(
                f"The 'augmentation' parameter {self.name!r} needs images, X of shape "
                "(n_samples, channels, height, width). Got samples of shape "
                f"{tuple(X.shape[1:])}: leave it out, or reshape X and give an encoder "
                "for images."
            )


class Flip(Augmentation):
    """Mirror each image left to right with probability 1/2.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.training import Flip
    >>> MultiTaskClassifier(augmentation=Flip()).augmentation
    Flip()
    """

    name = "flip"
    of_images = True

    def inputs(self, X: Tensor) -> Tensor:
        """Mirror some images."""
        shape = len(X), 1, 1, 1
        drawn = torch.empty(shape, device=X.device, dtype=torch.float32)
        mirrored = drawn.uniform_(generator=get_generator()) < 0.5
        return torch.where(mirrored, X.flip(-1), X)


class Crop(Augmentation):
    """Pad each image with zeros and cut it back at a random place.

    Parameters
    ----------
    padding : float, default=0.125
        Width of the padding on each side as a share of the side, rounded up to pixels:
        4 for images of 32 x 32 by default.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.training import Crop
    >>> MultiTaskClassifier(augmentation=Crop(padding=0.25)).augmentation
    Crop(padding=0.25)
    """

    name = "crop"
    of_images = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "padding": [Interval(Real, 0, 1, closed="neither")],
    }

    def __init__(self, padding: float = 0.125) -> None:
        self.padding = padding

    def inputs(self, X: Tensor) -> Tensor:
        """Cut every image at a place of its own."""
        n, _, height, width = X.shape
        a, b = math.ceil(self.padding * height), math.ceil(self.padding * width)
        windows = F.pad(X, (b, b, a, a)).unfold(2, height, 1).unfold(3, width, 1)
        source = get_generator()
        top = torch.randint(2 * a + 1, (n,), device=X.device, generator=source)
        left = torch.randint(2 * b + 1, (n,), device=X.device, generator=source)
        return windows[torch.arange(n, device=X.device), :, top, left]


class Noise(Augmentation):
    """Add Gaussian noise to every input.

    Parameters
    ----------
    scale : float, default=0.1
        Standard deviation of the noise, in units of the standard deviation that the
        feature, or the channel of images, has in the batch.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.training import Noise
    >>> MultiTaskClassifier(augmentation=Noise(scale=0.3)).augmentation
    Noise(scale=0.3)
    """

    name = "noise"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "scale": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, scale: float = 0.1) -> None:
        self.scale = scale

    def inputs(self, X: Tensor) -> Tensor:
        """Add noise in proportion to the spread of each feature."""
        axes = [axis for axis in range(X.ndim) if axis != 1]
        # In units near one, where squares of huge or tiny numbers are finite and not 0.
        largest = X.abs().nan_to_num(nan=0.0).amax(axes, keepdim=True)
        unit = largest.clamp_min(torch.finfo(X.dtype).tiny)
        Z = X / unit
        center = Z.nanmean(axes, keepdim=True)
        spread = (Z - center).square().nanmean(axes, keepdim=True).sqrt() * unit
        noise = torch.empty_like(X).normal_(generator=get_generator())
        return X.addcmul(spread, noise, value=self.scale)


class Mixup(Augmentation):
    r"""Mixup: rows are mixed in pairs, and the labels of all tasks with them.

    Proposed in [1]_.

    A row becomes :math:`\lambda x_i + (1 - \lambda) x_j`, with j drawn from its batch
    and :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)`, and its loss in every task
    :math:`\lambda \ell(y_i) + (1 - \lambda) \ell(y_j)`. In a task where one of the two
    labels is missing, the other keeps its share of weight.

    The larger share is that of row i, so that every row leads once per epoch. As the
    distribution is symmetric, the mixed rows are distributed as in the paper; it draws
    :math:`\lambda` once per batch, here each row has its own.

    Parameters
    ----------
    alpha : float, default=0.2
        The larger, the more evenly rows are mixed; near zero they stay as they are.

    References
    ----------
    .. [1] H. Zhang, M. Cisse, Y. N. Dauphin and D. Lopez-Paz, "mixup: Beyond Empirical
       Risk Minimization", ICLR 2018.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.training import Mixup
    >>> MultiTaskClassifier(augmentation=Mixup(alpha=0.4)).augmentation
    Mixup(alpha=0.4)
    """

    name = "mixup"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alpha": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, alpha: float = 0.2) -> None:
        self.alpha = alpha

    def batch(self, X: Tensor, y: list[BlockTarget]) -> Batch:
        """Mix every row with another; its labels become those of both."""
        share = self._shares(X)
        other = torch.randperm(len(X), device=X.device, generator=get_generator())
        mixed = X[other].lerp(X, share.reshape(-1, *[1] * (X.ndim - 1)))
        return mixed, [_mix_pairs(labels, w, share, other) for labels, w in y]

    def _shares(self, X: Tensor) -> Tensor:
        """Return the larger share of each pair, of shape (n,)."""
        # Beta as a ratio of gammas G(alpha) = G(alpha + 1) U^(1 / alpha), of which the
        # logarithms are taken: for small alpha both gammas underflow.
        shape, source = X.new_full((2, len(X)), self.alpha + 1), get_generator()
        gamma = torch._standard_gamma(shape, generator=source)
        uniform_logs = -torch.empty_like(shape).exponential_(generator=source)
        tiny = torch.finfo(shape.dtype).tiny
        logs = gamma.clamp_min(tiny).log() + uniform_logs / self.alpha
        return torch.sigmoid((logs[0] - logs[1]).abs())


def _mix_pairs(
    labels: Tensor, weight: Tensor | None, share: Tensor, other: Tensor
) -> BlockTarget:
    """Return the labels of rows and those of their partners, weighted by shares."""
    if weight is None:
        weight = share.new_ones(labels.shape)
    labels = labels.unflatten(0, (-1, len(share)))  # (labels per row, n, tasks)
    weight = weight.unflatten(0, (-1, len(share)))
    share = share.unsqueeze(1)
    weights = [weight * share, weight[:, other] * (1 - share)]
    return (
        torch.cat([labels, labels[:, other]]).flatten(0, 1),
        torch.cat(weights).flatten(0, 1),
    )


class Function(Augmentation):
    """A user's function from a batch of inputs to a batch of inputs."""

    name = "callable"

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def inputs(self, X: Tensor) -> Tensor:
        return self.function(X.clone())  # X may be the table itself: keep it as it is

    def check(self, X: Tensor) -> None:
        try:
            outputs = self.inputs(X)
        except Exception as error:
            raise ValueError(
                f"The callable given as 'augmentation' cannot take a batch of shape "
                f"{tuple(X.shape)}: {str(error).splitlines()[0]}"
            ) from error
        if _get_form(outputs) != _get_form(X):
            raise ValueError(
                "The callable given as 'augmentation' must return a batch of the form "
                f"that it takes, {_get_form(X)}. {self.function!r} returned "
                f"{_get_form(outputs)}."
            )


def _get_form(X: Any) -> str:
    if not isinstance(X, Tensor):
        return f"a {type(X).__name__}"
    return f"a {X.dtype} tensor of shape {tuple(X.shape)} on {X.device}"


#: Augmentations that a string can name.
AUGMENTATION = {cls.name: cls for cls in (Crop, Flip, Mixup, Noise)}


def resolve_augmentation(value: object) -> tuple[Augmentation, ...]:
    """Return the augmentations that the parameter's value stands for, in order."""
    entries = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(map(_resolve_augmentation, entries))


def _resolve_augmentation(entry: object) -> Augmentation:
    if isinstance(entry, Augmentation) or (
        isinstance(entry, str) and entry in AUGMENTATION
    ):
        return resolve_spec(entry, AUGMENTATION)
    if callable(entry):
        return Function(entry)
    raise ValueError(
        f"The 'augmentation' parameter must hold names among {sorted(AUGMENTATION)} or "
        f"callables. Got {entry!r}."
    )


def check_augmentation(
    augmentation: Sequence[Augmentation], rows: TrainingRows
) -> None:
    """Try augmentations on two rows of the training data, before training."""
    X, _ = rows[:2]
    for step in augmentation:
        step.check(X)


@torch.no_grad()
def augment_batch(
    batch: Batch, augmentation: Sequence[Augmentation], codes: Tensor | None = None
) -> Batch:
    """Return a batch that augmentations have changed one after the other."""
    X, y = batch
    for step in augmentation:
        X, y = step.batch(X, y)
    if codes is not None:
        X = X.index_copy(1, codes, batch[0].index_select(1, codes))
    return X, y
