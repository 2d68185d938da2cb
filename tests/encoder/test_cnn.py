"""The convolutional network is the one that torch's own layers make."""

from itertools import cycle, product

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, KFold
from torch import nn

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.encoder import CNN, MLP, TrainingInputs
from skmtl.sharing import SHARING
from tests._networks import randomised

SHAPE = (2, 7, 9)
DIGITS = load_digits()
IMAGES = DIGITS.images[:, None] / 16
TASKS = np.column_stack([DIGITS.target, DIGITS.target % 2])

every_sharing = pytest.mark.parametrize("sharing", SHARING)


def batch(n=5, shape=SHAPE):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, *shape, generator=generator, dtype=torch.float64)


def reference(spec):
    """Return the layers that torch has for the convolutions of a spec, by hand."""
    pool = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}
    layers, fan_in = [], SHAPE[0]
    for width in spec.channels:
        for _ in range(spec.n_convolutions):
            layers.append(
                nn.Conv2d(fan_in, width, spec.kernel_size, padding=spec.padding)
            )
            if spec.norm == "batch":
                layers.append(nn.BatchNorm2d(width))
            if spec.norm == "layer":
                layers.append(nn.GroupNorm(1, width))
            layers.append(nn.ReLU())
            fan_in = width
        if spec.pooling:
            layers.append(pool[spec.pooling](spec.pool_size))
    layers.append(nn.Flatten())
    for width in spec.hidden_layer_sizes:
        layers.append(nn.LazyLinear(width))
        if spec.norm == "batch":
            layers.append(nn.BatchNorm1d(width))
        if spec.norm == "layer":
            layers.append(nn.LayerNorm(width))
        layers.append(nn.ReLU())
    network = nn.Sequential(*layers).double()
    network.eval()(batch())  # lazy layers get their shape
    return network


