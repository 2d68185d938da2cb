"""Stacked layers are the separate layers of torch."""

from functools import partial

import pytest
import torch
from torch import nn

from skmtl._core.layers import (
    Dropout,
    StackedBatchNorm,
    StackedConv2d,
    StackedLayerNorm,
    StackedLinear,
    merge_copies,
    split_copies,
)
from tests._networks import randomised

pytestmark = [
    pytest.mark.one_version,
]

K, N = 3, 7
COPIES = [1, K]


def batch(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("k", COPIES)
@pytest.mark.parametrize("seen_by_all", [True, False])
@pytest.mark.parametrize(("n", "n_inputs", "n_outputs"), [(N, 5, 4), (1, 1, 1)])
def test_linear_is_torch_s_for_each_copy(k, seen_by_all, n, n_inputs, n_outputs):
    stacked = randomised(StackedLinear(k, n_inputs, n_outputs).double(), 0)
    X = batch(n, n_inputs) if seen_by_all else batch(k, n, n_inputs)
    X.requires_grad_()
    out = stacked(X)
    assert out.shape == (k, n, n_outputs)
    weight = batch(*out.shape, seed=1)
    (out * weight).sum().backward()
    grad_X, X.grad = X.grad, None
    for copy in range(k):
        linear = nn.Linear(n_inputs, n_outputs).double()
        with torch.no_grad():
            linear.weight.copy_(stacked.weight[copy])
            linear.bias.copy_(stacked.bias[copy])
        own = linear(X if seen_by_all else X[copy])
        torch.testing.assert_close(out[copy], own)
        (own * weight[copy]).sum().backward()
        torch.testing.assert_close(stacked.weight.grad[copy], linear.weight.grad)
        torch.testing.assert_close(stacked.bias.grad[copy], linear.bias.grad)
    torch.testing.assert_close(grad_X, X.grad)


def test_linear_starts_as_torch_s_does():
    torch.manual_seed(0)
    stacked = StackedLinear(50, 100, 40)
    linear = nn.Linear(100, 40)
    for name in ("weight", "bias"):
        own, torchs = getattr(stacked, name).detach(), getattr(linear, name).detach()
        assert own.abs().max() <= 0.1
        assert abs(own.std() / torchs.std() - 1) < 0.15
        assert own.flatten().unique().numel() > 0.9 * own.numel()


def test_linear_of_no_input_is_its_bias():
    stacked = StackedLinear(K, 0, 2)
    assert torch.equal(stacked(torch.zeros(N, 0)), torch.zeros(K, N, 2))


@pytest.mark.parametrize("k", COPIES)
@pytest.mark.parametrize("seen_by_all", [True, False])
@pytest.mark.parametrize(("kernel_size", "padding"), [(3, 1), (2, 0)])
def test_convolution_is_torch_s_for_each_copy(k, seen_by_all, kernel_size, padding):
    stacked = randomised(StackedConv2d(k, 2, 4, kernel_size, padding).double(), 0)
    X = batch(N, 2, 5, 6) if seen_by_all else batch(k, N, 2, 5, 6)
    out = split_copies(stacked(X if seen_by_all else merge_copies(X)), k)
    for copy in range(k):
        conv = nn.Conv2d(2, 4, kernel_size, padding=padding).double()
        with torch.no_grad():
            conv.weight.copy_(stacked.weight[copy])
            conv.bias.copy_(stacked.bias[copy])
        torch.testing.assert_close(out[copy], conv(X if seen_by_all else X[copy]))


def test_convolution_starts_as_torch_s_does():
    torch.manual_seed(0)
    stacked, conv = StackedConv2d(50, 4, 40, 5), nn.Conv2d(4, 40, 5)
    for name in ("weight", "bias"):
        own, torchs = getattr(stacked, name).detach(), getattr(conv, name).detach()
        assert own.abs().max() <= 0.1
        assert abs(own.std() / torchs.std() - 1) < 0.15
        assert own.flatten().unique().numel() > 0.9 * own.numel()


def test_merging_and_parting_undo_each_other_without_a_copy():
    H = batch(N, 6, 4, 5)
    parts = split_copies(H, K)
    assert parts.shape == (K, N, 2, 4, 5)
    assert torch.equal(parts[1], H[:, 2:4])
    assert torch.equal(merge_copies(parts), H)
    assert merge_copies(parts).data_ptr() == H.data_ptr()


@pytest.mark.parametrize("k", COPIES)
def test_layer_norm_is_torch_s_for_each_copy(k):
    stacked = randomised(StackedLayerNorm(k, 6).double(), 0)
    H = batch(k, N, 6)
    for copy in range(k):
        norm = nn.LayerNorm(6).double()
        with torch.no_grad():
            norm.weight.copy_(stacked.weight.view(k, 6)[copy])
            norm.bias.copy_(stacked.bias.view(k, 6)[copy])
        torch.testing.assert_close(stacked(H)[copy], norm(H[copy]))


@pytest.mark.parametrize("k", COPIES)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_torch_s_for_each_copy(k, training):
    stacked = StackedBatchNorm(k, 6).double()
    norms = [nn.BatchNorm1d(6).double() for _ in range(k)]
    for step in range(3):  # statistics run along
        H = batch(k, N, 6, seed=step) + 2
        out = stacked.train()(H)
        for copy, norm in enumerate(norms):
            torch.testing.assert_close(out[copy], norm.train()(H[copy]))
    out = stacked.train(training)(H)
    for copy, norm in enumerate(norms):
        torch.testing.assert_close(out[copy], norm.train(training)(H[copy]))


@pytest.mark.parametrize("k", COPIES)
@pytest.mark.parametrize(
    ("stacked", "norm"),
    [(StackedLayerNorm, partial(nn.GroupNorm, 1)), (StackedBatchNorm, nn.BatchNorm2d)],
)
def test_norms_of_feature_maps_are_torch_s_for_each_copy(k, stacked, norm):
    stacked = randomised(stacked(k, 6).double(), 0)
    H = batch(k, N, 6, 4, 3)
    out = split_copies(stacked(merge_copies(H)), k)
    for copy in range(k):
        own = norm(6).double()
        with torch.no_grad():
            own.weight.copy_(stacked.weight[copy])
            own.bias.copy_(stacked.bias[copy])
        torch.testing.assert_close(out[copy], own(H[copy]))


def test_normalisation_starts_without_effect_of_its_own():
    H = batch(K, 50, 6)
    for norm in (StackedLayerNorm(K, 6), StackedBatchNorm(K, 6)):
        axis = 2 if isinstance(norm, StackedLayerNorm) else 1
        out = norm.double().train()(H)
        torch.testing.assert_close(
            out.mean(axis), torch.zeros_like(out.mean(axis)), atol=1e-9, rtol=0
        )


@pytest.mark.parametrize("p", [0.001, 0.3, 0.5, 0.999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dropout_zeroes_a_share_and_keeps_expectations(p, dtype):
    torch.manual_seed(0)
    layer = Dropout(p)
    H = torch.ones(1001, 301, dtype=dtype, requires_grad=True)
    out = layer(H)
    share = min(max(round(256 * p), 1), 255) / 256
    error = (share * (1 - share) / H.numel()) ** 0.5
    dropped = (out == 0).double().mean().item()
    assert abs(dropped - share) < 5 * error
    assert out.dtype == dtype
    kept = torch.tensor([0, 1 / (1 - share)], dtype=dtype)
    torch.testing.assert_close(out.unique(), kept, rtol=1e-6, atol=0)
    out.sum().backward()
    assert torch.equal(H.grad, out)
    assert layer.eval()(H) is H


def test_dropout_works_where_vmap_cannot_view_bytes(monkeypatch):
    view = torch.Tensor.view

    def view_of_old_torch(H, *shape):
        if shape == (torch.uint8,):
            raise RuntimeError("Batching rule not implemented for aten::view.dtype")
        return view(H, *shape)

    monkeypatch.setattr(torch.Tensor, "view", view_of_old_torch)
    torch.manual_seed(0)
    out = torch.vmap(Dropout(0.5), randomness="different")(torch.ones(3, 80, 70))
    assert out.unique().tolist() == [0, 2]
    assert not torch.equal(out[0], out[1])


def test_dropout_draws_for_each_network_row_and_feature_alone():
    torch.manual_seed(0)
    layer = Dropout(0.5)
    out = torch.vmap(layer, randomness="different")(torch.ones(3, 80, 70)) / 2
    for axes in [(1, 2), (0, 2), (0, 1)]:  # no slice is all the same or another's twin
        share = out.mean(dim=axes)
        assert ((share > 0.3) & (share < 0.7)).all()
    flat = out.view(-1, 70)
    correlation = torch.corrcoef(flat).fill_diagonal_(0)
    assert correlation.abs().max() < 0.7
    same = torch.vmap(layer, randomness="same")(torch.ones(3, 80, 70))
    assert torch.equal(same[0], same[1])
