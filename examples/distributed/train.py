"""Train one model in several processes.

Run it under torch's launcher or under Accelerate's, here with two processes on one
machine::

    torchrun --nproc_per_node=2 examples/distributed/train.py
    accelerate launch --multi_gpu --num_processes=2 examples/distributed/train.py

Each process takes a GPU of its own, or all of them the CPU where there is none. For
several machines, both take their number and the address of the first: ``--nnodes``,
``--node_rank``, ``--master_addr`` of torchrun, ``--num_machines``, ``--machine_rank``,
``--main_process_ip`` of Accelerate. ``python examples/distributed/train.py`` trains the
same model in one process.

Each image of a handwritten digit has three labels: the digit, whether it is odd, and
how many closed loops its shape has. Two labels in five are hidden from training. Every
process reads the data and takes its share of each batch of 128 rows; all of them end
with the same model, and the main one shows progress, scores the model and saves it.
"""

import sys

import numpy as np
import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import skmtl
from skmtl import MultiTaskClassifier

TASKS = ["digit", "odd", "loops"]
LOOPS = np.array([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])  # closed loops in 0, 1, ..., 9

accelerator = Accelerator(cpu=not torch.cuda.is_available())
X, digit = load_digits(return_X_y=True)
Y = np.column_stack([digit, digit % 2, LOOPS[digit]]).astype(float)
X, X_test, Y, Y_test = train_test_split(X / 16, Y, test_size=0.5, random_state=0)
Y[np.random.default_rng(0).random(Y.shape) < 0.4] = np.nan

est = MultiTaskClassifier(
    n_estimators=1,
    batch_size=128,
    max_iter=20,
    learning_rate_init=0.01,
    random_state=0,
    verbose=1,
    accelerator=accelerator,
)
est.fit(X, Y)  # all processes call it

if accelerator.is_main_process:
    accuracies = [
        f"{name} {np.mean(predicted == true):.3f}"
        for name, predicted, true in zip(
            TASKS, est.predict(X_test).T, Y_test.T, strict=True
        )
    ]
    print(f"Accuracy with {accelerator.num_processes} processes:", *accuracies)
    if len(sys.argv) > 1:  # a file to save the model to
        skmtl.save(est, sys.argv[1])
accelerator.end_training()
