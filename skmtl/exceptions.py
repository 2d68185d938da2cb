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


class ModelFileError(ValueError):
    """A file does not hold a model, or a model cannot go into a file.

    Raised by `skmtl.load` for files that are damaged, of an unknown version, or name
    code that was not said to be trusted; by `skmtl.save` and `skmtl.export_onnx` for
    what the format has no place for, before anything is written.
    """


class GateCollapseWarning(UserWarning):
    """A task's gate puts almost all of its weight on one of several experts.

    Raised once by ``fit``, naming the tasks: their other experts are trained for
    nothing, as far as these tasks go.
    """
