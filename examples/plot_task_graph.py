"""
A graph between tasks with few labels
=====================================

Twenty tasks have some fifty labels each. Where it is known which of them are related,
their heads can learn from each other along a graph. Where it is not known, a relation
can look for it. What is each worth?
"""

# %%
# Data
# ----
# Functions of the tasks are in four groups; within a group their correlation is 0.9.
# Labels are noisy, and seven of eight are missing. To test, the functions' own values
# are at hand, which noise does not blur.

import matplotlib.pyplot as plt
import numpy as np

from skmtl import MultiTaskRegressor
from skmtl.datasets import make_multitask_regression
from skmtl.relation import GraphLaplacian, TaskCovariance, TaskGraph

N_TASKS, N_TRAIN = 20, 400


def draw(seed):
    """Return data whose relation between tasks is known."""
    return make_multitask_regression(
        N_TRAIN + 1000,
        n_tasks=N_TASKS,
        groups=4,
        relatedness=0.9,
        noise=0.5,
        missing=0.875,
        return_X_y=False,
        random_state=seed,
    )


data = draw(seed=0)
adjacency = data.relation - np.eye(N_TASKS)  # 0.9 within groups, 0 between them
n_labels = (~np.isnan(data.Y[:N_TRAIN])).sum(axis=0)
print(f"labels per task: {n_labels.min()} to {n_labels.max()}")

# %%
# Relations
# ---------
# All networks share their hidden layers ("hard"), so that a task has nothing of its own
# but its head.
#
# - `skmtl.relation.TaskGraph` adds to each head those of its neighbours,
#   `skmtl.relation.GraphLaplacian` draws it to them. Both are given the true graph.
# - A graph by the correlation of labels has, for each pair of tasks, some six rows that
#   have both labels.
# - ``"learned"`` begins with all tasks as neighbours, and learns the weights.
# - `skmtl.relation.TaskCovariance` learns from the heads which tasks go together.

RELATIONS = {
    "none": None,
    "TaskGraph, true": TaskGraph(adjacency),
    "GraphLaplacian, true": GraphLaplacian(adjacency),
    "TaskGraph, correlation": TaskGraph("correlation"),
    "TaskGraph, learned": TaskGraph("learned"),
    "TaskCovariance": TaskCovariance(),
}
QUICK = {"n_estimators": 1, "max_iter": 70}  # by default 8 networks and 100 epochs
N_DRAWS = 3
scores = {name: [] for name in RELATIONS}
found = {}  # of the first draw
for seed in range(N_DRAWS):
    data = draw(seed)
    X, Y = data.X[:N_TRAIN], data.Y[:N_TRAIN]
    for name, relation in RELATIONS.items():
        est = MultiTaskRegressor(relation=relation, random_state=seed, **QUICK)
        est.fit(X, Y)
        scores[name].append(est.score(data.X[N_TRAIN:], data.signal[N_TRAIN:]))
        if seed == 0 and relation is not None:
            found[name] = est.relation_

# %%
# What they are worth
# -------------------
# Dots are draws of functions, rows and networks, bars their means.

fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
base = np.array(scores.pop("none"))
for row, values in enumerate(scores.values()):
    gains = values - base
    ax.barh(row, gains.mean(), color="C0", height=0.6)
    ax.plot(gains, [row] * N_DRAWS, "k.", markersize=5)
    label = f"{gains.mean():+.3f} ± {gains.std(ddof=1):.3f}"
    ax.annotate(label, (1, row), xycoords=("axes fraction", "data"), va="center")
ax.axvline(0, color="black", linewidth=0.8)
ax.set_yticks(range(len(scores)), scores)
ax.invert_yaxis()
ax.set_xlabel(f"R² above that without a relation, {base.mean():.3f}")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# What they found
# ---------------
# ``relation_`` tells the weights between tasks, here those of the first draw. Groups
# are neighbours in the order of the tasks. The diagonals are left out, and each picture
# has a scale of its own.

chosen = ["TaskGraph, true", "TaskGraph, correlation", *list(scores)[-2:]]
fig, axes = plt.subplots(1, 4, figsize=(8, 2.4), layout="constrained")
for ax, name in zip(axes, chosen, strict=True):
    weights = found[name] * (1 - np.eye(N_TASKS))
    largest = abs(weights).max()
    ax.imshow(weights, cmap="RdBu", vmin=-largest, vmax=largest)
    ax.set(xticks=[], yticks=[])
    ax.set_title(name.replace(", ", ",\n"), fontsize="medium")
plt.show()

# %%
# A graph that is known to be true is worth most, by either way to use it. What has to
# be found out from fifty labels per task is worth less than half of that, although the
# groups can be seen in what was learned. Where tasks are not related, a relation that
# looks for one does harm: see :doc:`/user_guide/relations`.
