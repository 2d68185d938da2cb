"""Tables on disk: memory and time of an epoch by the number of rows, and reading.

Each size is trained on in a fresh interpreter. Reading an epoch in shuffled batches is
compared with the stream of Hugging Face's datasets, which shuffles in a buffer of as
many rows.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TARGETS = ["sold", "late", "kind", "price"]
N_FEATURES = 20
BATCH = 4096
WINDOW = 2**17


def write_table(folder, n_rows):
    """Write a table of numbers, two binary targets, one of four classes, one number."""
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    W = rng.normal(size=(N_FEATURES, 4)) / np.sqrt(N_FEATURES)
    for part, start in enumerate(range(0, n_rows, 1_000_000)):
        n = min(1_000_000, n_rows - start)
        X = rng.normal(size=(n, N_FEATURES)).astype(np.float32)
        Z = X @ W + rng.normal(size=(n, 4))
        columns = {f"x{i}": X[:, i] for i in range(N_FEATURES)}
        columns["sold"] = Z[:, 0] > 0
        late = (Z[:, 1] > 0).astype(np.int8)
        columns["late"] = pa.array(late, mask=rng.random(n) < 0.3)
        columns["kind"] = np.digitize(Z[:, 2], [-1, 0, 1]).astype(np.int8)
        columns["price"] = Z[:, 3]
        path = folder / f"part-{part:03d}.parquet"
        parquet.write_table(pa.table(columns), path, row_group_size=122_880)


def child_epoch(folder, n_estimators):
    """Print what an epoch takes in this interpreter."""
    from skmtl import MultiTaskEstimator
    from skmtl.datasets import open_table

    X, y = open_table(folder, TARGETS)
    before = _peak()
    start = time.process_time()
    MultiTaskEstimator(
        max_iter=1, n_estimators=int(n_estimators), batch_size=BATCH, random_state=0
    ).fit(X, y)
    seconds = time.process_time() - start
    print(json.dumps([len(X), seconds, before, _peak()]))


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB


def growth(sizes, n_estimators, folder):
    """Print memory and CPU time of an epoch by the number of rows."""
    print(f"An epoch of {n_estimators} network(s), batches of {BATCH}, one thread:")
    print("|   rows | CPU time | us per row | peak memory | of it before fit |")
    for n in sizes:
        table = folder / str(n)
        if not table.exists():
            table.mkdir()
            write_table(table, n)
        command = [sys.executable, __file__, "--child", str(table), str(n_estimators)]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        n_rows, seconds, before, peak = json.loads(found.stdout.splitlines()[-1])
        each = 1e6 * seconds / n_rows
        times = f"{n_rows / 1e6:4.0f} M | {seconds:6.1f} s | {each:10.1f}"
        print(f"| {times} | {peak:7.2f} GiB | {before:12.2f} GiB |", flush=True)


def reading(folder, rounds):
    """Print the time that it takes to read an epoch in shuffled batches."""
    import torch
    from datasets import load_dataset

    from skmtl.datasets import open_table
    from skmtl.training import InputSource, TrainingRows
    from skmtl.training._batches import Batches

    table = folder / "reading"
    table.mkdir()
    write_table(table, 500_000)
    names = [f"x{i}" for i in range(N_FEATURES)]

    def ours():
        X, _ = open_table(table, TARGETS, shuffle_window=WINDOW)
        source = InputSource(X, torch.float32, torch.device("cpu"))
        batches = Batches(
            TrainingRows(source, []), BATCH, torch.Generator().manual_seed(0)
        )
        return sum(len(X) for X, _ in batches)

    def theirs():
        files = sorted(map(str, table.glob("*.parquet")))
        stream = load_dataset("parquet", data_files=files, streaming=True)["train"]
        stream = stream.select_columns(names).shuffle(seed=0, buffer_size=WINDOW)
        n = 0
        for batch in stream.iter(BATCH):
            X = np.stack([batch[name] for name in names], axis=1).astype(np.float32)
            n += len(torch.from_numpy(X))
        return n

    from measure import print_report, ratio_row, seconds, turns, use_cpu_time

    use_cpu_time()
    readers = {"skmtl": ours, "datasets": theirs}
    times = turns({name: lambda f=f: seconds(f) for name, f in readers.items()}, rounds)
    case = "500,000 rows x 20, batches of 4096"
    print_report([ratio_row(case, "an epoch read", times["skmtl"], times["datasets"])])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child_epoch(*sys.argv[2:])
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", nargs="*", type=int, default=[1, 2, 4, 8, 10])
    parser.add_argument("--members", nargs="*", type=int, default=[1])
    parser.add_argument("--only", choices=["growth", "reading"], default=None)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.only != "reading":
            sizes = [n * 1_000_000 for n in options.millions]
            for members in options.members:
                growth(sizes, members, Path(name))
        if options.only != "growth":
            reading(Path(name), options.rounds)
