"""Cost of eight members, trained as one computation, beside one network.

    python tests/benchmarks/members.py [--quick] [--cpu-time] [--device DEVICE]

prints one table: medians, ratios, targets; see speed.py for how it measures. The
networks are plain ones for 4,000 rows of 50 inputs and 8 binary tasks, batches of 200;
"in turns" are eight members that are not stacked, as where strategies forbid it.
"""

import argparse
import warnings
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch
from measure import Row, fits, print_report, ratio_row, use_cpu_time
from speed import plain_mlp
from threadpoolctl import threadpool_limits

from skmtl import MultiTaskClassifier
from skmtl.training import MembersNet

N_ROWS, N_FEATURES, N_TASKS, N_ESTIMATORS = 4000, 50, 8, 8
#: Epochs of one network that one of eight members may cost, by width.
TARGETS = {64: 3.5, 256: 8.5}


def cost(width: int, quick: bool, device: str) -> list[Row]:
    """Compare epochs of networks of two layers of one width."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, N_FEATURES), dtype=np.float32)
    Y = (X @ rng.standard_normal((N_FEATURES, N_TASKS)) > 0).astype(int)

    def fit(n_estimators: int) -> Callable[[int], None]:
        def contestant(epochs: int) -> None:
            MultiTaskClassifier(
                encoder=plain_mlp((width, width)),
                n_estimators=n_estimators,
                resampling=None,
                early_stopping=False,
                batch_size=200,
                max_iter=epochs,
                n_iter_no_change=np.inf,
                device=device,
                n_threads=1,
                random_state=0,
            ).fit(X, Y)

        return contestant

    def in_turns(epochs: int) -> None:
        with mock.patch.object(MembersNet, "_may_stack", return_value=False):
            fit(N_ESTIMATORS)(epochs)

    models = {"one": fit(1), "eight": fit(N_ESTIMATORS), "in turns": in_turns}
    epochs, _ = fits(models, (1, 6), 3 if quick else 9)
    case = f"width {width}"
    return [
        ratio_row(case, "eight / one", epochs["eight"], epochs["one"], TARGETS[width]),
        ratio_row(case, "in turns / one", epochs["in turns"], epochs["one"]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--cpu-time", action="store_true", help="on a busy machine")
    parser.add_argument("--device", default="cpu", help="where networks compute")
    options = parser.parse_args()
    if options.cpu_time:
        use_cpu_time()
    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        costs = [cost(width, options.quick, options.device) for width in TARGETS]
        print_report([row for rows in costs for row in rows])


if __name__ == "__main__":
    main()