SPECS = [
    CNN((4, 3), hidden_layer_sizes=(6, 5)),
    CNN((4, 3), padding="valid", pooling=None, hidden_layer_sizes=()),
    CNN((4,), pooling="avg", n_convolutions=2, hidden_layer_sizes=(6,)),
    CNN((4,), pool_size=3, kernel_size=5, hidden_layer_sizes=()),
    CNN((4,), kernel_size=1, hidden_layer_sizes=()),
    CNN((4, 3), norm="layer", hidden_layer_sizes=(6,)),
    CNN((4, 3), norm="batch", hidden_layer_sizes=(6,)),
    CNN((4, 3), norm="batch", pooling="avg", hidden_layer_sizes=()),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("n_copies", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_copies_are_networks_of_torch_s_layers(spec, n_copies, training):
    module = randomised(spec.build(SHAPE, n_copies).double(), 0).train(training)
    X = batch().requires_grad_()
    features = module(X)
    weight = torch.linspace(-1, 2, features.numel()).double().view_as(features)
    (features * weight).sum().backward()
    found, X.grad = X.grad, None
    for copy in range(n_copies):
        network = reference(spec).train(training)
        pairs = list(zip(network.parameters(), module.parameters(), strict=True))
        with torch.no_grad():
            for own, stacked in pairs:
                own.copy_((stacked if n_copies == 1 else stacked[copy]).view_as(own))
        out = network(X)
        torch.testing.assert_close(features[copy], out)
        (out * weight[copy]).sum().backward()
        for own, stacked in pairs:
            gradient = stacked.grad if n_copies == 1 else stacked.grad[copy]
            torch.testing.assert_close(gradient.view_as(own), own.grad)
    torch.testing.assert_close(X.grad, found)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("n_copies", [1, 3])
def test_even_kernels_keep_the_size_as_torch_s_do(n_copies):
    spec = CNN(4, kernel_size=4, pooling=None, hidden_layer_sizes=())
    module = spec.build(SHAPE, n_copies).double()
    weight, bias = module.parameters()
    for copy in range(n_copies):
        layer = nn.Conv2d(2, 4, 4, padding="same").double()
        with torch.no_grad():
            layer.weight.copy_(weight if n_copies == 1 else weight[copy])
            layer.bias.copy_(bias if n_copies == 1 else bias[copy])
        out = layer(batch()).relu().flatten(1)
        torch.testing.assert_close(module(batch())[copy], out)


@pytest.mark.parametrize("n_copies", [1, 2])
def test_gradients_are_those_of_finite_differences(n_copies):
    spec = CNN((2, 2), activation="tanh", pooling="avg", hidden_layer_sizes=(2,))
    module = randomised(spec.build((1, 5, 4), n_copies).double(), 0)
    X = batch(2, (1, 5, 4)).requires_grad_()
    names, parameters = zip(*module.named_parameters(), strict=True)

    def function(X, *values):
        state = dict(zip(names, values, strict=True))
        return torch.func.functional_call(module, state, (X,))

    assert torch.autograd.gradcheck(function, (X, *parameters))


@pytest.mark.parametrize(
    ("spec", "shapes"),
    [
        (CNN((3, 4), hidden_layer_sizes=(6, 5)), [(3, 3, 4), (4, 1, 2), (6,), (5,)]),
        (CNN((3, 4), hidden_layer_sizes=()), [(3, 3, 4), (8,)]),
        (CNN(3, n_convolutions=2, hidden_layer_sizes=5), [(3, 7, 9), (3, 3, 4), (5,)]),
        (CNN(3, 4, pooling=None, hidden_layer_sizes=5), [(3, 7, 9), (5,)]),
        (CNN(3, 4, "valid", pool_size=3, hidden_layer_sizes=5), [(3, 1, 2), (5,)]),
    ],
    ids=str,
)
@pytest.mark.parametrize("n_copies", [1, 3])
def test_strategies_can_walk_from_stage_to_stage(spec, shapes, n_copies):
    module = spec.build(SHAPE, n_copies).probe(SHAPE)
    assert module.shapes == shapes
    assert module.width == shapes[-1][0]


def test_initial_weights_are_those_of_torch():
    torch.manual_seed(0)
    stacked = CNN((64, 64)).build(SHAPE, 3).layers
    for layer, fan_in in zip(stacked, (18, 64 * 9), strict=False):
        for parameter in layer.parameters():
            assert 0.9 * fan_in**-0.5 < parameter.abs().max() <= fan_in**-0.5
    single = CNN((64, 64)).build(SHAPE, 1).layers  # which are torch's own
    for one, several in zip(single, stacked, strict=True):
        for p, q in zip(one.parameters(), several.parameters(), strict=True):
            assert abs((p.std() / q.std()).item() - 1) < 0.2


def test_a_single_network_and_one_of_many_are_the_same():
    spec = CNN((3, 4), hidden_layer_sizes=(5,), norm="batch")
    single, many = spec.build(SHAPE, 1).double(), spec.build(SHAPE, 3).double()
    with torch.no_grad():
        for p, q in zip(single.parameters(), many.parameters(), strict=True):
            p.copy_(q[1].view_as(p))
    for _ in range(2):
        torch.testing.assert_close(single(batch())[0], many(batch())[1])
    torch.testing.assert_close(single.eval()(batch())[0], many.eval()(batch())[1])


#: A transformer learns more slowly.
EPOCHS = dict.fromkeys(SHARING, 15) | {"task_token": 30}


NORMS = [None, "layer", "batch"]


@pytest.mark.one_version
@pytest.mark.parametrize(
    ("sharing", "norm"),
    dict.fromkeys(
        [*product(["hard"], NORMS), *zip(SHARING, cycle(NORMS), strict=False)]
    ),
)
@pytest.mark.sampled(5)
def test_it_learns_under_every_sharing(sharing, norm):
    X, Y = IMAGES[:300], TASKS[:300]
    est = MultiTaskClassifier(
        sharing,
        encoder=CNN((8, 8), hidden_layer_sizes=(16,), norm=norm),
        learning_rate_init=1e-2,
        batch_size=50,
        max_iter=EPOCHS[sharing],
        early_stopping=False,
        random_state=0,
        n_estimators=1,
    ).fit(X, Y)
    assert est.score(X, Y) > 0.85
    assert est.predict(X[:1]).tolist() == est.predict(X)[:1].tolist()


def test_a_thousand_tasks_are_no_loop():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(20, 1, 6, 6)), rng.normal(size=(20, 1000))
    encoder = CNN((2,), hidden_layer_sizes=(3,))
    est = MultiTaskRegressor(
        "independent", encoder=encoder, max_iter=2, n_estimators=1
    ).fit(X, Y)
    assert est.predict(X).shape == Y.shape


def test_its_settings_can_be_searched():
    grid = {"encoder": ["cnn"], "encoder__pooling": ["max", "avg"]}
    search = GridSearchCV(
        MultiTaskClassifier(max_iter=1, n_estimators=1), grid, cv=KFold(2)
    )
    search.fit(IMAGES[:60], TASKS[:60])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_channels_of_huge_and_tiny_numbers_are_scaled_as_others_are(factor):
    X = np.random.default_rng(0).normal(size=(20, 2, 3, 3))
    stages = [
        CNN((2,)).prepare(TrainingInputs(images, np.arange(20))).input_stage()
        for images in (X, X * factor)
    ]
    expected = stages[0](torch.from_numpy(X))
    found = stages[1].float()(torch.from_numpy(X * factor))
    torch.testing.assert_close(found, expected.float())


def test_images_can_stay_on_disk(tmp_path):
    X = IMAGES[:200].astype(np.float32)
    stored = np.memmap(tmp_path / "X", dtype=X.dtype, mode="w+", shape=X.shape)
    stored[:] = X
    stored.flush()
    stored = np.memmap(tmp_path / "X", dtype=X.dtype, mode="r", shape=X.shape)
    est = MultiTaskClassifier(
        encoder=CNN((4,)), max_iter=3, random_state=0, n_estimators=1
    )
    expected = est.fit(X, TASKS[:200]).predict_proba(X)
    found = est.fit(stored, TASKS[:200]).predict_proba(stored)
    np.testing.assert_array_equal(found[0], expected[0])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (CNN((8, 0)), "'channels' parameter of CNN must hold positive integers"),
        (CNN(()), "'channels' parameter of CNN must hold .* at least one stage"),
        (CNN((8.5,)), "'channels' parameter of CNN must hold positive integers"),
        (CNN(hidden_layer_sizes=(0,)), "'hidden_layer_sizes' parameter of CNN must"),
        (CNN(kernel_size=0), "'kernel_size' parameter of CNN must be an int in the"),
        (CNN(padding="full"), "'padding' parameter of CNN must be a str among"),
        (CNN(pooling="min"), "'pooling' parameter of CNN must be a str among"),
        (CNN(pool_size=0), "'pool_size' parameter of CNN must be an int in the range"),
        (CNN(n_convolutions=0), "'n_convolutions' parameter of CNN must be an int in"),
        (CNN(activation="sine"), "'activation' parameter of CNN must be a str among"),
        (CNN(dropout=1.0), "'dropout' parameter of CNN must be a float in the range"),
        (CNN(norm="group"), "'norm' parameter of CNN must be a str among"),
        (
            CNN((4, 4, 4, 4)),
            r"maps of 1 x 1, which stage 4 of CNN gets .* for pooling by 2 x 2: set a",
        ),
        (
            CNN((4, 4), kernel_size=5, padding="valid"),
            r"maps of 2 x 2, which stage 2 of CNN gets from images of 8 x 8, are too",
        ),
        (
            CNN((4,), kernel_size=9, padding="valid"),
            r"maps of 8 x 8, which stage 1 of CNN gets .* for a kernel of 9 x 9",
        ),
        (
            CNN((4,), kernel_size=9),
            r"maps of 8 x 8, which stage 1 of CNN gets .* for a kernel of 9 x 9",
        ),
    ],
    ids=str,
)
@every_sharing
@pytest.mark.sampled(7)
def test_wrong_settings_get_one_sentence_before_training(sharing, bad, message):
    est = MultiTaskClassifier(sharing, encoder=bad, n_estimators=1)
    with pytest.raises(ValueError, match=message) as caught:
        est.fit(IMAGES[:60], TASKS[:60])
    assert "\n" not in str(caught.value)
    assert not est.__sklearn_is_fitted__()


