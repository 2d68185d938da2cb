"""The augmentation parameter of the estimators."""

import pickle
import re

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from torch import nn

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.training import AUGMENTATION, Mixup, MultiTaskModule, Noise, use_seed
from tests._networks import plain_mlp

X, SPECIES = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
Y = np.column_stack([SPECIES, X[:, 0] > 0])
DIGITS = load_digits()
IMAGES = DIGITS.images[:, None] / 16  # (n, 1, 8, 8)
DIGIT_TASKS = np.column_stack([DIGITS.target, DIGITS.target % 2])
SETTINGS = {"max_iter": 5, "learning_rate_init": 0.02, "random_state": 0}
ESTIMATORS = {
    "classifier": (MultiTaskClassifier, Y),
    "regressor": (MultiTaskRegressor, X[:, 2:]),
    "both": (MultiTaskEstimator, np.column_stack([SPECIES, X[:, 3]])),
}
kinds = pytest.mark.parametrize("kind", ESTIMATORS)
every = pytest.mark.parametrize("name", AUGMENTATION)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()
    )


def classifier(augmentation=None, **kwargs):
    settings = (
        {"encoder": plain_mlp((16,), scale=None), "n_estimators": 1} | SETTINGS | kwargs
    )
    return MultiTaskClassifier(augmentation=augmentation, **settings)


def of_images(augmentation=None, **kwargs):
    return classifier(augmentation, encoder=network, **kwargs)


def outputs(est, data=X):
    return est._forward(data).numpy()


class Counting:
    """An augmentation that counts its calls and notes the sizes of batches."""

    def __init__(self):
        self.sizes = []

    def __call__(self, X):
        self.sizes.append(len(X))
        return X

    def __deepcopy__(self, memo):
        return self


# Where it acts


def test_only_batches_of_training_are_augmented():
    counting = Counting()
    est = classifier(counting, batch_size=40, n_iter_no_change=np.inf)
    est.fit(X, Y, X_val=X, y_val=Y)
    tried, *batches = counting.sizes
    assert tried == 2  # before training
    assert batches == [40, 40, 40, 30] * 5
    est.predict(X)
    est.predict_proba(X)
    est.score(X, Y)
    assert len(counting.sizes) == 21


@pytest.mark.parametrize("factor", [2.0**-600, 2.0**600])
def test_noise_is_in_units_of_huge_and_tiny_numbers(factor):
    X = torch.randn(50, 3, dtype=torch.float64)
    X[::5, 1] = torch.nan
    with use_seed(0, torch.device("cpu")):
        expected = Noise().inputs(X)
    with use_seed(0, torch.device("cpu")):
        found = Noise().inputs(X * factor) / factor
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("augmentation", [Noise(scale=5.0), Mixup(alpha=1.0)])
def test_validation_scores_are_those_of_plain_inputs(augmentation):
    est = classifier(augmentation, n_iter_no_change=np.inf)
    est.fit(X[::2], Y[::2], X_val=X[1::2], y_val=Y[1::2])
    losses = [
        -np.log(P[np.arange(75), Y[1::2, t]]).mean()
        for t, P in enumerate(est.predict_proba(X[1::2]))
    ]
    assert np.mean(losses) == pytest.approx(-est.best_validation_score_, rel=1e-9)


@every
def test_augmentation_changes_what_is_learned_and_no_prediction(name):
    est, plain = (
        of_images(a).fit(IMAGES[:100], DIGIT_TASKS[:100]) for a in (name, None)
    )
    assert not np.array_equal(outputs(est, IMAGES[:9]), outputs(plain, IMAGES[:9]))
    assert_array_equal(outputs(est, IMAGES[:9]), outputs(est, IMAGES[:9]))


def test_a_list_acts_in_order():
    est = classifier([lambda X: X + 1, lambda X: 3 * X]).fit(X, Y)
    other = classifier().fit(3 * (X + 1), Y)
    assert_array_equal(outputs(est), outputs(other))


def test_columns_of_codes_are_left_alone(monkeypatch):
    monkeypatch.setattr(MultiTaskModule, "code_columns", torch.tensor([1, 2]))
    as_they_come = {"encoder__numeric_embedding": None}  # not the continuous ones first
    est = classifier(torch.zeros_like).set_params(**as_they_come).fit(X, Y)
    other = classifier().set_params(**as_they_come).fit(X * [0, 1, 1, 0], Y)
    assert_array_equal(outputs(est), outputs(other))


