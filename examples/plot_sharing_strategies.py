"""
Sharing strategies compared task by task
========================================

Which strategy suits which task? Three tasks are derived from each handwritten digit:
the digit, whether it is odd, and how many closed loops its shape has. Five labels in
six are hidden, so that every task has reason to learn from the others.
"""

# %%
# Data
# ----
# The labels that each task keeps are drawn at random, so that most rows have a label of
# one task or of none.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skmtl import MultiTaskClassifier
from skmtl.encoder import MLP
from skmtl.sharing import Additive, Soft

TASKS = ["digit", "odd", "loops"]
X, digit = load_digits(return_X_y=True)
loops = np.array([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])[digit]
Y = np.column_stack([digit, digit % 2, loops]).astype(float)

# %%
# Accuracy over several draws
# ---------------------------
# One split of so small a data set says little: each strategy is fitted on five draws
# of rows and labels, the same for all strategies.

STRATEGIES = {
    "independent": "independent",
    "hard": "hard",
    "additive, strength 0.01": Additive(strength=0.01),
    "soft, strength 0.1": Soft(strength=0.1),
    "cross-stitch": "cross_stitch",
    "MMoE": "mmoe",
    "CGC": "cgc",
    "chain": "chain",
}
# Single small networks are enough here, and quick.
QUICK = {
    "encoder": MLP((128, 128), dropout=0, numeric_embedding=None),
    "n_estimators": 1,
    "max_iter": 200,
    "n_iter_no_change": 10,
}
scores = {name: [] for name in STRATEGIES}
for seed in range(5):
    X_train, X_test, Y_train, Y_test = train_test_split(
        X, Y, test_size=0.5, random_state=seed
    )
    hidden = np.random.default_rng(seed).random(Y_train.shape) < 5 / 6
    Y_train = np.where(hidden, np.nan, Y_train)
    for name, sharing in STRATEGIES.items():
        model = MultiTaskClassifier(sharing, random_state=seed, **QUICK)
        predicted = model.fit(X_train, Y_train).predict(X_test)
        scores[name].append((predicted == Y_test).mean(axis=0))

# %%
# Result
# ------
# Each panel is a task. Bars are mean test errors over the draws, so shorter is better;
# black lines span two standard errors, to either side, of the difference to independent
# networks on the same draws.

fig, axes = plt.subplots(1, 3, figsize=(9, 3), sharex=True, sharey=True)
errors = {name: 100 - 100 * np.array(values) for name, values in scores.items()}
for t, ax in enumerate(axes):
    for row, (name, values) in enumerate(errors.items()):
        mean = values[:, t].mean()
        difference = values[:, t] - errors["independent"][:, t]
        spread = 2 * difference.std(ddof=1) / np.sqrt(len(difference))
        color = "0.6" if name == "independent" else "C0"
        ax.barh(row, mean, xerr=spread or None, color=color, height=0.7)
        ax.text(0.3, row, f"{mean:.1f}", va="center", color="white")
    ax.set(title=TASKS[t], xlabel="test error (%)")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_yticks(range(len(errors)), errors)
axes[0].invert_yaxis()
fig.tight_layout()
plt.show()
