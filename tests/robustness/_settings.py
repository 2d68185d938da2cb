"""Settings of estimators, drawn from registries and from what parameters may be."""

import numpy as np
from hypothesis import strategies as st

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import MLP, PeriodicEmbedding, PiecewiseLinearEmbedding
from skmtl.relation import RELATION
from skmtl.sharing import SHARING
from skmtl.weighting import WEIGHTING
from tests.robustness._labels import CLASSES

KINDS = {
    MultiTaskClassifier: ("classification",),
    MultiTaskRegressor: ("regression",),
    MultiTaskEstimator: ("classification", "regression"),
}

#: Small ones, and those of the registry as they are.
ENCODERS = [
    MLP((4,)),
    MLP(()),
    MLP((4, 4), norm="batch", dropout=0.2, residual=True),
    MLP((4,), norm="layer", scale="robust", categories="embed"),
    MLP((4,), scale="quantile", max_levels=None, min_frequency=2),
    MLP((4,), scale=None, missing_inputs=None, activation="gelu"),
    PeriodicEmbedding((4,), embedding_dim=2, n_frequencies=2),
    PiecewiseLinearEmbedding((4,), embedding_dim=2, n_bins=3),
    "mlp",
    "periodic_embedding",
    "piecewise_linear_embedding",
]
STRATEGIES = {
    "sharing": list(SHARING),
    "weighting": list(WEIGHTING),
    "relation": [None, *RELATION],
    "encoder": ENCODERS,
}
TRAINING = {
    "optimizer": ["adamw", "adam", "sgd"],
    "learning_rate_init": [3e-3, 1e-12, 0.3, 100.0],
    "alpha": [0, 1e-2, 10],
    "batch_size": ["auto", 1, 2, 7, 10**6],
    "max_iter": [1, 2, 3],
    "tol": [0, 1e-4, 1e9],
    "shuffle": [True, False],
    "early_stopping": ["auto", True, False],
    "validation_fraction": [0.1, 1e-9, 0.5, 1 - 1e-9],
    "n_iter_no_change": ["auto", 1, np.inf],
    "validation_average": ["macro", "min"],
    "stop_tasks": [False, True],
    "n_estimators": [1, 2, 3, "auto"],
    "resampling": ["crossfit", "bootstrap", None],
    "calibrate": [True, False],
    "augmentation": [None, "noise", "mixup", ["mixup", "noise"]],
    "sampling": [None, "classes", "tasks", 1, 1e-3, 1e9],
    "hard_example_mining": [None, "loss", "margin"],
    "hard_example_fraction": [0.5, 1e-9, 1.0],
    "record_gradients": [False, True],
    "precision": ["auto", "float32", "float64", "bf16"],
    "n_threads": [None, 1],
}
OF_CLASSES = {
    "threshold": [None, "f1", "balanced_accuracy", "matthews_corrcoef"],
    "class_weight": [None, "balanced"],
}
METRICS = {
    ("classification",): ["accuracy", "balanced_accuracy", "roc_auc", "neg_log_loss"],
    ("regression",): ["r2"],  # others are infinite where labels and weights are huge
    ("classification", "regression"): [{"classification": "f1", "regression": "r2"}],
}
LOSSES = ["squared_error", "absolute_error", "huber"]


def options_of(cls):
    """Return what the parameters of an estimator may be, what they are first."""
    options = {**STRATEGIES, **TRAINING}
    if cls is not MultiTaskRegressor:
        options |= OF_CLASSES
    if cls is not MultiTaskClassifier:
        options["loss"] = LOSSES
    options["validation_metric"] = ["loss", *METRICS[KINDS[cls]]]
    return options


@st.composite
def estimators(draw, kinds=tuple(KINDS), names=None, most=5):
    """Draw an unfitted estimator with a few settings that are not its own."""
    cls = draw(st.sampled_from(kinds))
    options = options_of(cls)
    names = sorted(options if names is None else options.keys() & set(names))
    varied = draw(st.lists(st.sampled_from(names), max_size=most, unique=True))
    settings = {name: draw(st.sampled_from(options[name])) for name in varied}
    own = {"encoder": MLP((4,)), "max_iter": 2, "n_estimators": 1}
    return cls(**own | settings, random_state=draw(st.integers(0, 99)))


@st.composite
def weights_of_tasks(draw, est, own):
    """Draw settings of an estimator that depend on the tasks."""
    n_tasks = len(own.tasks)
    sizes = st.sampled_from([0, 1, 0.3, 1e-300, 1e300])
    settings = {}
    if draw(st.booleans()):
        settings["task_weight"] = [draw(sizes) for _ in own.tasks]
    if hasattr(est, "class_weight") and draw(st.booleans()):
        settings["class_weight"] = [
            {label: draw(sizes) for label in CLASSES.get(task.what, [])}
            for task in own.tasks
        ]
    if est.validation_metric != "loss":
        settings["validation_average"] = draw(st.integers(0, n_tasks - 1))
    return settings


@st.composite
def weights(draw, n, n_tasks):
    """Draw weights of rows or labels, or none."""
    form = draw(st.sampled_from([None, None, "rows", "labels"]))
    if form is None:
        return None
    shape = (n,) if form == "rows" else (n, n_tasks)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    what = draw(st.sampled_from(["some zero", "whole", "tiny", "huge", "all sizes"]))
    if what == "some zero":
        return rng.uniform(size=shape) * (rng.uniform(size=shape) < 0.7)
    if what == "whole":
        return rng.integers(0, 4, size=shape)
    sizes = {"tiny": -300, "huge": 300, "all sizes": rng.integers(-300, 300, shape)}
    return rng.uniform(size=shape) * 10.0 ** sizes[what]
