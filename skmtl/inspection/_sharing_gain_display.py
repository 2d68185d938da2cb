"""What sharing is worth to each task, as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from skmtl._drawing import (
    check_axes,
    choose_gains_size,
    draw_gains,
    make_axes,
    needs_matplotlib,
)
from skmtl.inspection._sharing_gain import SharingGain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class SharingGainDisplay:
    """Gain of each task from sharing, with its confidence interval.

    Tasks are in the order of their gains. A filled circle marks a task that sharing
    helps, a filled triangle one that it hurts ("negative transfer"), and an open
    diamond one whose interval holds zero.

    Parameters
    ----------
    gain : ndarray of shape (n_tasks,)
        Mean difference of the scores with sharing and without, positive where sharing
        is better; NaN where it is not known.
    interval : ndarray of shape (n_tasks, 2)
        Lower and upper ends of the confidence intervals.
    hurts : ndarray of bool of shape (n_tasks,)
        Which tasks sharing hurts.
    task_names : sequence
        Names of the tasks.
    delta_m : float, default=None
        Mean relative gain of all tasks, which is told below the axis.

    Attributes
    ----------
    order_ : list of int
        Numbers of the tasks as they are shown, from the top.
    marks_ : list of matplotlib.collections.PathCollection
        The marks of the tasks, for each kind that occurs.
    intervals_ : list of matplotlib.lines.Line2D
        The intervals, in the order shown.
    ax_ : matplotlib.axes.Axes
        Axes with the gains.
    figure_ : matplotlib.figure.Figure
        Figure with the axes.

    See Also
    --------
    sharing_gain : Measures the gains.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.inspection import SharingGainDisplay, sharing_gain
    >>> X, Y = load_linnerud(return_X_y=True, as_frame=True)
    >>> est = MultiTaskRegressor(n_estimators=1, max_iter=5, random_state=0)
    >>> display = SharingGainDisplay.from_gain(sharing_gain(est, X, Y, cv=2))
    >>> len(display.intervals_)
    3
    """

    def __init__(
        self,
        *,
        gain: NDArray[np.float64],
        interval: NDArray[np.float64],
        hurts: NDArray[np.bool_],
        task_names: Sequence[Any],
        delta_m: float | None = None,
    ) -> None:
        self.gain = gain
        self.interval = interval
        self.hurts = hurts
        self.task_names = task_names
        self.delta_m = delta_m

    @classmethod
    def from_gain(cls, gain: SharingGain, *, ax: "Axes | None" = None) -> Self:
        """Show what `skmtl.inspection.sharing_gain` has found.

        Parameters
        ----------
        gain : SharingGain
            The gains.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure that fits the number of tasks.

        Returns
        -------
        display : SharingGainDisplay
            The display.

        Raises
        ------
        ValueError
            If it is something else.
        """
        caller = f"{cls.__name__}.from_gain"
        needs_matplotlib(caller)
        if not isinstance(gain, SharingGain):
            raise ValueError(
                f"The 'gain' parameter of {caller} must be what sharing_gain returns. "
                f"Got {gain!r}."
            )
        display = cls(
            gain=gain.gain,
            interval=gain.interval,
            hurts=gain.hurts,
            task_names=gain.task_names,
            delta_m=gain.delta_m,
        )
        return display.plot(ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the gains.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure that fits the number of tasks.

        Returns
        -------
        display : SharingGainDisplay
            The display.
        """
        needs_matplotlib(f"{type(self).__name__}.plot")
        check_axes(ax)
        if ax is None:
            ax = make_axes(*choose_gains_size(len(self.task_names)))
        self.order_, self.marks_, self.intervals_ = draw_gains(
            ax, self.gain, self.interval, self.hurts, self.task_names, self.delta_m
        )
        self.ax_, self.figure_ = ax, ax.figure
        return self
