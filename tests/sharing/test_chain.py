"""Facts of classifier chains."""

import numpy as np
import pandas as pd
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl._data.output_kinds import group_tasks
from skmtl.sharing import Chain
from tests._networks import (
    REPLICABLE,
    SAME_STEPS,
    Prepared,
    inputs,
    plain_mlp,
    randomised,
    table,
    whole_network,
)
from tests.sharing import test_all as contract

# Outputs of whole_network's five tasks: two classes, a number, three, four, two.
BLOCKS = group_tasks(
    ["classification", "regression", *["classification"] * 3], [2, 0, 3, 4, 2]
)
COLUMNS = {0: [0], 4: [1], 1: [2], 2: [3, 4, 5], 3: [6, 7, 8, 9]}
ORDER = [3, 1, 4, 0, 2]

SPECS = {
    "plain": Chain(),
    "order": Chain(ORDER),
    "few stages": Chain(ORDER, n_stages=2),
    "ensemble": Chain("ensemble", n_orders=3),
}
specs = pytest.mark.parametrize("sharing", SPECS.values(), ids=SPECS)


def links(sharing, seed=0):
    """Return the module that couples the outputs, with random links."""
    torch.manual_seed(seed)
    module = sharing.build(plain_mlp(4), (4,), 5).coupling(BLOCKS).double()
    return randomised(module, seed)


def outputs(n=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 10, generator=generator, dtype=torch.float64)


def test_the_layout_is_the_one_assumed_here():
    for block in BLOCKS:
        found = np.split(np.arange(block.start, block.stop), np.cumsum(block.sizes))
        for task, columns in zip(block.tasks, found, strict=False):
            assert columns.tolist() == COLUMNS[task]


def by_hand(Z, C, order):
    """Walk a chain task by task."""
    Z = Z.clone()
    for place, t in enumerate(order):
        for s in order[:place]:
            z = Z[:, COLUMNS[s]]
            if s in (0, 4):
                z = 2 * z.sigmoid() - 1
            elif s != 1:
                z = z.softmax(dim=1)
            Z[:, COLUMNS[t]] += z @ C[COLUMNS[t]][:, COLUMNS[s]].T
    return Z


@pytest.mark.parametrize("order", [list(range(5)), ORDER])
def test_outputs_are_those_of_the_chain_walked_by_hand(order):
    module, Z = links(Chain(order)), outputs()
    torch.testing.assert_close(module(Z), by_hand(Z, module.links[0], order))


def test_an_ensemble_is_the_weighted_mean_of_its_chains():
    module, Z = links(Chain("ensemble", n_orders=4)), outputs()
    chains = [
        by_hand(Z, C, order)
        for C, order in zip(module.links, module.orders.tolist(), strict=True)
    ]
    assert len({tuple(order) for order in module.orders.tolist()}) > 1
    weights = module.order_logits.softmax(0)
    torch.testing.assert_close(module.order_weights, weights)
    expected = sum(w * chain for w, chain in zip(weights, chains, strict=True))
    torch.testing.assert_close(module(Z), expected)


def test_two_tasks_with_a_known_answer():
    blocks = group_tasks(["classification"] * 2, [2, 2])
    module = Chain().build(plain_mlp(4), (4,), 2).coupling(blocks).double()
    with torch.no_grad():
        module.links[0, 1, 0] = 3.0
        module.links[0, 0, 1] = 7.0  # from the later task to the earlier: no link
    Z = torch.tensor([[np.log(3.0), 0.5]])  # p = 3/4, so that 2p - 1 = 1/2
    torch.testing.assert_close(module(Z), torch.tensor([[np.log(3.0), 2.0]]))


@pytest.mark.parametrize("n_stages", [2, 3, 5, 8])
def test_tasks_see_all_earlier_stages_and_nothing_else(n_stages):
    module, Z = links(Chain(ORDER, n_stages=n_stages)), outputs()
    runs = {  # which part of the order each task stands in
        2: [0, 0, 0, 1, 1],
        3: [0, 0, 1, 1, 2],
        5: [0, 1, 2, 3, 4],
        8: [0, 1, 2, 3, 4],
    }[n_stages]
    stage = dict(zip(ORDER, runs, strict=True))
    before = module(Z)
    for source in range(5):
        changed = Z.clone()
        changed[:, COLUMNS[source]] *= 1.5
        after = module(changed)
        for task in set(range(5)) - {source}:
            same = torch.equal(after[:, COLUMNS[task]], before[:, COLUMNS[task]])
            assert same == (stage[task] <= stage[source])


@specs
def test_without_links_it_is_hard_sharing(sharing):
    hard = whole_network(contract.SPECS["hard"], REPLICABLE["mlp"], 0)
    chain = whole_network(sharing, REPLICABLE["mlp"], 0)
    torch.nn.init.zeros_(chain.coupling.links)
    chain.load_state_dict(hard.state_dict(), strict=False)
    torch.testing.assert_close(chain(inputs(9)), hard(inputs(9)))


