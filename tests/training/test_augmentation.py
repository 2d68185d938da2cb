"""What augmentations do to one batch."""

import re

import numpy as np
import pytest
import torch
from scipy.stats import beta, binomtest, kstest
from torch.nn import functional as F

from skmtl._data.output_kinds import group_tasks
from skmtl.training import (
    AUGMENTATION,
    Augmentation,
    Crop,
    Flip,
    Mixup,
    Noise,
    PackedLoss,
    pack_targets,
    resolve_augmentation,
)
from skmtl.training._augmentation import augment_batch
from tests._networks import check_spec

pytestmark = [
    pytest.mark.one_version,
]

every = pytest.mark.parametrize("name", AUGMENTATION)


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def images(n=40, channels=3, height=32, width=32):
    """Return images without a pixel that is zero or occurs twice."""
    shape = (n, channels, height, width)
    return 1 + torch.randperm(np.prod(shape)).reshape(shape).double()


def labels(n, missing=0.0, weighted=False, seed=0):
    """Return blocks and targets of a binary, a numeric and a multiclass task."""
    rng = np.random.default_rng(seed)
    blocks = group_tasks(["classification", "regression", "classification"], [2, 0, 3])
    y = [rng.integers(0, 2, n), rng.normal(size=n), rng.integers(0, 3, n)]
    absent = rng.random((3, n)) < missing
    y = [
        np.where(a, -1 if t != 1 else np.nan, v)
        for t, (v, a) in enumerate(zip(y, absent, strict=True))
    ]
    y[0], y[2] = y[0].astype(np.int64), y[2].astype(np.int64)
    weight = rng.random((n, 3)) + 0.1 if weighted else None
    cpu = torch.device("cpu")
    return blocks, y, weight, pack_targets(blocks, y, weight, torch.float64, cpu)


@every
def test_spec_is_a_small_estimator(name):
    assert AUGMENTATION[name].name == name
    check_spec(AUGMENTATION[name]())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Crop(padding=0), r"'padding' parameter of Crop must be a float in .* \(0.*1"),
        (Crop(padding=1), "'padding' parameter of Crop"),
        (Noise(scale=-1), r"'scale' parameter of Noise must be a float in .*\[0"),
        (Mixup(alpha=0), r"'alpha' parameter of Mixup must be a float in .*\(0"),
    ],
)
def test_bad_settings_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        resolve_augmentation(spec)


@every
@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("shape", [(5,), (2, 9, 6)])
def test_batches_keep_form_and_are_changed_out_of_place(name, n, shape):
    spec = AUGMENTATION[name]()
    if spec.of_images and len(shape) == 1:
        return
    for dtype in (torch.float32, torch.float64):
        X = torch.randn(n, *shape, dtype=dtype)
        _, _, _, y = labels(n, weighted=True)
        before = [v.clone() for v in (X, *(v for pair in y for v in pair))]
        found, _ = augment_batch((X, y), [spec])
        assert found.shape == X.shape
        assert found.dtype == dtype
        assert found.isfinite().all()
        after = [X, *(v for pair in y for v in pair)]
        assert all(map(torch.equal, after, before))


@every
def test_nothing_is_read_back_from_the_device(name):
    # Tensors on the device "meta" have no values: to read one raises an error.
    X = torch.empty(6, 3, 8, 8, device="meta")
    y = [(torch.empty(6, 2, device="meta", dtype=torch.int64), None)]
    found, targets = augment_batch((X, y), [AUGMENTATION[name]()])
    assert found.device.type == "meta"
    assert all(v is None or v.device.type == "meta" for v in targets[0])


