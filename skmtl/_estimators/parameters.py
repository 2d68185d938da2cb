"""The parameters of the estimators: types, constraints and documentation of each."""

import inspect
from dataclasses import dataclass
from numbers import Integral, Real
from os import PathLike
from textwrap import fill, indent
from typing import Any, TypeVar

import numpy as np
import torch

from skmtl._core.validation import Interval, Options, StrOptions
from skmtl._data.output_kinds import REGRESSION_LOSSES
from skmtl._estimators.class_labels import CLASS_WEIGHT
from skmtl._estimators.fitting.label_weights import SAMPLING
from skmtl._estimators.fitting.settings import DTYPES, OPTIMIZERS
from skmtl._estimators.thresholds import SCORES
from skmtl.encoder import ENCODER, Encoder
from skmtl.relation import RELATION, Relation
from skmtl.sharing import SHARING, Sharing
from skmtl.training import AUGMENTATION, Augmentation
from skmtl.weighting import WEIGHTING, Weighting

#: Number of torch threads that may be asked for, on any machine.
MOST_THREADS = 1024
C = TypeVar("C", bound=type)


@dataclass(frozen=True)
class Parameter:
    """What a parameter may be, and what it does."""

    type: str  # As documented, with the default.
    text: str
    constraint: Any  # In scikit-learn's form.