TABLE = DIGITS.data / 16
IMAGES_WANTED = (
    r"X has samples of shape \({}\), but the encoder CNN takes images, X of shape "
    r"\(n_samples, channels, height, width\): reshape X .* or .* encoder='mlp'"
)
TABLE_WANTED = (
    r"X has samples of shape \(1, 8, 8\), but the encoder MLP takes tables, X of shape "
    r"\(n_samples, n_features\): .* encoder='cnn', or flatten"
)


@pytest.mark.parametrize(
    ("encoder", "good", "bad", "message"),
    [
        ("cnn", IMAGES, TABLE, IMAGES_WANTED.format("64,")),
        (CNN((4,)), IMAGES, TABLE, IMAGES_WANTED.format("64,")),
        ("cnn", IMAGES, DIGITS.images, IMAGES_WANTED.format("8, 8")),
        ("mlp", TABLE, IMAGES, TABLE_WANTED),
        (MLP((4,)), TABLE, IMAGES, TABLE_WANTED),
    ],
)
@pytest.mark.parametrize("form", [np.asarray, np.ndarray.tolist, torch.from_numpy])
def test_images_for_tables_and_tables_for_images(encoder, good, bad, message, form):
    est = MultiTaskClassifier(encoder=encoder, max_iter=1, n_estimators=1)
    y = TASKS[:60]
    good, bad = good[:60], form(bad[:60])
    for data in ({"X": bad}, {"X": good, "X_val": bad, "y_val": y}):
        with pytest.raises(ValueError, match=message):
            est.fit(y=y, **data)
        assert not est.__sklearn_is_fitted__()
        assert not hasattr(est, "n_features_in_")
    est.fit(good, y)
    for method in (est.predict, est.predict_proba):
        with pytest.raises(ValueError, match=message):
            method(bad)
    with pytest.raises(ValueError, match=message):
        est.partial_fit(bad, y)
    assert est.predict(good).shape == y.shape


