"""
Negative transfer, seen and cured
=================================

Tasks that share a network can hurt each other: networks of their own would do better.
That is negative transfer. It is seen by comparing both on the same splits of the data,
task by task. What cures it depends on what causes it; here the network is too small for
all that it has to learn.
"""

# %%
# Data
# ----
# Five tasks have functions that are nearly the same, and noisy labels. Three others
# have functions of their own, which nothing else helps to learn. There are 300 rows.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.base import clone

from skmtl import MultiTaskRegressor
from skmtl.datasets import make_multitask_regression
from skmtl.encoder import MLP
from skmtl.inspection import (
    SharingGainDisplay,
    group_tasks,
    sharing_gain,
    task_affinity,
)
from skmtl.relation import Distillation

NAMES = ["A1", "A2", "A3", "A4", "A5", "B", "C", "D"]
X, Y = make_multitask_regression(
    300,
    groups=[name[0] for name in NAMES],
    relatedness=0.95,
    noise=[1.0 if name[0] == "A" else 0.3 for name in NAMES],
    random_state=0,
)
Y = pd.DataFrame(Y, columns=NAMES)


def network(width):
    """Return one layer of hidden units."""
    return MLP((width,), dropout=0, numeric_embedding=None)


# %%
# Seen
# ----
# All eight tasks share a layer of 24 units. `skmtl.inspection.sharing_gain` fits this
# network, and one of 24 units for each task, on the same folds. Its intervals allow for
# the training rows that folds have in common.

small = MultiTaskRegressor(
    encoder=network(24), n_estimators=1, max_iter=50, random_state=0
)
FOLDS = {"cv": 8}
hard = sharing_gain(small, X, Y, **FOLDS)
display = SharingGainDisplay.from_gain(hard)
plt.show()

# %%
# Scores are R². Sharing hurts B, C and D, whose intervals lie below zero. What the five
# related tasks gain, if they do, is little beside that.
#
# The cause
# ---------
# A step on one of the related tasks helps the other four, as their affinity tells.
# Between B, C, D and the others there is next to nothing, neither help nor harm: tasks
# do not oppose each other, they compete for 24 units. (Opposite labels would not hurt,
# either: the head of a task turns the sign around.)

affinity = task_affinity(small, X, Y)
print((1000 * affinity).round(1))
print(group_tasks(affinity))

# %%
# Cured
# -----
# Tasks that have nothing to give each other need room of their own, or more of it in
# common.
#
# - ``"auto_grouped"`` finds groups in each training fold, and gives each a network.
# - ``"additive"`` gives each task a network beside the shared one.
# - A wide layer has as many units as all separate networks together.
# - `skmtl.relation.Distillation` trains separate networks first, and then the shared
#   one to predict what they do, too.

CURES = {
    "hard, Distillation": {"relation": Distillation()},
    "additive": {"sharing": "additive"},
    "auto_grouped": {"sharing": "auto_grouped"},
    "hard, 192 units": {"encoder": network(8 * 24)},
    "auto_grouped, 192 units": {
        "sharing": "auto_grouped",
        "encoder": network(8 * 24),
    },
}
gains = {"hard": hard}
for name, settings in CURES.items():
    gains[name] = sharing_gain(clone(small).set_params(**settings), X, Y, **FOLDS)

# %%
# All are held against the same separate networks, those of 24 units, on the same folds.
# Dots are tasks, bars their means.

fig, axes = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True, layout="constrained")
parts = {"five related tasks": slice(5), "three tasks of their own": slice(5, None)}
for ax, (title, part) in zip(axes, parts.items(), strict=True):
    for row, (name, gain) in enumerate(gains.items()):
        difference = (gain.scores - hard.independent_scores)[:, part].mean(axis=0)
        mean = difference.mean()
        ax.barh(row, mean, color="0.6" if name == "hard" else "C0", height=0.6)
        ax.plot(difference, [row] * len(difference), "k.", markersize=5)
        ax.annotate(f"{mean:+.3f}", (0.21, row), va="center")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set(title=title, xlabel="R² above that of separate networks", xlim=(-0.29, 0.29))
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_yticks(range(len(gains)), gains)
axes[0].invert_yaxis()
plt.show()

# %%
# Additive networks and groups take the harm away, and cost the related tasks nothing.
# Distillation does not: the shared network cannot do what its teachers can, whatever
# it is told. The wide layer lifts B, C and D, but would lift separate networks, too.
# Against those of 192 units each they still lose by sharing, some 0.04 each, and by
# groups they do not:

for name in ("hard, 192 units", "auto_grouped, 192 units"):
    print(name)
    print(gains[name].to_frame()[["shared", "independent", "gain", "hurts"]].round(2))
