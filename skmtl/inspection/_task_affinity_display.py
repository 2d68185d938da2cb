"""A heat map of which tasks help which."""

from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike

from skmtl._drawing import (
    check_axes,
    choose_affinity_size,
    draw_affinity,
    make_axes,
    needs_matplotlib,
)
from skmtl.inspection._affinity import AffinityDisplay

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class TaskAffinityDisplay(AffinityDisplay):
    """Heat map of which tasks help which, with those that belong together side by side.

    Rows and columns are in the order of average linkage clustering, with frames around
    groups. Zero is in the middle of the colours; a negative cell shows its sign too, as
    a number (up to 12 tasks) or as a minus sign. The diagonal is hidden and has no part
    in the colours: what a task does for itself says nothing of sharing.

    Parameters
    ----------
    affinity : ndarray of shape (n_tasks, n_tasks)
        How much the task of the row helps that of the column; NaN if not known.
    task_names : sequence
        Names of the tasks.
    groups : list of list of int, default=None
        Numbers of the tasks of each group; None for no groups.

    Attributes
    ----------
    order_ : list of int
        Numbers of the tasks as they are shown, from the top.
    image_ : matplotlib.image.AxesImage
        The heat map.
    texts_ : list of matplotlib.text.Text
        Values of the cells; none for more than 12 tasks.
    frames_ : list of matplotlib.patches.Rectangle
        Frames around groups of two or more tasks.
    colorbar_ : matplotlib.colorbar.Colorbar
        The scale of the colours.
    ax_ : matplotlib.axes.Axes
        Axes with the heat map.
    figure_ : matplotlib.figure.Figure
        Figure with the axes.

    See Also
    --------
    TaskGraphDisplay : The largest of these effects as arrows.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.inspection import TaskAffinityDisplay
    >>> affinity = np.array([[0, 0.1, 0.9], [0.2, 0, -0.1], [0.8, 0.0, 0]])
    >>> display = TaskAffinityDisplay.from_affinity(affinity)
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['task1', 'task0', 'task2']
    """

    @classmethod
    def from_affinity(
        cls,
        affinity: ArrayLike,
        *,
        groups: ArrayLike | None = "auto",
        ax: "Axes | None" = None,
        cmap: str = "RdBu",
        label: str = "affinity",
    ) -> Self:
        """Show a matrix between tasks.

        Parameters
        ----------
        affinity : array-like or DataFrame of shape (n_tasks, n_tasks)
            How much the task of the row helps that of the column, such as from
            `task_affinity`, or what `label_dependence` finds; NaN where it is not
            known. A DataFrame has the tasks' names as columns.
        groups : "auto", list of list or None, default="auto"
            Tasks that belong together, as names or numbers; "auto" finds them as
            `group_tasks` does, with NaN as no help, and None shows none.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure that fits the number of tasks.
        cmap : str, default="RdBu"
            Name of the colours, from the lowest to the highest value.
        label : str, default="affinity"
            What the values are, beside the scale of the colours.

        Returns
        -------
        display : TaskAffinityDisplay
            The display.

        Raises
        ------
        ValueError
            If the matrix is not square, or groups do not hold every task once.
        """
        needs_matplotlib(f"{cls.__name__}.from_affinity")
        return cls._read(affinity, groups).plot(ax, cmap=cmap, label=label)

    def plot(
        self, ax: "Axes | None" = None, *, cmap: str = "RdBu", label: str = "affinity"
    ) -> Self:
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure that fits the number of tasks.
        cmap : str, default="RdBu"
            Name of the colours, from the lowest to the highest value.
        label : str, default="affinity"
            What the values are, beside the scale of the colours.

        Returns
        -------
        display : TaskAffinityDisplay
            The display.
        """
        needs_matplotlib(f"{type(self).__name__}.plot")
        order, sizes, matrix, names = self._order_tasks()
        check_axes(ax)
        if ax is None:
            ax = make_axes(*choose_affinity_size(len(order)))
        artists = draw_affinity(ax, matrix, names, sizes, label, cmap)
        self.order_, (self.image_, self.texts_, self.frames_) = order, artists
        if not np.array_equal(matrix, matrix.T, equal_nan=True):
            ax.set(ylabel="task that helps", xlabel="task that is helped")
        self.colorbar_ = self.image_.colorbar
        self.ax_, self.figure_ = ax, ax.figure
        return self
