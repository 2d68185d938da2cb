"""Fitted models, and what goes before them, as one ONNX file."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from os import PathLike
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted

from skmtl._core.atomic_file import replace_file, resolve_target
from skmtl._core.options import check_path
from skmtl._core.printable import escape_text, get_first_line
from skmtl._estimators.fit import MultiTaskFit
from skmtl._estimators.persistence.inference_module import InferenceModule
from skmtl._estimators.persistence.onnx_categories import (
    CATEGORIES,
    NUMBERS,
    make_table_model,
    split_input_columns,
)
from skmtl.exceptions import ModelFileError

#: Version of ONNX's operators, which torch and skl2onnx both know.
OPSET = 20


def export_onnx(
    estimator: BaseEstimator,
    path: str | PathLike[str],
    pipeline: BaseEstimator | None = None,
) -> None:
    """Write a fitted estimator to an ONNX file that needs no Python to predict.

    The file takes raw inputs, of any number of rows, and returns one tensor per task,
    named as the task: the probabilities of its classes, of shape (n, n_classes), or its
    values, of shape (n,). They are those of ``predict_proba`` and ``predict``, members
    averaged and calibrated. Networks compute in float32, whose rounding is all that may
    differ, but with ``precision="float64"``, which runtimes do not have for every
    operator.

    The input "X" holds numbers of the type that the fitted network reads, or float64
    before a pipeline, with NaN for missing ones where the encoder takes these. Columns
    of categories go into the input "categories" instead, of shape (n, n_columns), as
    strings (``str(category)`` of others), "" for a missing one; "X" then has the other
    columns. Categories that fit has not seen are unknown, as to ``predict``. The
    metadata ``skmtl`` of the file tells kind, classes and threshold of each task as
    JSON, and ``skmtl_inputs`` the columns of each input of a table with categories.

    Parameters
    ----------
    estimator : MultiTaskClassifier, MultiTaskRegressor or MultiTaskEstimator
        A fitted estimator.
    path : str or path-like
        The file to write.
    pipeline : Pipeline or transformer, default=None
        What inputs go through before the estimator: fitted transformers of tables of
        numbers that skl2onnx knows, such as scalers. The estimator may be the last step
        of the pipeline.

    Raises
    ------
    ModelFileError
        If the model, its categories or the pipeline have no form in ONNX.
    OSError
        If the file cannot be written; one that exists stays as it is.

    See Also
    --------
    save : Keep all of an estimator, for Python.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import onnxruntime
    >>> import skmtl
    >>> from sklearn.datasets import load_linnerud
    >>> X, Y = load_linnerud(return_X_y=True, as_frame=True)
    >>> est = skmtl.MultiTaskRegressor(max_iter=5, n_estimators=1).fit(X, Y)
    >>> with TemporaryDirectory() as folder:
    ...     skmtl.export_onnx(est, Path(folder) / "linnerud.onnx")
    ...     session = onnxruntime.InferenceSession(Path(folder) / "linnerud.onnx")
    >>> [output.name for output in session.get_outputs()]
    ['Weight', 'Waist', 'Pulse']
    >>> session.run(["Pulse"], {"X": X.to_numpy()})[0].shape
    (20,)
    """
    onnx = _import_onnx()
    if not isinstance(estimator, MultiTaskFit):
        raise ModelFileError(
            "skmtl.export_onnx takes a MultiTaskClassifier, MultiTaskRegressor or "
            f"MultiTaskEstimator. Got a {type(estimator).__name__}: give what goes "
            "before it as the pipeline."
        )
    check_is_fitted(estimator)
    check_path(path)
    resolve_target(path)
    steps, categories = _get_steps(estimator, pipeline), estimator._categories
    if steps and categories is not None:
        raise ModelFileError(
            "skmtl.export_onnx cannot export a pipeline before columns of categories, "
            f"{categories.names}: leave 'pipeline' out, and give the file what the "
            "pipeline makes of inputs."
        )
    first = _convert_steps(onnx, make_pipeline(*steps)) if steps else None
    model = _export_network(estimator, torch.float64 if steps else None)
    described: dict[str, Any] = {"skmtl": _describe_tasks(estimator)}
    if categories is not None:
        n = estimator.n_features_in_
        read = onnx.helper.tensor_dtype_to_np_dtype(_choose_input_type(model))
        first = make_table_model(onnx, categories, n, read, OPSET)
        names = list(getattr(estimator, "feature_names_in_", range(n)))
        described["skmtl_inputs"] = split_input_columns(categories, names)
    model = model if first is None else _compose_models(onnx, first, model)
    for key, value in described.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)
    onnx.checker.check_model(model)
    with replace_file(path) as temporary:
        onnx.save(model, temporary)


def make_output_names(task_names: list[Any]) -> list[str]:
    """Return names of outputs: those of the tasks as strings, each once."""
    names: list[str] = []
    for t, task in enumerate(task_names):
        name = escape_text(task)
        taken = name in names or name in (NUMBERS, CATEGORIES, "")
        names.append(f"{name} (task {t})" if taken else name)
    return names


def _describe_tasks(estimator: BaseEstimator) -> list[dict[str, Any]]:
    """Return what the file says of each task."""
    targets = estimator._targets
    thresholds = getattr(estimator, "thresholds_", np.full(targets.n_tasks, np.nan))
    return [
        {
            "output": output,
            "kind": kind,
            "classes": None if classes is None else _convert_labels(classes),
            "threshold": None if np.isnan(threshold) else float(threshold),
        }
        for output, kind, classes, threshold in zip(
            make_output_names(targets.names),
            targets.task_types,
            targets.classes,
            thresholds,
            strict=True,
        )
    ]


def _convert_labels(classes: Any) -> list[Any]:
    labels = classes.tolist() if classes.dtype.kind in "biufU" else list(classes)
    simple = (bool, int, float, str)
    return [label if isinstance(label, simple) else str(label) for label in labels]


def _export_network(estimator: BaseEstimator, dtype: torch.dtype | None) -> Any:
    """Return the network as a model of ONNX that takes inputs of a type."""
    net = estimator.net_
    # Of float64, runtimes do not have every operator.
    exact = estimator.precision == "float64"
    precision = torch.float64 if exact else torch.float32
    served = InferenceModule(net, estimator._targets, precision)
    X = torch.zeros(3, *net.module__input_shape, dtype=dtype or served.input_dtype)
    try:
        with _silence_export(), torch.no_grad():
            rows = ({0: torch.export.Dim("n")},)
            program = torch.onnx.export(
                torch.export.export(served, (X,), dynamic_shapes=rows),
                dynamo=True,
                input_names=[NUMBERS],
                output_names=make_output_names(estimator._targets.names),
                opset_version=OPSET,
                verbose=False,
            )
        return program.model_proto  # type: ignore[union-attr]
    except Exception as error:
        why = get_first_line(error)
        raise ModelFileError(
            f"This model with sharing={net.module__sharing!r}, relation="
            f"{net.module__relation!r} and encoder={estimator.encoder!r} cannot be "
            f"exported, as torch.onnx.export does not take it: {why}."
        ) from error


def _get_steps(estimator: BaseEstimator, pipeline: BaseEstimator) -> list[Any]:
    """Return the transformers of a pipeline, without the estimator."""
    if pipeline is None:
        return []
    if not isinstance(pipeline, Pipeline):
        return [pipeline]
    steps = [step for _, step in pipeline.steps if step not in (None, "passthrough")]
    if steps and steps[-1] is estimator:
        steps = steps[:-1]
    if any(isinstance(step, MultiTaskFit) for step in steps):
        raise ModelFileError(
            "The 'pipeline' parameter of skmtl.export_onnx must end in the estimator "
            "that is exported, or hold transformers only: give its last step, "
            "pipeline[-1], as the estimator."
        )
    return steps


def _convert_steps(onnx: Any, pipeline: Pipeline) -> Any:
    """Return what skl2onnx makes of transformers."""
    skl2onnx = _import_skl2onnx()
    numbers = skl2onnx.common.data_types.DoubleTensorType
    types = [(NUMBERS, numbers([None, pipeline[0].n_features_in_]))]
    try:
        with _silence_export():
            model = skl2onnx.convert_sklearn(
                pipeline, "pipeline", types, target_opset={"": OPSET}
            )
    except Exception as error:
        why = get_first_line(error)
        raise ModelFileError(
            f"The 'pipeline' parameter of skmtl.export_onnx has a step that skl2onnx "
            f"cannot convert: {why}."
        ) from error
    return onnx.version_converter.convert_version(model, OPSET)


def _choose_input_type(model: Any) -> int:
    return model.graph.input[0].type.tensor_type.elem_type  # type: ignore[no-any-return]


def _compose_models(onnx: Any, first: Any, network: Any) -> Any:
    """Put one model before another, with names that do not meet."""
    first = onnx.compose.add_prefix(first, "before/", rename_inputs=False)
    network = onnx.compose.add_prefix(
        network, "network/", rename_outputs=False, rename_functions=False
    )
    first.ir_version = network.ir_version = max(first.ir_version, network.ir_version)
    pairs = [(first.graph.output[0].name, network.graph.input[0].name)]
    return onnx.compose.merge_models(first, network, pairs)


@contextmanager
def _silence_export() -> Iterator[None]:
    """Keep to itself what exporters tell of their own matters."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.compose
        import onnx.version_converter
        import onnxscript  # noqa: F401 -- torch.onnx imports it
    except ImportError as error:
        raise ImportError(
            "skmtl.export_onnx needs onnx and onnxscript: install them with "
            "`pip install 'skmtl[onnx]'`."
        ) from error
    return onnx


def _import_skl2onnx() -> Any:
    try:
        import skl2onnx
    except ImportError as error:
        raise ImportError(
            "skmtl.export_onnx needs skl2onnx for pipelines: install it with "
            "`pip install 'skmtl[onnx]'`."
        ) from error
    return skl2onnx
