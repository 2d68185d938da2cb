"""Errors that skmtl raises beside scikit-learn's own."""


class DivergenceError(ValueError):
    """The training loss of a task stopped being a finite number.

    Raised by ``fit`` and ``partial_fit``, naming the task, the epoch and the likely
    cure. The estimator is left as if the call had not been made.
    """