def test_no_augmentation_has_two_spellings():
    est, other = classifier(None).fit(X, Y), classifier([]).fit(X, Y)
    assert_array_equal(outputs(est), outputs(other))


@kinds
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_mixup_that_mixes_nothing_is_training_without(kind, missing, weighted):
    cls, y = ESTIMATORS[kind]
    y = y.astype(float)
    rng = np.random.default_rng(0)
    if missing:
        y[rng.random(y.shape) < 0.4] = np.nan
    weight = rng.random(y.shape) + 0.1 if weighted else None
    settings = {**SETTINGS, "encoder": plain_mlp((16,)), "batch_size": 64}
    settings["alpha"] = 0.0  # of weights that decay, not of Beta
    plain = cls(**settings).fit(X, y, weight)
    mixed = cls(augmentation=Mixup(alpha=1e-7), **settings).fit(X, y, weight)
    assert_allclose(outputs(mixed), outputs(plain), rtol=1e-6, atol=1e-9)
    assert_allclose(mixed.loss_curve_, plain.loss_curve_)


def test_even_mixup_of_two_rows_is_training_on_their_mean():
    """Where every row is the same even mixture, so is the loss of every row."""
    data, y = np.array([[0.0, 2.0], [4.0, 0.0]]), np.array([[1.0, 5.0], [3.0, -1.0]])
    alike = []

    class Watch(Callback):
        def on_batch_end(self, net, batch=None, y_pred=None, **kwargs):
            alike.append(torch.allclose(y_pred[0], y_pred[1], atol=1e-3))

    settings = {
        **SETTINGS,
        "encoder": plain_mlp((16,)),
        "n_iter_no_change": np.inf,
        "n_estimators": 1,
    }
    est = MultiTaskRegressor(
        augmentation=Mixup(alpha=1e9), callbacks=[Watch()], **settings
    )
    est.set_params(max_iter=100).fit(data, y)
    # Batches pair the two rows, or each with itself, at random.
    assert 20 < sum(alike[1:]) < 80
    assert_allclose(est.predict([[2.0, 1.0]]), [[2.0, 2.0]], atol=0.2)


# Randomness


@every
def test_random_state_decides_and_global_states_are_left_alone(name):
    fits = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(fits))
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        est = of_images(name, random_state=seed, batch_size=32)
        fits.append(outputs(est.fit(IMAGES[:100], DIGIT_TASKS[:100]), IMAGES[:20]))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert_array_equal(np.random.get_state()[1], before[1])
    assert_array_equal(fits[0], fits[1])
    assert not np.array_equal(fits[0], fits[2])


def test_a_callable_that_draws_from_torch_is_decided_too():
    def blurred(X):
        return X + 0.1 * torch.randn_like(X)

    first, second = classifier(blurred).fit(X, Y), classifier(blurred).fit(X, Y)
    assert_array_equal(outputs(first), outputs(second))


# What is refused


@pytest.mark.parametrize("value", ["flip", "crop", ["noise", "crop"]])
@pytest.mark.parametrize("cls", [MultiTaskClassifier, MultiTaskEstimator])
def test_tables_cannot_be_flipped_or_cropped(value, cls):
    name = value if isinstance(value, str) else "crop"
    est = cls(**SETTINGS).fit(X, Y)
    before = outputs(est)
    message = (
        rf"^The 'augmentation' parameter '{name}' needs images, X of shape \(n_samples,"
        r" channels, height, width\)\. Got samples of shape \(4,\): leave it out, or"
    )
    with pytest.raises(ValueError, match=message):
        est.set_params(augmentation=value).fit(X, Y)
    assert_array_equal(outputs(est), before)


@pytest.mark.parametrize(
    ("value", "got"),
    [("blur", "'blur'"), (3, "3"), (("flip", "noise"), r"\('flip', 'noise'\)")],
)
@kinds
def test_other_values_are_refused(kind, value, got):
    cls, y = ESTIMATORS[kind]
    message = f"The 'augmentation' parameter of {cls.__name__} must be .* Got {got}"
    with pytest.raises(ValueError, match=message):
        cls(augmentation=value).fit(X, y)


