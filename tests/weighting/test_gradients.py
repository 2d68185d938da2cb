"""Weights from the Gramian of the tasks' gradients, beside other implementations."""

import itertools
import pickle

import numpy as np
import pytest
import torch
import torchjd.aggregation as other
from scipy.optimize import minimize

from skmtl.weighting import (
    PCD,
    WEIGHTING,
    CAGrad,
    FairGrad,
    GradientWeighting,
    GradNorm,
    GradVac,
    PrimaryTask,
)
from skmtl.weighting._base import SolverModule

SPECS = {
    **{n: cls() for n, cls in WEIGHTING.items() if issubclass(cls, GradientWeighting)},
    "cagrad, no radius": CAGrad(c=0),
    "fairgrad, alpha=0.1": FairGrad(alpha=0.1),
    "fairgrad, alpha=10": FairGrad(alpha=10),
    "pcd of task 2": PCD(2, tau=0.3),
    "cosine with task 1": PrimaryTask(1, mode="cosine"),
}
specs = pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))
solvers = pytest.mark.parametrize(
    "spec",
    [s for s in SPECS.values() if isinstance(s.build(4), SolverModule)],
    ids=repr,
)


def gradients(n_tasks, n=9, seed=0, shift=0.3):
    """Return gradients of different lengths, some of which are in conflict."""
    rng = np.random.default_rng(seed)
    J = rng.normal(size=(n_tasks, n)) + shift
    return torch.from_numpy(J * rng.uniform(0.3, 3, size=(n_tasks, 1)))


def weigh(spec, J, present=None, losses=None, module=None):
    torch.manual_seed(0)
    J = torch.as_tensor(J, dtype=torch.float64)
    module = module or spec.build(len(J)).double()
    losses = torch.ones(len(J), dtype=torch.float64) if losses is None else losses
    return module.from_gramian(J @ J.T, losses, present)


def same_sum(weights):
    return weights * (len(weights) / weights.sum())


def assert_solves(spec, J, expected, tol=1e-6):
    module = spec.build(len(J)).double()
    found = weigh(spec, J, module=module)
    assert module.failures == 0
    torch.testing.assert_close(found, same_sum(expected), rtol=tol, atol=tol)


seeds = pytest.mark.parametrize("seed", range(4))
sizes = pytest.mark.parametrize("n_tasks", [2, 3, 7])


