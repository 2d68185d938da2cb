"""
Candidates compared on the same folds
=====================================

A comparison that can be trusted fits all candidates on the same folds from the same
seeds, looks at differences instead of scores, and does not take overlapping folds for
independent trials. :func:`~skmtl.model_selection.compare_sharing` does so, and draws
what it finds.
"""

# %%
# Data
# ----
# Each handwritten digit has three tasks: the digit, whether it is odd, and how many
# closed loops its shape has. Five labels in six are missing, so that each task has few
# of its own, and reason to learn from the others.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from skmtl import MultiTaskClassifier
from skmtl.encoder import MLP
from skmtl.model_selection import compare_sharing

X, digit = load_digits(return_X_y=True)
loops = np.array([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])[digit]
parity = np.where(digit % 2, "odd", "even")
complete = pd.DataFrame({"digit": digit, "parity": parity, "loops": loops}, dtype=object)
y = complete.mask(np.random.default_rng(0).random(complete.shape) < 5 / 6)

# %%
# Comparison
# ----------
# The estimator with nothing shared is added as the baseline. Single small networks are
# enough here, and quick. Four folds are dealt three times.

est = MultiTaskClassifier(
    encoder=MLP((64,), dropout=0, numeric_embedding=None), n_members=1, max_iter=60
)
comparison = compare_sharing(
    est,
    X,
    y,
    param_grid={"sharing": ["hard", "additive", "mmoe"]},
    scoring="balanced_accuracy",
    cv=4,
    n_repeats=3,
    random_state=0,
)
comparison

# %%
# The picture
# -----------
# On the left are the mean scores. Their intervals are wide, for some folds are harder
# than others; the marks tell what the differences to the baseline on the same folds
# say. On the right are the mean ranks over tasks and folds. A candidate whose rank lies
# in the grey band, as long as the critical difference, cannot be told from the best.

comparison.plot()
plt.show()

# %%
# Task by task
# ------------
# The table has a row for each candidate and task. These are the gains against separate
# networks, in percent of their score, and how long a fit takes.

frame = comparison.to_frame()
(100 * frame["delta_m"].unstack()).round(1)

# %%
frame.xs("mean", level="task")[["fit_seconds", "n_parameters"]].round(2)
