"""
Which tasks help which
======================

A network that tasks share is of use where they need the same features. Which ones do?
Labels tell something before any training. A training that looks, on its way, at how a
step on one task changes the losses of the others tells it of the network itself. Here
the answer is known, so that both can be held against the truth.
"""

# %%
# Data
# ----
# Nine tasks of two classes come from functions in three groups: functions of one group
# are correlated, those of different groups have nothing in common. Names tell the
# group; their order does not.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmtl import MultiTaskClassifier
from skmtl.datasets import make_multitask_classification
from skmtl.encoder import MLP
from skmtl.inspection import (
    TaskAffinityDisplay,
    TaskGraphDisplay,
    group_tasks,
    label_dependence,
    task_affinity,
)

NAMES = ["A1", "B1", "C1", "A2", "B2", "C2", "A3", "B3", "C3"]
GROUPS = [["A1", "A2", "A3"], ["B1", "B2", "B3"], ["C1", "C2", "C3"]]
N_TRAIN = 300


def draw(seed):
    """Return rows to train on, rows to test on, and the true correlations."""
    data = make_multitask_classification(
        N_TRAIN + 1000,
        groups=[name[0] for name in NAMES],
        noise=0.3,
        return_X_y=False,
        random_state=seed,
    )
    Y = pd.DataFrame(data.Y, columns=NAMES)
    relation = pd.DataFrame(data.relation, NAMES, NAMES)
    train, test = slice(N_TRAIN), slice(N_TRAIN, None)
    return data.X[train], Y[train], data.X[test], Y[test], relation


X, Y, X_test, Y_test, relation = draw(seed=0)
# Single small networks are enough here, and quick.
QUICK = {"encoder": MLP((32, 32), dropout=0, numeric_embedding=None), "n_estimators": 1}

# %%
# What labels tell
# ----------------
# `skmtl.inspection.label_dependence` needs no inputs and no model: it measures how
# labels go together in the training rows. A p-value says which pairs chance could have
# made.

labels = label_dependence(Y, "correlation", n_permutations=199, random_state=0)
display = TaskAffinityDisplay.from_affinity(labels.value, label="correlation")
display.ax_.set_title("labels")
plt.show()

pairs = np.triu(np.ones(relation.shape, dtype=bool), k=1)
related = relation.to_numpy() != 0
certain = labels.p_value.to_numpy() < 0.01
print(f"related pairs with p < 0.01: {(certain & related)[pairs].sum()} of 9")
print(f"unrelated pairs with p < 0.01: {(certain & ~related)[pairs].sum()} of 27")

# %%
# What training tells
# -------------------
# `skmtl.inspection.task_affinity` trains a copy of an estimator, with sharing, and
# measures the part of each task's loss that a step on each other task takes away.
# `skmtl.inspection.group_tasks` makes groups of that, and finds their number.

affinity = task_affinity(MultiTaskClassifier(random_state=0, **QUICK), X, Y)
found = group_tasks(affinity)
print("found:", found)
print("true: ", GROUPS)

# %%
# Both pictures put tasks that belong together side by side, and draw a frame around
# groups: those that were found, and the true ones.

fig, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
TaskAffinityDisplay.from_affinity(affinity, groups=found, ax=axes[0])
TaskAffinityDisplay.from_affinity(
    relation, groups=GROUPS, ax=axes[1], label="correlation of functions"
)
axes[0].set_title("found")
axes[1].set_title("truth")
plt.show()

# %%
# The same as a graph: for each task, an arrow from the one that helps it most, the
# wider the more. Dashed arrows are from tasks that hurt most.

display = TaskGraphDisplay.from_affinity(affinity, groups=found)
plt.show()

# %%
# Is it of use?
# -------------
# ``sharing="auto_grouped"`` does all this inside ``fit``: it looks first, and then
# trains one network per group that it has found. How often is the grouping the true
# one, and what is it worth on rows that were not seen? The six draws differ in their
# functions, rows and networks.

SHARING = ["independent", "hard", "auto_grouped"]
scores = []
for seed in range(6):
    X, Y, X_test, Y_test, _ = draw(seed)
    models = [MultiTaskClassifier(s, random_state=seed, **QUICK) for s in SHARING]
    scores.append([model.fit(X, Y).score(X_test, Y_test) for model in models])
    right = sorted(map(sorted, models[-1].groups_)) == GROUPS
    print(f"draw {seed}: {'the true groups' if right else models[-1].groups_}")

# %%
# Thin lines are draws, the thick one is their mean.

percent = 100 * np.array(scores)  # (draws, ways of sharing)
fig, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
ax.plot(SHARING, percent.T, "o-", color="0.7", linewidth=1, markersize=4)
ax.plot(SHARING, percent.mean(axis=0), "o-", color="C0", linewidth=2.5)
for x, mean in enumerate(percent.mean(axis=0)):
    ax.annotate(f"{mean:.1f}", (x, mean), (8, -3), textcoords="offset points", c="C0")
ax.set_xlim(-0.2, 2.4)
ax.set_ylabel("accuracy, mean of nine tasks (%)")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# One network for all nine tasks is no better than nine networks: what tasks of one
# group gain, they lose to the other groups. Groups keep the gain, in every draw.