@seeds
@sizes
@pytest.mark.parametrize(
    ("name", "reference", "tol"),
    [
        ("aligned_mtl", other.AlignedMTLWeighting(scale_mode="rmse"), 1e-4),
        ("aligned_mtl", other.AlignedMTLWeighting(scale_mode="min"), 1e-4),
        ("fairgrad", other.FairGradWeighting(alpha=2.0), 2e-4),
        ("nash_mtl", other.FairGradWeighting(alpha=1.0), 2e-4),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_agrees_with_torchjd(name, reference, tol, n_tasks, seed):
    J = gradients(n_tasks, seed=seed)
    assert_solves(WEIGHTING[name](), J, reference(J @ J.T), tol)


@seeds
@sizes
def test_mgda_is_at_least_as_short_as_torchjd_s_iterations_make_it(n_tasks, seed):
    J = gradients(n_tasks, n=30, seed=seed)
    reference = other.MGDAWeighting(epsilon=1e-6, max_iters=2000)(J @ J.T)
    weights = weigh(WEIGHTING["mgda"](), J) / n_tasks
    found, expected = (weights @ J).norm(), (reference @ J).norm()
    assert 0.98 * expected < found < expected + 1e-9


@seeds
@sizes
def test_equal_projections_agree_with_torchjd(n_tasks, seed):
    J = gradients(n_tasks, n=40, seed=seed)
    expected = other.IMTLGWeighting()(J @ J.T)
    direction = other.ConFIG()(J)
    for name in ("imtl_g", "config"):
        assert_solves(WEIGHTING[name](), J, expected)
        step = weigh(WEIGHTING[name](), J) @ J
        torch.testing.assert_close(step / step.norm(), direction / direction.norm())


@pytest.mark.parametrize("name", ["imtl_g", "config"])
def test_a_step_is_not_turned_round_to_make_weights_positive(name):
    """A short gradient beside the plane of two others outweighs them, negatively."""
    angles = torch.tensor([0.0, 0.7, 1.4])
    J = torch.column_stack([angles.cos(), angles.sin(), torch.ones(3)])
    J[1] *= 0.01
    by_torchjd = other.IMTLGWeighting()(J @ J.T)
    assert (J @ (by_torchjd @ J) < 0).all()  # it makes every loss rise
    module = WEIGHTING[name]().build(3)
    torch.testing.assert_close(weigh(None, J, module=module), torch.ones(3).double())
    assert module.failures == 1


@seeds
@pytest.mark.parametrize(("n_tasks", "n"), [(2, 9), (3, 9), (6, 9), (6, 3)])
@pytest.mark.parametrize("name", ["pcgrad", "gradvac"])
def test_surgery_agrees_with_torchjd_in_every_order(
    name, n_tasks, n, seed, monkeypatch
):
    """One order serves both; torchjd's GradVac draws it among the other tasks."""
    rng = np.random.default_rng(seed)
    module = WEIGHTING[name]().build(n_tasks).double()
    reference = {
        "pcgrad": other.PCGradWeighting(),
        "gradvac": other.GradVacWeighting(eps=1e-12),
    }[name]
    for step in range(3):
        J = gradients(n_tasks, n, seed=10 * seed + step, shift=0.0)
        orders = torch.from_numpy(
            rng.permuted(np.tile(range(n_tasks), (n_tasks, 1)), axis=1)
        )
        draws = []
        for i, order in enumerate(orders):
            if name == "pcgrad":
                draws.append(order)
            else:
                rest = [j for j in range(n_tasks) if j != i]
                draws.append(torch.tensor([rest.index(j) for j in order if j != i]))
        iterator = iter(draws)
        monkeypatch.setattr(torch, "randperm", lambda n, i=iterator: next(i))
        monkeypatch.setattr(
            torch, "rand", lambda *n, o=orders, **_: o.argsort().double()
        )
        expected = reference(J @ J.T)
        found = module.from_gramian(J @ J.T, torch.ones(n_tasks).double(), None)
        torch.testing.assert_close(found, same_sum(expected), rtol=1e-6, atol=1e-6)
    assert module.failures == 0


def test_a_vaccine_that_nothing_is_usual_for_is_surgery():
    J = gradients(5, shift=0.0)
    vaccine, surgery = weigh(GradVac(), J), weigh(WEIGHTING["pcgrad"](), J)
    torch.testing.assert_close(vaccine, surgery)
    module = GradVac(decay=1).build(2).double()
    alike = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    weigh(None, alike, module=module)
    apart = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    weights = weigh(None, apart, module=module)
    # Each is turned by the other until their cosine is that of 45 degrees again.
    torch.testing.assert_close(weights, torch.ones(2).double())
    torch.testing.assert_close(module.usual[0, 1], torch.tensor(0.0).double())


def test_usual_cosines_are_those_of_each_pair_of_tasks():
    few, wide = GradVac().build(2).double(), GradVac().build(4).double()
    there = torch.tensor([False, True, False, True])
    for seed in range(4):
        J = gradients(2, seed=seed)
        spread = torch.zeros(4, 9).double()
        spread[there] = J
        alone = weigh(None, J, module=few)
        found = weigh(None, spread, there, module=wide)
        torch.testing.assert_close(found[there], alone)
    torch.testing.assert_close(wide.usual[there][:, there], few.usual)
    assert wide.usual[0, 1:].abs().max() == 0


@seeds
def test_a_vaccine_bears_gradients_along_one_line(seed):
    module = GradVac().build(4)
    for step in range(10):
        J = gradients(4, 1, seed=10 * seed + step, shift=0.0).float()
        weights = module.from_gramian(J @ J.T, torch.ones(4), None)
        assert weights.isfinite().all()
        assert module.usual.abs().max() <= 1
    assert module.failures == 0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("c", [0.1, 0.4, 0.9])
def test_cagrad_is_the_best_of_its_ball(c, seed):
    """Beside a general solver of the paper's dual, and by the conditions of optimum."""
    J = gradients(4, seed=seed, shift=0.0).numpy()
    mean = J.mean(axis=0)
    radius = c * np.linalg.norm(mean)

    def dual(x):
        d = x**2 / (x**2).sum() @ J
        return d @ mean + radius * np.linalg.norm(d)

    worth = min(
        minimize(dual, start, tol=1e-12, method="BFGS").fun
        for start in np.random.default_rng(0).uniform(0.2, 1, size=(5, 4))
    )
    weights = weigh(CAGrad(c=c), J).numpy()
    moved = (weights / weights.min() - 1) @ J  # one task at least is not pulled
    d = mean + radius * moved / np.linalg.norm(moved)
    np.testing.assert_allclose((J @ d).min(), worth, rtol=1e-6, atol=1e-6)
    step = weights @ J
    np.testing.assert_allclose(step / np.linalg.norm(step), d / np.linalg.norm(d))


@pytest.mark.parametrize("cosine", [-0.9, -0.3, 0.5])
def test_cagrad_of_two_tasks_is_the_best_on_a_circle(cosine):
    J = np.array([[2.0, 0.0], [cosine, np.sqrt(1 - cosine**2)]])
    angles = np.linspace(0, 2 * np.pi, 2_000_001)
    mean = J.mean(axis=0)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    around = mean + 0.4 * np.linalg.norm(mean) * circle
    best = around[(around @ J.T).min(axis=1).argmax()]
    step = weigh(CAGrad(), J).numpy() @ J
    np.testing.assert_allclose(
        step / np.linalg.norm(step), best / np.linalg.norm(best), atol=1e-5
    )


def test_cagrad_without_radius_is_equal_weights():
    torch.testing.assert_close(weigh(CAGrad(c=0), gradients(4)), torch.ones(4).double())


def nearest_in_dual_cone(J, v):
    """Return the nearest vector that no row opposes, by trying all active sets."""
    best = None
    for active in itertools.product([False, True], repeat=len(J)):
        A = J[list(active)]
        near = v - np.linalg.pinv(A) @ (A @ v) if len(A) else v
        distance = np.linalg.norm(near - v)
        if (J @ near > -1e-9).all() and (best is None or distance < best[0]):
            best = distance, near
    return best[1]


@seeds
@pytest.mark.parametrize("n_tasks", [2, 3, 5])
def test_projections_are_the_nearest_that_oppose_no_gradient(n_tasks, seed):
    J = gradients(n_tasks, n=6, seed=seed, shift=0.0).numpy()
    mean = nearest_in_dual_cone(J, J.mean(axis=0))
    each = np.mean([nearest_in_dual_cone(J, g) for g in J], axis=0)
    for name, expected in [("dual_proj", mean), ("upgrad", each)]:
        step = weigh(WEIGHTING[name](), J).numpy() @ J
        np.testing.assert_allclose(
            step / np.linalg.norm(step), expected / np.linalg.norm(expected), atol=1e-9
        )


def test_upgrad_gives_torchjd_s_published_example():
    J = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    expected = torch.tensor([1.1109, 0.7894])
    assert_solves(WEIGHTING["upgrad"](), J, expected.double(), tol=2e-4)


@pytest.mark.parametrize("cosine", [-0.8, 0.2, 0.9])
@pytest.mark.parametrize("length", [0.5, 3.0])
def test_two_tasks_have_closed_forms(cosine, length):
    J = torch.tensor(
        [[1.0, 0.0], [length * cosine, length * (1 - cosine**2) ** 0.5]]
    ).double()
    inner = length * cosine
    share = (length**2 - inner) / (1 + length**2 - 2 * inner)
    share = min(max(share, 0), 1)
    inverse = torch.tensor([length, 1.0]).double()
    opposed = max(0, -inner)
    surgery = torch.tensor([1 + opposed, 1 + opposed / length**2]).double()
    for name, expected in {
        "mgda": torch.tensor([share, 1 - share]).double(),
        "imtl_g": inverse,
        "config": inverse,
        "db_mtl": inverse,
        "nash_mtl": inverse,
        "pcgrad": surgery,
        "upgrad": surgery,
        "gradvac": surgery,
    }.items():
        assert_solves(WEIGHTING[name](), J, expected, 2e-6)


@seeds
def test_what_each_method_promises_of_its_step(seed):
    J = gradients(5, n=30, seed=seed, shift=0.0)
    norms = J.norm(dim=1)

    def gains(name):
        weights = weigh(WEIGHTING[name](), J)
        return weights, J @ (weights @ J)

    for name in ("mgda", "upgrad", "dual_proj", "fairgrad", "nash_mtl", "imtl_g"):
        assert (gains(name)[1] > -1e-9).all()
    weights, gain = gains("nash_mtl")
    shares = weights * gain
    torch.testing.assert_close(shares, shares.mean().expand(5), rtol=1e-5, atol=0)
    weights, gain = gains("fairgrad")
    shares = weights * gain**2
    torch.testing.assert_close(shares, shares.mean().expand(5), rtol=1e-5, atol=0)
    _, gain = gains("imtl_g")
    torch.testing.assert_close(gain / norms, (gain / norms).mean().expand(5))
    weights, gain = gains("mgda")
    used = weights > 1e-9
    torch.testing.assert_close(gain[used], gain.min().expand(int(used.sum())))
    weights, _ = gains("aligned_mtl")
    Q, _, P = torch.linalg.svd(J, full_matrices=False)
    step = (Q @ P).sum(dim=0)
    torch.testing.assert_close(
        weights @ J / (weights @ J).norm(), step / step.norm(), rtol=1e-4, atol=1e-4
    )
    weights, _ = gains("db_mtl")
    losses = torch.rand(5).double() + 0.1
    of_logs = J / losses[:, None]  # the paper's formula
    lengths = of_logs.norm(dim=1, keepdim=True)
    step = lengths.max() * (of_logs / lengths).sum(dim=0)
    torch.testing.assert_close(weights @ J / (weights @ J).norm(), step / step.norm())


def test_pcd_keeps_its_promise_and_follows_the_primary_task():
    J = gradients(4, n=12, shift=0.0)
    J = J / J.norm(dim=1, keepdim=True)
    for task, tau in itertools.product(range(4), (0.0, 0.02, 0.5)):
        module = PCD(task, tau=tau, decay=0).build(4).double()
        weights = weigh(None, J, module=module)
        assert module.failures == 0
        d = weights / weights[task] @ J
        others = torch.arange(4) != task
        assert (J[others] @ d >= tau - 1e-9).all()
        # Only those whose promise binds are helped.
        bound = (J @ d - tau).abs() < 1e-9
        assert (weights[others & ~bound].abs() < 1e-9).all()


@sizes
def test_pcd_agrees_with_torchjd_step_after_step(n_tasks):
    module = PCD(tau=0.1, decay=0.9).build(n_tasks).double()
    reference = other.PCDWeighting(tau=0.1, beta=0.9, eps=0.0)
    for seed in range(6):
        J = gradients(n_tasks, seed=seed, shift=0.0)
        found = weigh(None, J, module=module)
        torch.testing.assert_close(found, same_sum(reference(J @ J.T)))


def test_pcd_knows_the_usual_length_of_a_task_that_was_away():
    J = gradients(3, shift=0.0)
    expected = weigh(PCD(tau=0.3), J)
    module = PCD(tau=0.3).build(3).double()
    for there in (False, True, False, True):
        present = torch.tensor([True, True, there])
        weights = weigh(None, J * present[:, None], present, module=module)
    torch.testing.assert_close(weights, expected)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_fair_shares_exist_also_where_gradients_are_opposite(alpha):
    J = torch.tensor([[1.0, 0.0], [-0.01, 0.0]]).double()
    balance = torch.tensor([0.01, 1.0]).double()
    assert_solves(FairGrad(alpha=alpha), J, balance, tol=1e-3)
    module = FairGrad(alpha=alpha).build(32)
    for seed in range(20):
        line = gradients(32, 1, seed=seed, shift=0.0).float()
        module.from_gramian(line @ line.T, torch.ones(32), None)
    assert module.failures == 0


def test_pcd_without_a_way_to_keep_its_promises_follows_the_primary_task():
    J = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    torch.testing.assert_close(weigh(PCD(), J), torch.tensor([3.0, 0.0, 0.0]).double())


@specs
def test_weights_sum_to_the_tasks_in_the_type_of_the_losses(spec):
    J = gradients(4).float()
    module = spec.build(4)
    weights = module.from_gramian(J @ J.T, torch.rand(4), None)
    assert weights.dtype == torch.float32
    assert weights.shape == (4,)
    assert weights.sum() > 0
    if isinstance(module, SolverModule):
        torch.testing.assert_close(weights.sum(), torch.tensor(4.0))
        assert module.failures.dtype == torch.int64


@specs
def test_absent_tasks_and_zero_gradients_change_nothing_for_the_others(spec):
    J = gradients(4)
    wide = torch.zeros(6, 9).double()
    there = torch.tensor([True, True, True, False, True, False])
    wide[there] = J
    alone, absent = weigh(spec, J), weigh(spec, wide, there)
    silent = weigh(spec, wide)
    for found in (absent, silent):
        found = same_sum(found[there])
        torch.testing.assert_close(found, same_sum(alone))


@specs
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_scale_of_losses_changes_nothing(spec, scale):
    J = gradients(4).float()
    expected = same_sum(weigh(spec, J))
    module = spec.build(4)
    torch.manual_seed(0)
    found = module.from_gramian((scale * J) @ (scale * J).T, torch.ones(4), None)
    torch.testing.assert_close(same_sum(found).double(), expected, rtol=1e-3, atol=1e-3)


HARD = {
    "nothing": torch.zeros(3, 4),
    "one": torch.tensor([[1.0, 2.0], [0, 0], [0, 0]]),
    "opposite": torch.tensor([[1.0, 0], [-1.0, 0]]),
    "opposite, of other lengths": torch.tensor([[1.0, 0], [-1e-3, 0]]),
    "a closed triangle": torch.tensor([[2.0, 0], [-1, 3**0.5], [-1, -(3**0.5)]]),
    "the same": torch.ones(5, 3),
    "almost the same": torch.ones(5, 3) + 1e-6 * torch.eye(5, 3),
    "more tasks than directions": torch.sin(torch.arange(14.0).reshape(7, 2)),
    "lengths": torch.diag(torch.tensor([1e-7, 1.0, 1e7])) @ (torch.eye(3) - 0.3),
    "huge": 1e15 * torch.eye(3),
    "tiny": 1e-15 * torch.eye(3),
}


@specs
@pytest.mark.parametrize("J", HARD.values(), ids=list(HARD))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.sampled(3)
def test_hard_gradients_give_finite_weights(spec, J, dtype):
    J = J.to(dtype)
    spec = spec if len(J) > 2 else type(spec)()
    if isinstance(spec, PrimaryTask):
        spec = PrimaryTask(mode="cosine")
    module = spec.build(len(J)).to(dtype)
    for _ in range(3):
        weights = module.from_gramian(J @ J.T, torch.ones(len(J), dtype=dtype), None)
        assert weights.isfinite().all()
        assert weights.sum() > 0
        assert weights.sum() > 0.09 * weights.abs().sum()


@specs
def test_a_single_task_weighs_one(spec):
    spec = type(spec)(mode="cosine") if isinstance(spec, PrimaryTask) else type(spec)()
    weights = weigh(spec, gradients(1))
    torch.testing.assert_close(weights, torch.ones(1).double())


@specs
def test_patterns_of_absent_tasks_give_finite_weights(spec):
    rng = np.random.default_rng(0)
    module = spec.build(6)
    for step in range(40):
        present = torch.from_numpy(rng.random(6) > 0.6)
        J = gradients(6, seed=step, shift=0.0).float() * present[:, None]
        losses = torch.rand(6) * present
        weights = module.from_gramian(J @ J.T, losses, present)
        assert weights.isfinite().all()
        if present.any():
            assert weights[present].sum() > 0
        loss = module.own_loss(losses, present)
        assert loss is None or loss.isfinite()
        module.after_epoch(torch.where(present, losses, torch.nan))
    assert not isinstance(module, SolverModule) or module.failures <= 20


@solvers
@pytest.mark.parametrize("fault", ["nan", "raises", "cancels", "is negative"])
@pytest.mark.sampled(3)
def test_a_solver_s_failure_gives_equal_weights_and_is_counted(
    spec, fault, monkeypatch
):
    module = spec.build(3)

    def solve(gramian, tasks):
        if fault == "raises":
            raise RuntimeError("no solution")
        return np.array(
            {"cancels": [1, -1, 1e-3], "nan": [1, np.nan, 1]}.get(fault, [-1, -1, -1])
        )

    monkeypatch.setattr(module, "solve", solve)
    for count in (1, 2):
        weights = weigh(None, gradients(3), module=module)
        torch.testing.assert_close(weights, torch.ones(3).double())
        assert module.failures == count
    assert pickle.loads(pickle.dumps(spec.build(3))).failures == 0


@solvers
def test_gradients_that_are_not_finite_are_a_failure(spec):
    module = spec.build(3).double()
    weights = weigh(None, torch.full((3, 2), torch.nan), module=module)
    torch.testing.assert_close(weights, torch.ones(3).double())
    assert module.failures == 1


@specs
def test_modules_pickle_with_their_state(spec):
    module = spec.build(4).double()
    weigh(None, gradients(4), module=module)
    twin = pickle.loads(pickle.dumps(module))
    for (name, value), copied in zip(
        module.state_dict().items(), twin.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, copied, msg=name, equal_nan=True)
    J = gradients(4, seed=1)
    torch.testing.assert_close(
        weigh(None, J, module=twin), weigh(None, J, module=module)
    )


@pytest.mark.parametrize(
    ("spec", "parameter"),
    [
        (CAGrad(c=1.0), "c"),
        (CAGrad(c=-0.1), "c"),
        (FairGrad(alpha=0.01), "alpha"),
        (FairGrad(alpha=11), "alpha"),
        (GradVac(decay=1.1), "decay"),
        (GradNorm(alpha=-1), "alpha"),
        (PCD(tau=1.5), "tau"),
        (PCD(decay=1.0), "decay"),
        (PCD(task=0.5), "task"),
        (WEIGHTING["mgda"](gradient_at="heads"), "gradient_at"),
        (WEIGHTING["pcgrad"](update_every=0), "update_every"),
    ],
    ids=repr,
)
def test_bad_settings_are_refused(spec, parameter):
    where = f"'{parameter}' parameter of {type(spec).__name__}"
    with pytest.raises(ValueError, match=where):
        spec.validate()