def test_the_first_task_is_always_that_of_hard_sharing():
    hard = whole_network(contract.SPECS["hard"], REPLICABLE["mlp"], 0)
    chain = whole_network(Chain(ORDER), REPLICABLE["mlp"], 0)
    chain.load_state_dict(hard.state_dict(), strict=False)
    same = (chain(inputs(9)) == hard(inputs(9))).all(dim=0)
    assert np.flatnonzero(same).tolist() == COLUMNS[ORDER[0]]


@specs
def test_links_and_weights_of_orders_get_gradients(sharing):
    network = whole_network(sharing, REPLICABLE["mlp"], 0)
    network(inputs(9)).square().sum().backward()
    coupling = network.coupling
    assert torch.equal(coupling.links.grad != 0, coupling.seen)
    names = {name for name, _ in coupling.named_parameters()}
    several = sharing.order == "ensemble"
    assert names == {"links", "order_logits"} if several else {"links"}
    assert all(p.grad.any() for p in coupling.parameters())


@specs
@pytest.mark.parametrize("encoder", REPLICABLE.values(), ids=REPLICABLE)
@pytest.mark.sampled(3)
def test_chains_can_be_replicated(sharing, encoder):
    contract.test_three_stacked_networks_train_as_three_separate_ones(sharing, encoder)


@pytest.mark.parametrize("order", [None, "ensemble"])
def test_renamed_classes_rename_the_predictions_of_all_tasks(order):
    X, Z = table(n_tasks=4)
    Y = np.column_stack(
        [Z[:, 0] > 0, np.digitize(Z[:, 1], [-1, 1]), Z[:, 2] > 0, Z[:, 3]]
    ).astype(float)
    renamed = Y.copy()
    renamed[:, 0] = 1 - Y[:, 0]
    renamed[:, 1] = np.array([2, 0, 1])[Y[:, 1].astype(int)]
    est = MultiTaskEstimator(
        Chain(order), encoder=plain_mlp((16,)), **{**SAME_STEPS, "max_iter": 60}
    )
    before = est.fit(X, Y).predict(X)
    assert est.module_.coupling.links.abs().max() > 0.01
    after = est.fit(X, renamed).predict(X)
    np.testing.assert_array_equal(after[:, 0], 1 - before[:, 0])
    np.testing.assert_array_equal(after[:, 2], before[:, 2])
    np.testing.assert_allclose(after[:, 3], before[:, 3])


def test_a_chain_learns_what_needs_an_earlier_answer():
    """Two of three bits decide the third, which no linear model of the input can."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    a = X[:, 0] + X[:, 1] > 1
    b = X[:, 0] + X[:, 1] > -1
    Y = np.column_stack([a, b, ~a & b])
    settings = {"encoder": plain_mlp(()), "learning_rate_init": 0.05, "max_iter": 300}
    settings |= {"random_state": 0, "early_stopping": False}
    hard, chain = (
        MultiTaskClassifier(sharing, **settings, n_estimators=1)
        .fit(X, Y)
        .task_estimator(2)
        for sharing in ("hard", "chain")
    )
    assert hard.score(X, Y[:, 2]) < 0.8
    assert chain.score(X, Y[:, 2]) > 0.95


def orders(sharing, Y, **settings):
    X, _ = table()
    est = MultiTaskRegressor(
        sharing, max_iter=1, random_state=0, **settings, n_estimators=1
    )
    coupling = est.fit(X, Y).module_.coupling
    return coupling.orders.tolist(), coupling.order_weights.tolist()


def test_the_order_is_readable():
    Y = pd.DataFrame(table()[1], columns=["a", "b", "c"])
    Y.loc[:30, "a"] = np.nan
    assert orders(Chain(), Y) == ([[0, 1, 2]], [1.0])
    assert orders(Chain("label_count"), Y)[0] == [[1, 2, 0]]
    assert orders(Chain(["c", 0, "b"]), Y)[0] == [[2, 0, 1]]
    assert orders(Chain(np.array([1, 0, 2])), Y)[0] == [[1, 0, 2]]
    drawn, weights = orders(Chain("ensemble", n_orders=20), Y)
    assert all(sorted(order) == [0, 1, 2] for order in drawn)
    assert len({tuple(order) for order in drawn}) == 6
    np.testing.assert_allclose(weights, 1 / 20, rtol=1e-2)


def test_nothing_is_linked_where_one_task_learns():
    X, Z = table()
    Y = np.column_stack([Z[:, 0] > 0, np.zeros(len(Z), bool)])
    est = MultiTaskClassifier("chain", encoder=Prepared(plain_mlp(8)), **SAME_STEPS)
    assert est.fit(X, Y).module_.coupling is None
    assert est.fit(X, Y[:, 0]).module_.coupling is None


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["a", "b"], r"'order' parameter of Chain must .* once, but misses \['c'\]\.$"),
        (["a", "b", "c", 0], r"must hold every task once, but repeats \['a'\]\.$"),
        ([0, 1, "d"], "parameter of Chain names the unknown task 'd'"),
        ("size", "The 'order' parameter of Chain must be a str among"),
    ],
)
def test_a_bad_order_is_refused_before_training(order, message):
    X, Z = table()
    est = MultiTaskRegressor(Chain(order), n_estimators=1)
    with pytest.raises(ValueError, match=message):
        est.fit(X, pd.DataFrame(Z, columns=["a", "b", "c"]))