def test_bad_entries_of_a_list_are_refused_before_training():
    with pytest.raises(ValueError, match=r"must hold names among .*Got 'blur'\.$"):
        classifier(["noise", "blur"]).fit(X, Y)
    with pytest.raises(ValueError, match="'alpha' parameter of Mixup"):
        classifier([Mixup(alpha=-1)]).fit(X, Y)


def failing(X):
    raise AttributeError("no such batch\nsecond line")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda X: X[:1], r"returned a torch.float64 tensor of shape \(1, 4\) on cpu"),
        (lambda X: X[:, :3], r"returned a torch.float64 tensor of shape \(2, 3\)"),
        (lambda X: X.float(), r"returned a torch.float32 tensor of shape \(2, 4\)"),
        (lambda X: X.numpy(), r"returned a ndarray\.$"),
        (lambda X: None, r"returned a NoneType\.$"),
        (Mixup, r"returned a Mixup\.$"),
        (failing, r"cannot take a batch of shape \(2, 4\): no such batch$"),
        (nn.Linear(7, 7).double(), r"cannot take a batch of shape \(2, 4\): "),
        (lambda: 0, r"cannot take a batch of shape \(2, 4\): .* argument"),
    ],
)
@pytest.mark.parametrize("as_list", [False, True])
def test_callables_are_tried_on_a_small_batch_before_training(
    function, message, as_list
):
    est = classifier(precision="float64").fit(X, Y)
    before = outputs(est)
    value = ["noise", function] if as_list else function
    with pytest.raises(ValueError, match="callable given as 'augmentation'") as error:
        est.set_params(augmentation=value).fit(X, Y)
    assert re.search(message, str(error.value))
    assert_array_equal(outputs(est), before)


def test_members_learn_with_callables_and_image_augmentations():
    plain = classifier(n_estimators=2).fit(X, Y)
    same = classifier(lambda batch: batch, n_estimators=2).fit(X, Y)
    assert_allclose(outputs(same), outputs(plain), atol=1e-12)
    flipped = of_images("flip", n_estimators=2, max_iter=1)
    assert flipped.fit(IMAGES[:60], DIGIT_TASKS[:60]).n_iter_ == 1
    with pytest.raises(ValueError, match="'flip' needs images"):
        classifier("flip", n_estimators=2).fit(X, Y)


def test_a_callable_may_write_into_its_batch():
    def halved(X):
        return X.mul_(0.5)

    data, table = X.copy(), np.array(X)
    inside = classifier(halved).fit(data, Y)
    assert_array_equal(data, table)
    outside = classifier().fit(X / 2, Y)
    assert_array_equal(outputs(inside, X / 2), outputs(outside, X / 2))


# Estimators with augmentation


@kinds
@pytest.mark.parametrize("value", ["noise", "mixup", ["mixup", "noise"]])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.sampled(5)
def test_tables_with_missing_labels_and_weights_learn(kind, value, precision):
    cls, y = ESTIMATORS[kind]
    rng = np.random.default_rng(0)
    y = np.where(rng.random(y.shape) < 0.2, np.nan, y.astype(float))
    settings = SETTINGS | {"max_iter": 60, "n_estimators": 1, "precision": precision}
    est = cls(augmentation=value, **settings)
    est.fit(X, y, sample_weight=rng.random(y.shape))
    assert est.score(X, y) > 0.85


@pytest.mark.parametrize("optimizer", ["sgd", torch.optim.LBFGS, torch.optim.Rprop])
def test_one_step_sees_one_augmented_batch(optimizer):
    counting = Counting()
    est = classifier([counting, "mixup"], optimizer=optimizer, batch_size=50)
    est.set_params(max_iter=4, n_iter_no_change=np.inf, early_stopping=False)
    est.fit(X, Y)
    assert counting.sizes == [2] + [50] * 12
    assert est.loss_ < est.loss_curve_[0]


