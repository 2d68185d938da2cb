"""
Three tasks on CIFAR-10 with a convolutional network
====================================================

The textbook program for multi-task learning on images: one convolutional network with
a shared dense layer and a softmax head per task. Three tasks are derived from the class
of each image. CIFAR-10 is read from disk, see `skmtl.datasets.load_cifar10`; where it
is not there, handwritten digits of 8 x 8 pixels take its place.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skmtl import MultiTaskClassifier
from skmtl.datasets import load_cifar10
from skmtl.encoder import CNN

# %%
# Each class belongs to a kind and to a group, which makes tasks of 10, 2 and 3 classes:
# for CIFAR-10 the class, animal or vehicle, and its size; for digits the digit, odd or
# even, and the number of closed loops.

try:
    X_train, y_train = load_cifar10(return_X_y=True)
    X_test, y_test = load_cifar10(subset="test", return_X_y=True)
    tasks = ["class", "animal or vehicle", "small, medium or large"]
    kind = np.array([1, 1, 0, 0, 0, 0, 0, 0, 1, 1])  # airplane, automobile, bird, ...
    group = np.array([2, 1, 0, 0, 1, 0, 0, 1, 2, 2])
    print("CIFAR-10, 32 x 32 pixels in colour")
except FileNotFoundError:
    digits = load_digits()
    X_train, X_test, y_train, y_test = train_test_split(
        digits.images[:, None] / 16, digits.target, test_size=0.5, random_state=0
    )
    tasks = ["digit", "odd or even", "closed loops"]
    kind = np.arange(10) % 2
    group = np.array([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])
    print("CIFAR-10 is not there, so these are digits of 8 x 8 pixels")
Y_train, Y_test = (np.column_stack([y, kind[y], group[y]]) for y in (y_train, y_test))
print(f"{len(X_train)} images to train on, {len(X_test)} to test on")

# %%
# The network: 32 convolutions of 3 x 3, a dense layer of 64 that all tasks share, and a
# head per task, trained with cross-entropy and Adam for ten epochs of batches of 32.

encoder = CNN(
    (32,), kernel_size=3, padding="valid", pooling=None, hidden_layer_sizes=(64,)
)
model = MultiTaskClassifier(
    sharing="hard",
    encoder=encoder,
    optimizer="adam",
    alpha=0.0,
    batch_size=32,
    max_iter=10,
    early_stopping=False,
    random_state=0,
).fit(X_train, Y_train)
accuracy = (model.predict(X_test) == Y_test).mean(axis=0)

# %%
# The most frequent class of each task, always predicted, is what to compare with.

frequent = [np.bincount(y).argmax() for y in Y_train.T]
for task, found, chance in zip(
    tasks, accuracy, (Y_test == frequent).mean(axis=0), strict=True
):
    print(f"{task:<24}{found:.3f}, most frequent class {chance:.3f}")

# %%
# Twelve test images with the answers to the three tasks; wrong ones are red.

fig, axes = plt.subplots(2, 6, figsize=(9, 3.9), layout="constrained")
for ax, image, answers, truth in zip(
    axes.flat, X_test, model.predict(X_test[:12]), Y_test, strict=False
):
    ax.imshow(image.transpose(1, 2, 0), cmap="gray_r")
    ax.set_axis_off()
    color = "C3" if (answers != truth).any() else "0.2"
    ax.set_title(", ".join(map(str, answers)), color=color, fontsize=10)
fig.suptitle("Predicted: " + ", ".join(tasks))
plt.show()
