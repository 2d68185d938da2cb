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
# Eight numbers are to be predicted for each of 200 rows. Their functions are related,
# with a correlation of 0.95 between any two, and there is as much noise as signal: no
# model can reach an R² above one half. That is where sharing should help, for each task
# lends the others its labels.

import matplotlib.pyplot as plt
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV

from skmtl import MultiTaskRegressor
from skmtl.datasets import make_multitask_regression
from skmtl.encoder import MLP
from skmtl.model_selection import compare_sharing

X, y = make_multitask_regression(
    200, n_features=8, n_tasks=8, relatedness=0.95, noise=1.0, random_state=0
)

# %%
# Comparison
# ----------
# Two ways to share stand beside two estimators of scikit-learn. The same networks with
# nothing shared are added as the baseline. Single small networks are enough here, and
# quick. The rows are dealt to five folds three times.

QUICK = {
    "encoder": MLP((64,), dropout=0, numeric_embedding=None),
    "n_estimators": 1,
    "max_iter": 60,
}
candidates = {
    "hard": MultiTaskRegressor(sharing="hard", **QUICK),
    "MMoE": MultiTaskRegressor(sharing="mmoe", **QUICK),
    "ridge": RidgeCV(),
    "forest": RandomForestRegressor(50),
}
comparison = compare_sharing(candidates, X, y, cv=5, n_repeats=3, random_state=0)
print(comparison)

# %%
# The picture
# -----------
# On the left are the mean scores. Their intervals are wide, for some folds are harder
# than others, but all candidates have met the same folds: the marks tell what the
# differences to the baseline say. On the right are the mean ranks over tasks and folds.
# A candidate whose rank lies in the grey band, as long as the critical difference,
# cannot be told from the best by its rank.

comparison.plot()
plt.show()

# %%
# Both ways to share are better than separate networks, and MMoE is not clearly better
# than hard sharing, which is smaller and quicker. Ranks say less than differences here:
# they are blind to how much better a candidate is.
#
# Task by task
# ------------
# The table has a row for each candidate and task. These are the gains against separate
# networks, in percent of their score: hardly a task pays for the others.

frame = comparison.to_frame()
(100 * frame["delta_m"].unstack()).round(1)

# %%
# What a fit takes, in seconds and parameters:

frame.xs("mean", level="task")[["fit_seconds", "predict_seconds", "n_parameters"]]