def test_callbacks_see_one_prediction_per_row_under_mixup():
    seen = []

    class Watch(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            seen.append("gradients")

        def on_batch_end(self, net, batch=None, y_pred=None, training=None, **kwargs):
            seen.append((training, len(batch[0]), len(batch[1]), len(y_pred)))

    est = classifier("mixup", callbacks=[Watch()], max_iter=1, batch_size=100)
    est.fit(X, Y, X_val=X[:30], y_val=Y[:30])
    assert seen == [
        "gradients",
        (True, 100, 100, 100),
        "gradients",
        (True, 50, 50, 50),
        (False, 30, 30, 30),
    ]


def test_class_weights_count_under_mixup():
    weight = {0: 1e6, 1: 1.0}
    est = classifier("mixup", class_weight=[None, weight], max_iter=30)
    assert (est.fit(X, Y).predict(X)[:, 1] == 0).mean() > 0.8


def test_augmentation_may_change_while_a_model_trains_on():
    est = classifier(warm_start=True, max_iter=2)
    for value in (None, "mixup", ["noise"], None):
        est.set_params(augmentation=value).fit(X, Y)
    assert est.n_iter_ == 8
    est = classifier("mixup").partial_fit(X, Y, classes=[[0, 1, 2], [0, 1]])
    before = outputs(est)
    est.set_params(augmentation="noise").partial_fit(X, Y)
    assert est.n_iter_ == 2
    assert not np.array_equal(outputs(est), before)


def test_passes_of_partial_fit_are_augmented():
    counting = Counting()
    est = classifier(counting, batch_size=75)
    for _ in range(2):
        est.partial_fit(X, Y, classes=[[0, 1, 2], [0, 1]])
    assert counting.sizes == [2, 75, 75] * 2


@pytest.mark.parametrize(
    "value", [*AUGMENTATION, Mixup(0.5), ["flip", Noise(1.0)], nn.Identity()], ids=str
)
def test_models_are_cloned_and_pickled(value):
    est = of_images(value).fit(IMAGES[:60], DIGIT_TASKS[:60])
    again = pickle.loads(pickle.dumps(est))
    assert_array_equal(outputs(again, IMAGES), outputs(est, IMAGES))
    twin = clone(est)
    assert repr(twin) == repr(est)
    twin.fit(IMAGES[:60], DIGIT_TASKS[:60])
    assert_array_equal(outputs(twin, IMAGES), outputs(est, IMAGES))


def test_settings_can_be_set_by_name():
    est = classifier("mixup").set_params(augmentation__alpha=0.5)
    assert repr(est.augmentation) == "Mixup(alpha=0.5)"
    assert est.get_params()["augmentation__alpha"] == 0.5
    search = GridSearchCV(
        classifier("noise", max_iter=2), {"augmentation__scale": [0.1, 50.0]}, cv=2
    )
    assert search.fit(X, SPECIES).best_params_ == {"augmentation__scale": 0.1}
    with pytest.raises(ValueError, match=r"'augmentation' parameter of .* to have"):
        classifier("blur").set_params(augmentation__alpha=0.5)


@pytest.mark.parametrize("container", ["sparse", "memory map"])
@pytest.mark.parametrize("value", ["noise", "mixup"])
def test_tables_read_batch_by_batch_are_augmented_alike(container, value, tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    data = mapped if container == "memory map" else sparse.csr_array(X)
    est = classifier(value, batch_size=40).fit(data, Y)
    other = classifier(value, batch_size=40).fit(X, Y)
    assert_allclose(outputs(est), outputs(other), rtol=1e-9)


@pytest.mark.parametrize("value", [*AUGMENTATION, ["flip", "crop", "noise", "mixup"]])
def test_images_are_learned_with_augmentation(value):
    est = of_images(value, max_iter=30, n_iter_no_change=np.inf)
    est.fit(IMAGES[:300], DIGIT_TASKS[:300])
    assert est.score(IMAGES[:300], DIGIT_TASKS[:300]) > 0.7


def test_mirrored_images_are_known_after_training_with_flips():
    """What flips teach is what no model learns that never saw a mirrored image."""
    left = np.zeros((200, 1, 8, 8))
    rows = np.arange(200) % 8
    left[np.arange(200), 0, rows, rows % 3] = 1.0  # pixels of the left half
    y = np.column_stack([rows % 2, rows > 3])
    plain, flipped = (
        of_images(value, max_iter=40).fit(left, y) for value in (None, "flip")
    )
    mirrored = left[..., ::-1].copy()
    assert plain.score(left, y) == 1
    assert flipped.score(left, y) == flipped.score(mirrored, y) == 1
    assert plain.score(mirrored, y) < 1
