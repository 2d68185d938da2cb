"""
Thresholds and calibration task by task
=======================================

A multi-task network gives probabilities for all tasks at once, but whether they come
true, and from which one on to act, are questions of each task. Most tools for them know
one target only. :meth:`~skmtl.MultiTaskClassifier.task_estimator` gives a view of one
task that they take.
"""

# %%
# Data and network
# ----------------
# Three tasks on noisy pictures of handwritten digits: whether the digit is odd, whether
# it is above four, and whether it is an eight, as one in ten is. Rows are kept apart
# for calibration, and others for tests. A single network without early stopping is far
# too sure of itself; members that are averaged would not be, but not all models are
# such.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import confusion_matrix, make_scorer
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

from skmtl import MultiTaskClassifier
from skmtl.encoder import MLP
from skmtl.metrics import ReliabilityDisplay, task_scores
from skmtl.model_selection import multitask_train_test_split

X, digit = load_digits(return_X_y=True)
X = X + np.random.default_rng(0).normal(scale=6, size=X.shape)
y = pd.DataFrame({"odd": digit % 2 == 1, "above four": digit > 4, "eight": digit == 8})
X_train, X_rest, y_train, y_rest = multitask_train_test_split(
    X, y, test_size=0.7, random_state=0
)
X_held, X_test, y_held, y_test = multitask_train_test_split(
    X_rest, y_rest, test_size=0.5, random_state=0
)
network = MultiTaskClassifier(
    encoder=MLP((128,), dropout=0, numeric_embedding=None),
    n_estimators=1,
    max_iter=60,
    early_stopping=False,
    random_state=0,
).fit(X_train, y_train)

# %%
# Do the probabilities come true?
# -------------------------------
# Of rows with a predicted probability of 0.9, nine in ten should be positive. Points
# below the dotted line on the right and above it on the left are the mark of a network
# that is too sure.

ReliabilityDisplay.from_estimator(network, X_test, y_test, n_bins=6)
plt.show()

# %%
# Calibration
# -----------
# ``FrozenEstimator`` keeps a tool from fitting the view anew: only the curve that
# corrects its probabilities is fitted, to the rows held out. With fewer of them than
# here, some six hundred, ``method="sigmoid"`` is the safer curve.

calibrated = {
    task: CalibratedClassifierCV(
        FrozenEstimator(network.task_estimator(task)), method="isotonic"
    ).fit(X_held, y_held[task])
    for task in y
}
proba = [model.predict_proba(X_test) for model in calibrated.values()]
ReliabilityDisplay.from_predictions(y_test, proba, n_bins=6)
plt.show()

# %%
# The Brier score, the mean squared error of the probabilities, tells the same in a
# number for each task; scikit-learn writes it such that more is better.

before = task_scores(y_test, network.predict_proba(X_test), "neg_brier_score")
after = task_scores(y_test, proba, "neg_brier_score")
pd.DataFrame({"before": before, "after": after}, index=y.columns).round(3)

# %%
# Thresholds
# ----------
# Suppose that to miss a positive costs as much as 1, 4 and 20 false alarms. With
# probabilities that come true the best threshold follows from that, and needs no data:
# 1 / (1 + cost).

COSTS = {"odd": 1, "above four": 4, "eight": 20}


def gain(true, predicted, cost):
    """Return the negative mean cost of a row."""
    _, false_alarms, misses, _ = confusion_matrix(true, predicted).ravel()
    return -(false_alarms + cost * misses) / len(true)


results = {}
for task, cost in COSTS.items():
    view = network.task_estimator(task)
    models = {
        "predict": view,
        "1 / (1 + cost), not calibrated": FixedThresholdClassifier(
            FrozenEstimator(view), threshold=1 / (1 + cost)
        ).fit(X_held, y_held[task]),
        "1 / (1 + cost), calibrated": FixedThresholdClassifier(
            FrozenEstimator(calibrated[task]), threshold=1 / (1 + cost)
        ).fit(X_held, y_held[task]),
        "tuned on rows held out": TunedThresholdClassifierCV(
            FrozenEstimator(view),
            scoring=make_scorer(gain, cost=cost),
            cv="prefit",
            refit=False,
        ).fit(X_held, y_held[task]),
    }
    results[task] = {
        name: -gain(y_test[task], model.predict(X_test), cost)
        for name, model in models.items()
    }

# %%
# Result
# ------
# Mean cost of a test row, less is better:

pd.DataFrame(results).round(3)

# %%
# Where a miss costs as much as a false alarm, one half is the threshold in any case.
# The dearer a miss, the more there is to gain, and the more it takes probabilities that
# come true. A threshold that is tuned on the rows held out does as well without them,
# but has to be tuned anew when costs change. ``threshold=`` of the estimators tunes it
# on out-of-fold predictions, and needs no rows held out.
