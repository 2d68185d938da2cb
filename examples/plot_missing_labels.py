"""
Sharing when labels are missing
===============================

A task with few labels can learn from the labels of other tasks, if they share a
network. How much does that help? Labels of three tasks on handwritten digits are hidden
at random, and networks that share are compared with networks that share nothing.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier
from skmtl.encoder import MLP

TASKS = ["digit", "odd", "loops"]
X, digit = load_digits(return_X_y=True)
loops = np.array([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])[digit]
Y = np.column_stack([digit, digit % 2, loops]).astype(float)

# %%
# Each share of missing labels is drawn five times, with the same rows and labels for
# both ways of sharing. A missing label is NaN.

MISSING = [0.0, 0.5, 0.7, 0.9, 0.95]
STRATEGIES = ["independent", "hard"]
# Single small networks are enough here, and quick.
QUICK = {
    "encoder": MLP((128, 128), dropout=0, numeric_embedding=None),
    "n_estimators": 1,
    "max_iter": 200,
    "n_iter_no_change": 10,
}
N_DRAWS = 5
accuracy = np.zeros((len(STRATEGIES), len(MISSING), N_DRAWS, len(TASKS)))
for i, share in enumerate(MISSING):
    for seed in range(N_DRAWS):
        X_train, X_test, Y_train, Y_test = train_test_split(
            X, Y, test_size=0.5, random_state=seed
        )
        hidden = np.random.default_rng(seed).random(Y_train.shape) < share
        Y_train = np.where(hidden, np.nan, Y_train)
        for s, sharing in enumerate(STRATEGIES):
            model = make_pipeline(
                StandardScaler(),
                MultiTaskClassifier(sharing, random_state=seed, **QUICK),
            )
            predicted = model.fit(X_train, Y_train).predict(X_test)
            accuracy[s, i, seed] = (predicted == Y_test).mean(axis=0)

# %%
# Thin lines are single draws, thick lines their means.

fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), sharey=True, layout="constrained")
positions = range(len(MISSING))
for t, ax in enumerate(axes):
    for s, (sharing, color) in enumerate(zip(STRATEGIES, ["0.5", "C0"], strict=True)):
        ax.plot(positions, accuracy[s, :, :, t], color=color, alpha=0.3, lw=0.8)
        mean = accuracy[s, :, :, t].mean(axis=1)
        ax.plot(positions, mean, "o-", color=color, lw=2, label=sharing)
    ax.set_xticks(positions, [f"{share:.0%}" for share in MISSING])
    ax.set(title=TASKS[t], xlabel="labels missing")
    ax.grid(axis="y", alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("test accuracy")
axes[0].legend(loc="lower left", frameon=False)
plt.show()

# %%
# The gain from sharing, as the difference of the means. With every label present there
# is nothing to gain here; with half of them missing or more there is, as long as enough
# are left to train on.

print("missing  " + "".join(f"{name:>8}" for name in TASKS))
for share, row in zip(MISSING, np.diff(accuracy.mean(axis=2), axis=0)[0], strict=True):
    print(f"{share:>7.0%}  " + "".join(f"{value:>+8.3f}" for value in row))
