"""Fitted estimators in one file that holds no code."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.utils.validation import check_is_fitted

from skmtl._core.atomic_file import resolve_target
from skmtl._core.options import check_path
from skmtl._core.printable import get_first_line
from skmtl._estimators.fit import MultiTaskFit
from skmtl._estimators.persistence.codecs import Reader, Writer, find_paths
from skmtl._estimators.persistence.estimator_codec import check_predicts
from skmtl._estimators.persistence.file_format import read, write
from skmtl._estimators.persistence.import_paths import Trust
from skmtl.exceptions import ModelFileError
from skmtl.training import use_default_modes

if TYPE_CHECKING:
    from skmtl._estimators.classifier import MultiTaskClassifier
    from skmtl._estimators.estimator import MultiTaskEstimator
    from skmtl._estimators.regressor import MultiTaskRegressor


def save(
    estimator: MultiTaskClassifier | MultiTaskRegressor | MultiTaskEstimator,
    path: str | PathLike[str],
) -> None:
    """Write a fitted estimator to one file that holds no code.

    The file is one of safetensors with a checksum, whose tensors any tool for that
    format can read: weights, what was learned of inputs, labels and out-of-fold rows,
    the history, parameters, and the state of the optimizer after ``partial_fit``. It
    is written atomically: a file that exists is replaced, with its mode, once the new
    one is complete. Where the path is a symbolic link, the file that it leads to is
    replaced.

    Parameters
    ----------
    estimator : MultiTaskClassifier, MultiTaskRegressor or MultiTaskEstimator
        A fitted estimator. Its own classes and functions, such as an encoder, are
        stored by their import paths; their code is not.
    path : str or path-like
        The file to write.

    Raises
    ------
    ModelFileError
        If it has something that no such file can hold: callbacks, a teacher that is no
        estimator of skmtl, functions without an import path.
    OSError
        If the file cannot be written, such as on a full disk, or if the path leads to
        a folder, a FIFO or a device; a file that exists stays as it is.

    See Also
    --------
    load : Read such a file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import skmtl
    >>> from sklearn.datasets import load_linnerud
    >>> X, Y = load_linnerud(return_X_y=True)
    >>> est = skmtl.MultiTaskRegressor(max_iter=5, random_state=0).fit(X, Y)
    >>> with TemporaryDirectory() as folder:
    ...     skmtl.save(est, Path(folder) / "linnerud.skmtl")
    ...     again = skmtl.load(Path(folder) / "linnerud.skmtl")
    >>> bool((again.predict(X) == est.predict(X)).all())
    True
    """
    if not isinstance(estimator, MultiTaskFit):
        raise ModelFileError(
            "skmtl.save takes a MultiTaskClassifier, MultiTaskRegressor or "
            f"MultiTaskEstimator. Got a {type(estimator).__name__}: keep it with "
            "skops, a pipeline too."
        )
    check_is_fitted(estimator)
    estimator._validate_params()  # which may have changed since fit
    check_path(path)
    resolve_target(path)
    writer = Writer()
    with use_default_modes():
        document = writer.pack(estimator, "estimator")
    write(Path(path), document, writer.tensors)


def load(
    path: str | PathLike[str], *, trusted: Iterable[Any] = ()
) -> MultiTaskClassifier | MultiTaskRegressor | MultiTaskEstimator:
    """Read a fitted estimator from a file that `skmtl.save` has written.

    The file is refused before anything is built where its version, its checksum or its
    sizes are not right. It executes no code and imports none, but for what is trusted;
    networks are built by this package's own classes. The checksum tells damage, and is
    no signature: who can write the file decides what the model predicts.

    Parameters
    ----------
    path : str or path-like
        The file.
    trusted : iterable of str, type or callable, default=()
        Import paths, such as ``"my_package.encoders.MyEncoder"``, or the classes and
        functions themselves, that the file may name. Importing executes their modules.

    Returns
    -------
    MultiTaskClassifier, MultiTaskRegressor or MultiTaskEstimator
        The estimator on the CPU, which predicts as the one that was saved, and can
        train on. ``fit`` and ``partial_fit`` go where the ``device`` parameter says.
        For type checkers, ``assert isinstance(estimator, MultiTaskClassifier)`` says
        which of the three it is.

    Raises
    ------
    ModelFileError
        If the file is damaged, of another version or not of this format, if it names
        code that is not trusted, or if its model cannot be built.

    See Also
    --------
    save : Write such a file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import skmtl
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "damaged"
    ...     _ = path.write_bytes(b"no model")
    ...     skmtl.load(path)
    Traceback (most recent call last):
    skmtl.exceptions.ModelFileError: '...' is no file of skmtl.save, ...
    """
    check_path(path)
    trust = Trust(trusted)
    with use_default_modes():
        return _load(Path(path), trust)


def _load(path: Path, trust: Trust) -> Any:
    """Read a file, and build the estimator that it holds."""
    document, tensors = read(path)
    missing = trust.find_untrusted(find_paths(document))
    if missing:
        raise ModelFileError(
            f"{str(path)!r} names code that is not skmtl's, {missing}: if you know who "
            f"has written the file, load it with trusted={missing}."
        )
    try:
        estimator = Reader(tensors, trust).unpack(document)
        check_predicts(estimator)
    except Exception as error:
        why = get_first_line(error) or type(error).__name__
        raise ModelFileError(
            f"{str(path)!r} holds no model that this version of skmtl can build: {why}."
        ) from error
    return estimator
