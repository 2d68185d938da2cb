"""A graph of who helps whom."""

from typing import TYPE_CHECKING, Self

from numpy.typing import ArrayLike

from skmtl._drawing import (
    check_axes,
    choose_graph_size,
    choose_pairs,
    draw_graph,
    make_axes,
    needs_matplotlib,
)
from skmtl.inspection._affinity import AffinityDisplay

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class TaskGraphDisplay(AffinityDisplay):
    """Tasks on a circle, with arrows from who helps to whom.

    The wider an arrow, the larger the effect; it is dashed where a task hurts the
    other. Neighbours on the circle help each other most, and there are gaps between
    groups. Of more than 4 tasks not all arrows are shown: by default, for each task the
    one who helps it most and the one who hurts it most.

    Parameters
    ----------
    affinity : ndarray of shape (n_tasks, n_tasks)
        How much the task of the row helps that of the column, negative where it hurts;
        NaN where it is not known. The diagonal counts for nothing.
    task_names : sequence
        Names of the tasks.
    groups : list of list of int, default=None
        Numbers of the tasks of each group; None for no groups.

    Attributes
    ----------
    order_ : list of int
        Numbers of the tasks as they are shown, clockwise from the top.
    pairs_ : list of (int, int)
        Numbers of the tasks, who and whom, of each arrow, the largest effect first.
    arrows_ : list of matplotlib.patches.FancyArrowPatch
        The arrows.
    labels_ : list of matplotlib.text.Text
        Names of the tasks, in the order shown.
    ax_ : matplotlib.axes.Axes
        Axes with the graph.
    figure_ : matplotlib.figure.Figure
        Figure with the axes.

    See Also
    --------
    TaskAffinityDisplay : All of these effects as a heat map.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.inspection import TaskGraphDisplay
    >>> affinity = np.array([[0, 0.1, 0.9], [0.2, 0, -0.1], [0.8, 0.0, 0]])
    >>> TaskGraphDisplay.from_affinity(affinity, n_arrows=3).pairs_
    [(0, 2), (2, 0), (1, 0)]
    """

    @classmethod
    def from_affinity(
        cls,
        affinity: ArrayLike,
        *,
        groups: ArrayLike | None = "auto",
        n_arrows: int | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Show a matrix between tasks as a graph.

        Parameters
        ----------
        affinity : array-like or DataFrame of shape (n_tasks, n_tasks)
            How much the task of the row helps that of the column, negative where it
            hurts, such as from `task_affinity`. A DataFrame has the tasks' names as
            columns.
        groups : "auto", list of list or None, default="auto"
            Tasks that belong together, as names or numbers; "auto" finds them as
            `group_tasks` does, with NaN as no help, and None shows none.
        n_arrows : int, default=None
            How many arrows to show at most, those of the largest effects. None shows,
            for each task, the largest help and the largest harm that it gets, and all
            arrows between up to 4 tasks.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure that fits the number of tasks.

        Returns
        -------
        display : TaskGraphDisplay
            The display.

        Raises
        ------
        ValueError
            If the matrix is not square, or groups do not hold every task once.
        """
        needs_matplotlib(f"{cls.__name__}.from_affinity")
        return cls._read(affinity, groups).plot(ax, n_arrows=n_arrows)

    def plot(self, ax: "Axes | None" = None, *, n_arrows: int | None = None) -> Self:
        """Draw the graph.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure that fits the number of tasks.
        n_arrows : int, default=None
            How many arrows to show at most, those of the largest effects. None shows,
            for each task, the largest help and the largest harm that it gets, and all
            arrows between up to 4 tasks.

        Returns
        -------
        display : TaskGraphDisplay
            The display.
        """
        needs_matplotlib(f"{type(self).__name__}.plot")
        order, sizes, matrix, names = self._order_tasks()
        check_axes(ax)
        if ax is None:
            ax = make_axes(
                *choose_graph_size(len(order), max(map(len, names))), fill=True
            )
        pairs = choose_pairs(matrix, n_arrows)
        self.arrows_, self.labels_ = draw_graph(ax, matrix, names, pairs, sizes)
        self.order_ = order
        self.pairs_ = [(order[i], order[j]) for i, j in pairs]
        self.ax_, self.figure_ = ax, ax.figure
        return self
