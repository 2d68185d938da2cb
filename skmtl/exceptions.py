"""Errors and warnings that skmtl raises beside scikit-learn's own."""


class DivergenceError(ValueError):
    """The training loss of a task stopped being a finite number.

    Raised by ``fit`` and ``partial_fit``, naming the task, the epoch and the likely
    cure. The estimator is left as if the call had not been made.
    """


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written, or is not used.

    ``fit`` goes on: without checkpoints, or from an earlier one.
    """


class GateCollapseWarning(UserWarning):
    """A task's gate puts almost all of its weight on one of several experts.

    Raised once by ``fit``, naming the tasks: their other experts are trained for
    nothing, as far as these tasks go.
    """
