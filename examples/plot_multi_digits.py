"""
Sharing strategies on images of two digits
==========================================

Two digits overlap in each image: which is the left one, which the right one? It is
MultiMNIST, a common test of multi-task learning, on a small scale. Each strategy
shares the same convolutional network between the two tasks in its own way.
"""

# %%
# Data
# ----
# No test image holds a handwritten digit that a training image holds too.

import matplotlib.pyplot as plt
import numpy as np

from skmtl import MultiTaskClassifier
from skmtl.datasets import make_multi_digits
from skmtl.encoder import CNN

X, Y = make_multi_digits(2000, subset="train", random_state=0)
X_test, Y_test = make_multi_digits(1000, subset="test", random_state=0)

fig, axes = plt.subplots(1, 8, figsize=(9, 1.5), layout="constrained")
for ax, image, (left, right) in zip(axes, X[:, 0], Y, strict=False):
    ax.imshow(image, cmap="gray_r")
    ax.set_title(f"{left}, {right}", fontsize=10)
    ax.set_axis_off()

# %%
# Errors per task
# ---------------
# Every strategy trains twice, from other initial weights.

STRATEGIES = ["independent", "hard", "additive", "mmoe", "cross_stitch", "mtan"]
N_FITS = 2
errors = np.zeros((len(STRATEGIES), N_FITS, 2))
for s, sharing in enumerate(STRATEGIES):
    for seed in range(N_FITS):
        model = MultiTaskClassifier(
            sharing,
            encoder=CNN((8, 16), hidden_layer_sizes=(64,), norm="batch"),
            learning_rate_init=5e-3,
            batch_size=100,
            max_iter=8,
            early_stopping=False,
            random_state=seed,
        )
        predicted = model.fit(X, Y).predict(X_test)
        errors[s, seed] = 100 * (predicted != Y_test).mean(axis=0)

# %%
# Result
# ------
# Bars are mean test errors, so shorter is better; dots are single fits.

size = (9, 1 + 0.5 * len(STRATEGIES))
fig, axes = plt.subplots(1, 2, figsize=size, sharex=True, sharey=True)
for t, (ax, task) in enumerate(zip(axes, ["left digit", "right digit"], strict=True)):
    for row, sharing in enumerate(STRATEGIES):
        values = errors[row, :, t]
        color = "0.6" if sharing == "independent" else "C0"
        ax.barh(row, values.mean(), color=color, height=0.7)
        ax.plot(values, np.full(N_FITS, row), "o", color="black", ms=3)
        ax.text(0.3, row, f"{values.mean():.1f}", va="center", color="white")
    ax.set(title=task, xlabel="test error (%)")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_yticks(range(len(STRATEGIES)), STRATEGIES)
axes[0].invert_yaxis()
fig.tight_layout()
plt.show()
