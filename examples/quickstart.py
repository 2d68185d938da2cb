"""Which way of sharing suits three tasks on handwritten digits?

Each image has three labels: the digit, whether it is odd, and how many closed loops its
shape has. Four labels in five are hidden from training, each task's own. A grid search
picks the sharing strategy, and test rows with all labels show whether it was worth it
beside separate models.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier
from skmtl.sharing import Additive

TASKS = ["digit", "odd", "loops"]
LOOPS = np.array([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])  # closed loops in 0, 1, ..., 9

X, digit = load_digits(return_X_y=True)
Y = np.column_stack([digit, digit % 2, LOOPS[digit]]).astype(float)
X, X_test, Y, Y_test = train_test_split(X, Y, test_size=0.5, random_state=0)
Y[np.random.default_rng(0).random(Y.shape) < 0.8] = np.nan
n_labels = zip(np.isfinite(Y).sum(axis=0), TASKS, strict=True)
labels = ", ".join(f"{n} {task}" for n, task in n_labels)
print(f"Training on {len(X)} images with these many labels: {labels}")

print("\n1. Fit a model")
est = MultiTaskClassifier(sharing="hard", random_state=0, verbose=1).fit(X, Y)
score = est.score(X_test, Y_test)
print(f"   mean accuracy on {len(X_test)} test images: {score:.3f}")

print("\n2. Search over sharing strategies, with one network of the eight for speed")
STRATEGIES = ["independent", "hard", Additive(strength=0.01), "mmoe", "cross_stitch"]
search = GridSearchCV(
    est.set_params(n_estimators=1, verbose=0),
    {"sharing": STRATEGIES},
    cv=KFold(5, shuffle=True, random_state=0),  # a splitter, since labels are missing
    verbose=3,  # a line per fit
)
search.fit(X, Y)

print("\n3. Accuracy on the test images")


def print_row(name, scores):
    print(f"   {name:<26}" + "".join(f"{s:>8.3f}" for s in [*scores, np.mean(scores)]))


print("   " + " " * 26 + "".join(f"{name:>8}" for name in [*TASKS, "mean"]))
separate = []
for t in range(len(TASKS)):
    has_label = np.isfinite(Y[:, t])
    model = make_pipeline(StandardScaler(), MLPClassifier((128, 128), random_state=0))
    model.fit(X[has_label], Y[has_label, t])
    separate.append(model.score(X_test, Y_test[:, t]))
print_row("separate MLPClassifiers", separate)
best = search.best_params_["sharing"]
for sharing in STRATEGIES:
    model = search.best_estimator_
    if sharing != best:
        model = est.set_params(sharing=sharing).fit(X, Y)
    print_row(str(sharing), np.mean(model.predict(X_test) == Y_test, axis=0))
print(f"\nCross-validation chose sharing={best!r}.")