#: All parameters by group, in the order in which signatures have them.
GROUPS: dict[str, dict[str, Parameter]] = {
    "model": {
        "sharing": Parameter(
            'str or Sharing, default="hard"',
            """\
Which parameters tasks share: a name in `skmtl.sharing.SHARING`, or a spec such as
``Additive(strength=0.01)``.""",
            [StrOptions(set(SHARING)), Sharing],
        ),
        "encoder": Parameter(
            'str, Encoder or callable, default="mlp"',
            """\
What turns one sample into features: a name in `skmtl.encoder.ENCODER`, a spec such
as ``MLP((64, 64))``, or a `torch.nn.Module` class whose modules return features of
shape (n, width).""",
            [StrOptions(set(ENCODER)), Encoder, callable],
        ),
        "weighting": Parameter(
            'str or Weighting, default="equal"',
            """\
How task losses or gradients are balanced: a name in `skmtl.weighting.WEIGHTING`,
or a spec.""",
            [StrOptions(set(WEIGHTING)), Weighting],
        ),
        "relation": Parameter(
            "str, Relation or None, default=None",
            """\
How tasks inform each other beyond sharing: a name in `skmtl.relation.RELATION`, a
spec such as ``GraphLaplacian(strength=0.1)``, or None for none.""",
            [
                *([StrOptions(set(RELATION))] if RELATION else []),
                Relation,
                None,
            ],
        ),
        "loss": Parameter(
            '{"absolute_error", "huber", "squared_error"}, default="squared_error"',
            """\
Loss of the standardised regression targets; "huber" turns from squared to
absolute at one standard deviation.""",
            [StrOptions(set(REGRESSION_LOSSES))],
        ),
        "augmentation": Parameter(
            "str, Augmentation, callable or list of these, default=None",
            """\
What changes the batches of training at random. "flip" mirrors each image left to
right with probability 1/2. "crop" pads images with zeros by an eighth of their side
and cuts them back at random places. "noise" adds Gaussian noise of a tenth of the
standard deviation that the feature, or the channel, has in the batch. "mixup"
(Zhang et al., ICLR 2018) mixes rows in pairs, and the labels of all tasks with
them; a missing label leaves the pair's other one its share. ``set_params`` reaches
their settings: ``augmentation__alpha=0.4`` for "mixup", ``augmentation__scale`` for
"noise", ``augmentation__padding`` for "crop". A callable, such as a module of
kornia, maps a tensor of shape (n, ...) to a tensor of the same shape; it should
draw at random through torch only. A list applies its entries in order.""",
            [
                StrOptions(set(AUGMENTATION)),
                Augmentation,
                callable,
                list,
                None,
            ],
        ),
    },
    "ensemble": {
        "n_estimators": Parameter(
            'int or "auto", default="auto"',
            """\
Number of copies of the model, each with its own initial weights and batches, whose
probabilities, or values, are averaged (deep ensembles: Lakshminarayanan et al.,
NeurIPS 2017). They train as one computation where the strategies allow it, else in
turns. "auto" is 8 where the encoder reads tables, 4 from
10,000 labelled rows on or for a sparse matrix of more than 500 columns, and else 1,
a single network.""",
            [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        ),
        "resampling": Parameter(
            '{"crossfit", "bootstrap"} or None, default="crossfit"',
            """\
What each network of the ensemble is trained on. "crossfit" holds one of
``n_estimators`` folds out of each, "bootstrap" the rows that it does not draw with
replacement; each is then early-stopped on its held-out rows
(``early_stopping=False``: not), which gives out-of-fold predictions. None trains
all of them on the same rows, less those that ``early_stopping`` holds out. With
fewer than 50 labelled rows a fold is too small to stop by, so that "crossfit" works
as None unless ``early_stopping=True``.""",
            [StrOptions({"crossfit", "bootstrap"}), None],
        ),
        "calibrate": Parameter(
            "bool, default=True",
            """\
Whether predictions are drawn towards the priors, or away from them, by the one
slope that makes out-of-fold predictions fit best ("refine, then calibrate": Berta
et al., 2025); its square root for new rows, since averaging has gone half of the
way. Out-of-fold predictions of a fold have the slope that fits the other folds
best. It changes nothing where there are no out-of-fold predictions.""",
            ["boolean"],
        ),
    },
    "optimisation": {
        "optimizer": Parameter(
            '{"adam", "adamw", "sgd"} or type, default="adamw"',
            """\
The optimizer, or a `torch.optim.Optimizer` class. "sgd" has Nesterov momentum 0.9.""",
            [StrOptions(set(OPTIMIZERS)), callable],
        ),
        "learning_rate_init": Parameter(
            "float, default=0.003",
            """\
Learning rate.""",
            [Interval(Real, 0, None, closed="neither")],
        ),
        "alpha": Parameter(
            "float, default=0.01",
            """\
Weight decay, which draws predictions towards how often each class occurs; decoupled
with "adamw", an L2 term in the gradient with "adam" and "sgd". An optimizer class
without ``weight_decay`` has none.""",
            [Interval(Real, 0, None, closed="left")],
        ),
        "batch_size": Parameter(
            'int or "auto", default="auto"',
            """\
Rows per step. "auto" means for several members the power of two next to a twelfth
of the rows, between 32 and 512, or all rows where they are fewer than 50; for a
single network ``min(200, n_samples)``.""",
            [
                StrOptions({"auto"}),
                Interval(Integral, 1, None, closed="left"),
            ],
        ),
        "max_iter": Parameter(
            "int, default=100",
            """\
Number of epochs at most.""",
            [Interval(Integral, 1, None, closed="left")],
        ),
        "shuffle": Parameter(
            "bool, default=True",
            """\
Whether to draw the batches of each epoch in a new order.""",
            ["boolean"],
        ),
    },
    "stopping": {
        "early_stopping": Parameter(
            'bool or "auto", default="auto"',
            """\
Whether to stop on held-out rows and to bring back the best epoch;
"auto" does so where members have such rows or ``X_val`` is given, and for others
with 50 labelled rows or more, 500 where all tasks are regression. Without it the
training loss decides when to stop.""",
            [StrOptions({"auto"}), "boolean"],
        ),
        "validation_fraction": Parameter(
            "float, default=0.1",
            """\
Share of the labelled rows to hold out, stratified over tasks as far as possible.""",
            [Interval(Real, 0, 1, closed="neither")],
        ),
        "validation_metric": Parameter(
            'str, callable or dict, default="loss"',
            """\
What decides on held-out rows when to stop and which epoch is the best: the loss, or
a score as in `skmtl.metrics.task_scores`, such as "roc_auc" or ``{"classification":
"balanced_accuracy", "regression": "r2"}``. Where it is given, "auto"
``early_stopping`` holds rows out however few there are.""",
            [str, dict, callable],
        ),
        "validation_average": Parameter(
            '{"macro", "min"} or task, default="macro"',
            """\
Whose score decides: the mean over tasks, the worst of them, or one task by its name
or number.""",
            "no_validation",
        ),
        "stop_tasks": Parameter(
            "bool, default=False",
            """\
Whether a task whose score on held-out rows has not improved in
``n_iter_no_change`` epochs leaves the training: it weighs nothing from then on, and
parameters that no other task's output depends on stay as they are. Members then
train in turns.""",
            ["boolean"],
        ),
        "n_iter_no_change": Parameter(
            'int, inf or "auto", default="auto"',
            """\
Epochs without improvement after which training stops; each member stops by itself.
"auto" means the epochs of 200 steps, 5 at least and 16 at most, and 5 for a sparse
matrix of more than 500 columns.""",
            [
                StrOptions({"auto"}),
                Interval(Integral, 1, None, closed="left"),
                Options(Real, {np.inf}),
            ],
        ),
        "tol": Parameter(
            "float, default=0.0001",
            """\
Smallest decrease of the loss that counts as an improvement.""",
            [Interval(Real, 0, None, closed="left")],
        ),
    },
    "imbalance": {
        "class_weight": Parameter(
            'dict, "balanced" or list, default=None',
            """\
Weights of the classes of classification tasks, as ``{label: weight}`` (labels
left out weigh one) or "balanced", which makes the classes of a task weigh the
same in total; for all tasks, or as ``{task name: entry}`` (tasks left out have
equal weights) or a list with one entry per task. A label that is no class of the
task, or of any task, is an error unless all classes have a weight.""",
            CLASS_WEIGHT,
        ),
        "task_weight": Parameter(
            "array-like of shape (n_tasks,) or dict, default=None",
            """\
Fixed weights of the tasks, by order or as ``{task name: weight}``; tasks left out
of a dict weigh one. Zero leaves a task untrained.""",
            [dict, "array-like", None],
        ),
        "sampling": Parameter(
            '{"classes", "tasks"}, float or None, default=None',
            """\
How often an epoch draws each row, with replacement whatever ``shuffle``, as many
rows as there are; None takes each once. "tasks" draws labels of all tasks equally
often, "classes" also those of all classes of a task (regression counts as one), and
a temperature T > 0 draws tasks in proportion to (number of labels)^(1/T): 1 for all
labels alike, the larger, the closer to "tasks". A row is drawn as often as its
labels together; where every row has labels of all tasks, shares of tasks therefore
change nothing. Labels count once, and their weights act in the loss as ever:
``class_weight="balanced"`` on top would balance classes twice. Held-out rows weigh
as they would be drawn; ``partial_fit`` goes by the rows of the call.""",
            SAMPLING,
        ),
        "hard_example_mining": Parameter(
            '{"loss", "margin"} or None, default=None',
            """\
Whether each step trains, task by task, on the hardest labels of its batch only:
those of largest loss, or of smallest margin, the logit of the true class minus the
largest other; with two classes and in regression both are the same. Online hard
example mining (Shrivastava et al., CVPR 2016) does so with the regions of an image
for the sum of its two losses; here every task has its own choice. Unlike importance
sampling (Katharopoulos & Fleuret, ICML 2018), labels are not weighted back to the
distribution of the data, so that predicted probabilities lose their calibration and
mislabelled rows get more say; and a step costs no less. There is no warm-up: while
all labels of a class are equally hard, all are kept. The recorded training loss is
that of the labels kept; validation takes all.""",
            [StrOptions({"loss", "margin"}), None],
        ),
        "hard_example_fraction": Parameter(
            "float, default=0.5",
            """\
Share of the weight of each task's labels in a batch that its hardest labels, which
``hard_example_mining`` keeps, have at least. The hardest label of every class in
the batch is kept besides, and labels equally hard are kept together.""",
            [Interval(Real, 0, 1, closed="right")],
        ),
        "threshold": Parameter(
            "str, default=None",
            """\
A score of scikit-learn that compares predicted labels, such as "f1" or
"balanced_accuracy": binary tasks predict their second class where its probability
is above the threshold that is best for that score out of fold. In ``oof_scores_``
a fold has the threshold that is best for the other folds. None predicts the most
probable class. Probabilities stay as they are.""",
            [StrOptions(set(SCORES)), None],
        ),
    },
    "labels": {
        "task_types": Parameter(
            "dict or list, default=None",
            """\
Kind of each task, "classification" or "regression", as ``{task name: kind}`` or
as a list with one entry per task. A task left out is of the kind that its
column shows. Strings, truth values and categories are classes, and numbers with
a fraction are regression. Whole numbers are classes if they have at most 10
different values, or at most 20 that count 0, 1, 2, ... or 1, 2, 3, ..., each of
them more than once; else regression, as are ages, prices and counts. A warning
names the tasks whose kind is not plain.""",
            [dict, "array-like", None],
        ),
        "missing_label": Parameter(
            "object, default=nan",
            """\
A value that marks a missing label. None, NaN, NaT, pandas' NA and masked entries
always do.""",
            "no_validation",
        ),
    },
    "hardware": {
        "accelerator": Parameter(
            "accelerate.Accelerator, default=None",
            """\
Connects several processes that train one model, under ``torchrun`` or ``accelerate
launch``: each takes its share of every batch of ``batch_size`` rows, and all end
with the same model, as if one process had trained it. Every process calls ``fit``
with the same data. Files, pickles and deep copies of the estimator hold None.""",
            "no_validation",
        ),
        "device": Parameter(
            'str or torch.device, default="auto"',
            """\
Where to compute; "auto" takes the device of the ``accelerator``, or CUDA where
there is one, else the CPU.""",
            [str, torch.device],
        ),
        "precision": Parameter(
            '{"auto", "float32", "float64", "bf16"}, default="auto"',
            """\
Type of numbers. "bf16" keeps weights in float32 and computes in bfloat16 where
torch finds it safe. "auto" trains small problems (rows times parameters up to
4,194,304) on the CPU and on CUDA in float64, others in float32, and predicts
regression on the CPU in float64, so that predictions do not depend on which rows
come together.""",
            [StrOptions({"auto", *DTYPES})],
        ),
        "compile": Parameter(
            "bool or str, default=False",
            """\
Whether the network of training and validation is compiled by `torch.compile`, with
its backend "inductor" or the one that is named. On one thread of a CPU it gains
nothing: epochs took between as long and twice as long as without, and compilation
4 to 9 seconds, 0.2 to 1 second once torch's files know the network. It needs a C++
compiler there, and Triton on a GPU. Predictions are not compiled, nothing that is
compiled stays in the estimator, and fits in threads take turns. Of stacked members
those that have stopped are computed on until they are half of all, lest each needed
another compilation. Dropout draws other numbers.""",
            ["boolean", str],
        ),
        "n_threads": Parameter(
            "int, default=None",
            """\
Number of torch threads while fitting and predicting, up to 1024, brought back
afterwards; no more are used than there are CPUs. None means one for small networks
and torch's own number for others, whose last bits may depend on that number.
Processes that are forked, as those of joblib's backend "multiprocessing", use one
thread, because OpenMP may wait there forever.""",
            [Interval(Integral, 1, MOST_THREADS, closed="both"), None],
        ),
    },
    "persistence": {
        "warm_start": Parameter(
            "bool, default=False",
            """\
Whether ``fit`` goes on from the weights of the fit before.""",
            ["boolean"],
        ),
        "checkpoint": Parameter(
            "str or path-like, default=None",
            """\
Folder for the state of training, from which ``fit(..., resume="auto")`` goes on
after a failure; see :ref:`failure`. It needs a ``random_state``. The folder may be
that of several fits, such as those of a search: their settings and data keep their
files apart.""",
            [str, PathLike, None],
        ),
        "checkpoint_every": Parameter(
            "int, default=10",
            """\
Number of epochs between two checkpoints.""",
            [Interval(Integral, 1, None, closed="left")],
        ),
        "on_interrupt": Parameter(
            '{"raise", "keep"}, default="raise"',
            """\
What Ctrl-C does during training. "raise" raises KeyboardInterrupt and leaves the
estimator unfitted, or as it was before ``partial_fit`` or with ``warm_start``.
"keep" ends ``fit`` with the weights of the best epoch so far and a warning; it
still raises where there are none: before the end of the first epoch, without
held-out rows or validation set, in ``partial_fit`` and with several processes.""",
            [StrOptions({"keep", "raise"})],
        ),
    },
    "randomness and records": {
        "random_state": Parameter(
            "int, RandomState instance or None, default=None",
            """\
Decides initial weights, batches, dropout and held-out rows. Global random states
are left as they are.""",
            ["random_state"],
        ),
        "callbacks": Parameter(
            "list of skorch.callbacks.Callback, default=None",
            """\
Called by skorch while training; see :ref:`callbacks`.""",
            [list, None],
        ),
        "record_gradients": Parameter(
            "bool, default=False",
            """\
Whether ``history_`` holds norms and cosines of the tasks' gradients also where the
weighting does not look at gradients, which costs time; where it does, it always
holds them.""",
            ["boolean"],
        ),
        "verbose": Parameter(
            "int, default=0",
            """\
Whether to show a progress bar with the losses of the tasks and the validation loss,
or the score that decides instead, and its best so far. Its total is the number of
epochs after which training stops if no epoch improves on the best so far, at most
``max_iter``; so is the remaining time.""",
            ["verbose"],
        ),
    },
}

#: Fitted attributes that all estimators have.
ATTRIBUTES = """\
n_estimators_ : int
    Number of members.
n_tasks_, n_outputs_ : int
    Number of tasks.
task_names_ : list
    Names of the columns of y, or "task0", "task1", ….
n_features_in_ : int
    Number of features (channels of images) seen during fit.
feature_names_in_ : ndarray of shape (n_features,)
    Names of the features, where all are strings.
n_iter_ : int
    Number of epochs trained.
loss_ : float
    Training loss of the last epoch: the mean over tasks.
loss_curve_ : list of float
    Training loss of each epoch.
validation_scores_ : list of float
    With early stopping, the score of the held-out rows after each epoch, by default
    the negative loss.
best_validation_score_ : float
    The best of them. Since the epoch is chosen by it, it is higher than the score of
    new rows; ``oof_score_`` is not chosen so.
best_epochs_ : ndarray of int of shape (n_tasks,)
    With early stopping, the epoch after which each task's held-out rows were scored
    best, the mean over members; zero for a task without any.
task_weights_ : ndarray of shape (n_tasks,)
    Weights of the task losses in the last step.
module_ : torch.nn.Module
    The trained network.
weighting_ : torch.nn.Module
    What has weighed the tasks, with its state.
net_ : skorch.NeuralNet
    The skorch net that holds it.
teacher_ : estimator
    With a relation that learns from one, the teacher.
oof_prediction_ : list of ndarray
    With members "crossfit" or "bootstrap", predictions for the training rows by the
    members that are not trained on them, at the epoch and with the slope that other
    folds choose: per task probabilities of shape (n_samples, n_classes), or values of
    shape (n_samples,); NaN where there are none.
oof_scores_ : ndarray of shape (n_tasks,)
    The accuracy, or R², of each task in these predictions; with ``threshold``, of
    labels predicted with the thresholds that other folds choose.
oof_score_ : float
    Their mean.
history_ : skorch.history.History
    One record per epoch, with for each task its loss ("train_losses", "valid_losses"),
    its score where something else than the loss decides ("valid_scores") and its mean
    weight ("train_weights"), and where gradients are looked at their mean norms
    ("train_gradient_norms") and cosines ("train_gradient_cosines"). Each number has a
    key of its own, too, such as "train_loss_species" for the task "species"; going
    through a record yields these, not the lists, so that loggers draw them."""


def set_parameters(cls: C) -> C:
    """Document the parameters of an estimator, and set their constraints."""
    parameters = {name: p for group in GROUPS.values() for name, p in group.items()}
    names = list(inspect.signature(cls).parameters)
    entries = [
        f"{name} : {parameters[name].type}\n{indent(parameters[name].text, '    ')}"
        for name in names
    ]
    groups = [
        f"{title} ({', '.join(f'``{name}``' for name in group if name in names)})"
        for title, group in GROUPS.items()
    ]
    text = f"Parameters come in groups: {'; '.join(groups)}."
    cls.__doc__ = inspect.cleandoc(cls.__doc__ or "") % {
        "groups": fill(text, 88, break_long_words=False),
        "parameters": "\n".join(entries),
        "attributes": ATTRIBUTES,
    }
    constraints = {name: parameters[name].constraint for name in names}
    cls._parameter_constraints = constraints  # type: ignore[attr-defined]
    return cls