@every
def test_the_seed_decides(name):
    X = images(8)
    _, _, _, y = labels(8)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(augment_batch((X, y), [AUGMENTATION[name]()])[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_half_of_the_images_are_mirrored_left_to_right():
    X = images(1000, 1, 3, 4)
    found = Flip().inputs(X)
    mirrored = (found != X).any(dim=(1, 2, 3))
    assert torch.equal(found[~mirrored], X[~mirrored])
    assert found[mirrored].tolist() == X.numpy()[mirrored.numpy()][..., ::-1].tolist()
    assert binomtest(int(mirrored.sum()), 1000).pvalue > 1e-3


@pytest.mark.parametrize(
    ("height", "width", "padding"),
    [(32, 32, (4, 4)), (28, 28, (4, 4)), (8, 24, (1, 3)), (5, 2, (1, 1))],
)
def test_crops_are_windows_of_the_padded_image_anywhere(height, width, padding):
    a, b = padding
    n = 20 * (2 * a + 1) * (2 * b + 1)
    X = images(1, 2, height, width).expand(n, -1, -1, -1)
    found = Crop().inputs(X).numpy()
    padded = np.pad(X[0].numpy(), ((0, 0), (a, a), (b, b)))
    windows = {
        padded[:, i : i + height, j : j + width].tobytes(): (i, j)
        for i in range(2 * a + 1)
        for j in range(2 * b + 1)
    }
    places = {windows[crop.tobytes()] for crop in found}
    assert places == set(windows.values())  # 20 draws a place: each occurs


def test_crops_show_each_image_at_its_own_row():
    X = images(50)
    found = Crop().inputs(X)
    for image, crop in zip(X, found, strict=True):
        pixels = set(crop[crop > 0].tolist())
        assert pixels <= set(image.flatten().tolist())
        assert len(pixels) >= 3 * 28 * 28


def test_the_padding_of_crops_can_be_set():
    found = Crop(padding=0.5).inputs(images(200, 1, 4, 4))
    empty = (found == 0).float().mean(dim=(1, 2, 3))
    assert empty.max() == 0.75  # shifted by two pixels both ways
    assert empty.min() == 0


@pytest.mark.parametrize("scale", [0.1, 0.5])
def test_noise_is_in_units_of_each_feature_s_spread(scale):
    spread = torch.tensor([1e-6, 1.0, 1e6, 0.0], dtype=torch.float64)
    X = 5 + spread * torch.randn(20000, 4, dtype=torch.float64)
    noise = Noise(scale).inputs(X) - X
    expected = scale * X.std(dim=0, correction=0)
    torch.testing.assert_close(noise.std(dim=0), expected, rtol=0.03, atol=0)
    assert not noise[:, 3].any()
    assert (noise.mean(dim=0).abs() <= 4 * expected / 20000**0.5).all()
    assert (torch.corrcoef(noise[:, :3].T) - torch.eye(3)).abs().max() < 0.05


def test_noise_of_images_is_in_units_of_each_channel_s_spread():
    spread = torch.tensor([1.0, 100.0]).reshape(1, 2, 1, 1)
    X = spread * torch.randn(200, 2, 10, 10)
    noise = Noise().inputs(X) - X
    expected = 0.1 * X.std(dim=(0, 2, 3))
    torch.testing.assert_close(noise.std(dim=(0, 2, 3)), expected, rtol=0.03, atol=0)


def test_a_single_row_shows_no_spread_and_stays():
    X = torch.randn(1, 4)
    assert torch.equal(Noise().inputs(X), X)


# Mixup


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 5.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shares_are_drawn_from_the_larger_half_of_beta(alpha, dtype):
    shares = Mixup(alpha)._shares(torch.empty(5000, 2, dtype=dtype))
    assert shares.dtype == dtype
    found = shares.double().clamp_max(1 - 1e-12).numpy()
    found += 1e-9 * np.random.default_rng(0).random(5000)  # float32 has ties at one

    def cdf(x):
        return 2 * beta.cdf(np.minimum(x, 1), alpha, alpha) - 1

    # Compare where the type of numbers tells shares from one.
    inner = found[found < 0.9999]
    assert kstest(inner, lambda x: cdf(x) / cdf(0.9999)).pvalue > 1e-3
    assert len(inner) / 5000 == pytest.approx(cdf(0.9999), abs=0.03)


def recovered(X, mixed, seed, spec):
    """Return shares and partners of the rows, from what the mixed inputs show."""
    torch.manual_seed(seed)
    share = spec._shares(X)
    other = torch.randperm(len(X))
    expected = [s * x + (1 - s) * X[j] for s, x, j in zip(share, X, other, strict=True)]
    torch.testing.assert_close(mixed, torch.stack(expected))
    return share, other


@pytest.mark.parametrize("shape", [(5,), (2, 4, 4)])
@pytest.mark.parametrize("missing", [0.0, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_are_those_of_both_labels_by_hand(shape, missing, weighted):
    n = 12
    blocks, y, weight, targets = labels(n, missing, weighted)
    X = torch.randn(n, *shape, dtype=torch.float64)
    outputs = torch.randn(n, blocks[-1].stop, dtype=torch.float64)
    spec = Mixup(alpha=1.0)
    torch.manual_seed(3)
    mixed, both = spec.batch(X, targets)
    share, other = recovered(X, mixed, 3, spec)
    losses, counts = PackedLoss(blocks, 3, "squared_error")(outputs.repeat(2, 1), both)

    columns = {block.tasks[0]: slice(block.start, block.stop) for block in blocks}
    for t in range(3):
        Z, total, norm = outputs[:, columns[t]], 0.0, 0.0
        for i in range(n):
            for row, lam in ((i, share[i]), (int(other[i]), 1 - share[i])):
                label = y[t][row]
                if np.isnan(label) if t == 1 else label < 0:
                    continue
                if t == 1:
                    loss = (Z[i, 0] - label) ** 2
                else:
                    logits = Z[i] if t == 2 else torch.stack([Z[i, 0] * 0, Z[i, 0]])
                    loss = -F.log_softmax(logits, dim=0)[label]
                w = lam * (1 if weight is None else weight[row, t])
                total, norm = total + w * loss, norm + w
        torch.testing.assert_close(losses[t], total / norm)
        torch.testing.assert_close(counts[t], norm)


def test_a_missing_label_leaves_the_other_its_share():
    blocks = group_tasks(["classification"], [2])
    y = [np.array([1, -1])]
    targets = pack_targets(blocks, y, None, torch.float64, torch.device("cpu"))
    X = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    while True:
        mixed, [(both, weight)] = Mixup(alpha=1.0).batch(X, targets)
        if 0 < mixed[0, 0] < 1:  # each row has the other as its partner
            break
    assert both[[0, 3]].tolist() == [[1], [1]]
    assert weight[:, 0].tolist() == [1 - mixed[0, 0], 0, 0, 1 - mixed[1, 0]]


def test_a_tiny_alpha_mixes_nothing():
    _, _, _, targets = labels(30, missing=0.3, weighted=True)
    X = torch.randn(30, 4)
    mixed, both = Mixup(alpha=1e-7).batch(X, targets)
    assert torch.equal(mixed, X)
    for (y, w), (y2, w2) in zip(targets, both, strict=True):
        assert torch.equal(y2[:30], y)
        assert torch.equal(w2[:30], w)
        assert not w2[30:].any()


def test_mixing_twice_gives_every_row_four_labels():
    blocks, _, _, targets = labels(20)
    X = torch.randn(20, 4, dtype=torch.float64)
    _, four = augment_batch((X, targets), [Mixup(1.0), Mixup(1.0)])
    values = X[:, :1]  # a label that is the input shows how labels are mixed
    mixed, [(y, w)] = augment_batch((X, [(values, None)]), [Mixup(1.0), Mixup(1.0)])
    y, w = y.reshape(4, 20), w.reshape(4, 20)
    torch.testing.assert_close(w.sum(dim=0), torch.ones(20, dtype=torch.float64))
    torch.testing.assert_close((y * w).sum(dim=0), mixed[:, 0])
    outputs = torch.randn(20, blocks[-1].stop, dtype=torch.float64)
    _, counts = PackedLoss(blocks, 3, "huber")(outputs.repeat(4, 1), four)
    torch.testing.assert_close(counts, torch.full_like(counts, 20))


# Lists, callables, codes


def test_augmentations_are_applied_in_order():
    X, y = torch.ones(3, 2), []
    found, _ = augment_batch(
        (X, y), resolve_augmentation([lambda X: X + 1, lambda X: 3 * X])
    )
    assert found.tolist() == [[6.0, 6.0]] * 3
    assert resolve_augmentation(None) == resolve_augmentation([]) == ()


def test_names_specs_and_callables_may_come_together():
    found = resolve_augmentation(["mixup", Noise(scale=0.3), torch.nn.Identity()])
    assert [step.name for step in found] == ["mixup", "noise", "callable"]
    assert found[1].scale == 0.3


@pytest.mark.parametrize("entry", ["blur", 3, None, ["flip"]])
def test_a_list_holds_names_and_callables_only(entry):
    message = (
        "The 'augmentation' parameter must hold names among ['crop', 'flip', 'mixup', "
        f"'noise'] or callables. Got {entry!r}."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        resolve_augmentation(["flip", entry])


@pytest.mark.parametrize("value", ["noise", "mixup", lambda X: X + 1])
def test_codes_of_categories_stay_as_they_are(value):
    X = torch.randn(50, 4)
    X[:, [1, 3]] = X[:, [1, 3]].round()
    codes = torch.tensor([1, 3])
    _, _, _, y = labels(50)
    found, _ = augment_batch((X, y), resolve_augmentation(value), codes)
    assert torch.equal(found[:, codes], X[:, codes])
    assert (found[:, [0, 2]] != X[:, [0, 2]]).any(dim=0).all()


def test_what_a_callable_does_is_kept_off_the_tape_and_the_table():
    def scaled(X):
        return X.mul_(torch.nn.Parameter(torch.tensor(2.0)))

    X = torch.ones(3, 2)
    found, _ = augment_batch((X, []), resolve_augmentation(scaled))
    assert not found.requires_grad
    assert found.tolist() == [[2.0, 2.0]] * 3
    assert X.tolist() == [[1.0, 1.0]] * 3


def test_a_spec_of_one_s_own_works_like_the_others():
    class Shift(Augmentation):
        name = "shift"

        def inputs(self, X):
            return X + 1

    found, _ = augment_batch((torch.ones(2, 2), []), resolve_augmentation(Shift()))
    assert found.tolist() == [[2.0, 2.0]] * 2