def test_a_sparse_table_is_no_image():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match=IMAGES_WANTED.format("64,")):
        MultiTaskClassifier(encoder="cnn", n_estimators=1).fit(
            sparse.csr_array(TABLE), TASKS
        )


class Block(nn.Module):
    """Two convolutions around which the input is added."""

    def __init__(self, width):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, X):
        return (X + self.branch(X)).relu()


class SmallResNet(nn.Module):
    """A backbone as torchvision has them."""

    def __init__(self, n_features):
        super().__init__()
        self.conv1 = nn.Conv2d(n_features, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(Block(8), Block(8))
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))

    def forward(self, X):
        X = self.bn1(self.conv1(X)).relu()
        return self.avgpool(self.layer1(X)).flatten(1)


@pytest.mark.one_version
@pytest.mark.parametrize("sharing", ["hard", "independent", "mmoe"])
@pytest.mark.sampled(3)
def test_a_user_s_residual_network_learns(sharing):
    X, Y = IMAGES[:200], TASKS[:200]
    est = MultiTaskClassifier(
        sharing,
        encoder=SmallResNet,
        learning_rate_init=1e-2,
        batch_size=50,
        max_iter=EPOCHS[sharing],
        early_stopping=False,
        random_state=0,
        n_estimators=1,
    ).fit(X, Y)
    assert est.score(X, Y) > 0.85
    np.testing.assert_array_equal(est.predict(X[:1]), est.predict(X)[:1])
