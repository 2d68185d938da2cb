"""Training by several processes: what they do together, and what is refused."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl._core.layers import get_generator
from skmtl.encoder import MLP
from skmtl.training._batches import split_sizes
from skmtl.training._losses import _mean
from skmtl.training._torch_state import SideStream, draw_initial_seed, use_seed

accelerate = pytest.importorskip("accelerate")

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4))
Y = np.column_stack([X[:, 0] > 0, X[:, 1] > 0]).astype(int)
SMALL = {
    "encoder": MLP((6,), dropout=0.2),
    "max_iter": 2,
    "n_estimators": 1,
    "random_state": 0,
}
#: Two processes on this machine, at a port that is free.
TORCHRUN = "-m torch.distributed.run --standalone --nproc_per_node=2"
ACCELERATE = (
    "-m accelerate.commands.launch --multi_gpu --num_processes=2 --num_machines=1 "
    "--mixed_precision=no --dynamo_backend=no --num_cpu_threads_per_process=1 "
    "--main_process_port=0"
)
#: Where launchers are not to look for GPUs.
ON_CPU = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def accelerator():
    """Return what makes an Accelerator of one process, and forgets it afterwards."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    yield lambda **settings: accelerate.Accelerator(cpu=True, **settings)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def launched(launcher, script, *arguments):
    """Run a script in two processes; return what they print."""
    root = str(ROOT)
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    found = subprocess.run(
        [sys.executable, *launcher.split(), str(script), *map(str, arguments)],
        env={**os.environ, **ON_CPU, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=900,  # a busy machine takes its time
    )
    assert found.returncode == 0, found.stderr
    return found


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_two_processes_train_what_one_does(step, tmp_path):
    names = re.findall(
        r'^        \("(.+?)", (?:lambda: )?check|^    "(.+?)": \(',
        (HERE / "_processes.py").read_text(),
        re.MULTILINE,
    )
    assert len(names) > 40
    some = [a or b for a, b in names][::step]
    found = launched(TORCHRUN, HERE / "_processes.py", tmp_path, *some).stdout
    done = [line.rpartition(": ")[0] for line in found.splitlines()]
    assert sorted(done) == sorted(some)


@pytest.mark.one_version
@pytest.mark.slow
def test_the_example_runs_under_accelerate_launch(tmp_path):
    script = ROOT / "examples" / "distributed" / "train.py"
    found = launched(ACCELERATE, script, tmp_path / "model.skmtl")
    line = found.stdout.splitlines()[-1]
    scores = [float(score) for score in re.findall(r"\d\.\d{3}", line)]
    assert line.startswith("Accuracy with 2 processes: digit ")
    assert min(scores) > 0.9
    bars = re.findall(r" 0/\d+ \[00:00<\?", found.stderr)
    assert len(bars) == 1
    assert " 20/20 [" in found.stderr
    loaded = skmtl.load(tmp_path / "model.skmtl")
    assert loaded.accelerator is None
    assert loaded.n_iter_ == 20


# One process


def test_an_accelerator_of_one_process_changes_nothing(accelerator):
    est = MultiTaskClassifier(**SMALL)
    alone = clone(est).fit(X, Y)
    with_one = clone(est).set_params(accelerator=accelerator()).fit(X, Y)
    state = with_one.module_.state_dict()
    for name, value in alone.module_.state_dict().items():
        assert torch.equal(state[name], value)
    assert clone(with_one).accelerator is with_one.accelerator


def test_the_precision_of_an_accelerator_is_taken(accelerator):
    est = MultiTaskRegressor(**SMALL)
    own = accelerator(mixed_precision="bf16")
    found = clone(est).set_params(accelerator=own).fit(X, X[:, :2]).predict(X)
    expected = clone(est).set_params(precision="bf16").fit(X, X[:, :2]).predict(X)
    assert_array_equal(found, expected)
    assert not np.array_equal(found, est.fit(X, X[:, :2]).predict(X))


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "n_processes", "expected"),
    [
        (9, 4, 1, [4, 5]),
        (10, 4, 1, [4, 4, 2]),
        (11, 4, 2, [4, 7]),
        (12, 4, 2, [4, 4, 4]),
        (13, 5, 2, [5, 8]),
        (3, 5, 2, [3]),
    ],
)
def test_every_process_has_two_rows_of_the_last_batch(
    n_rows, batch_size, n_processes, expected
):
    assert split_sizes(n_rows, batch_size, n_processes) == expected


@pytest.mark.parametrize("w", [None, torch.zeros(0, 2)])
def test_a_mean_over_no_rows_is_zero(w):
    assert _mean(torch.zeros(0, 2), w).tolist() == [0, 0]


@pytest.mark.parametrize("ends_turn", [True, False])
def test_a_stream_draws_beside_the_training(ends_turn):
    cpu = torch.device("cpu")
    with use_seed(0, cpu) as turn:
        if ends_turn:
            turn.end()
        stream = SideStream(1, cpu)
        drawn = []
        for _ in range(2):
            with stream.draw_from():
                drawn.append(torch.rand(2, generator=get_generator()))
            drawn.append(torch.rand(2, generator=get_generator()))
        assert draw_initial_seed() == 0
    for own, seed in ((drawn[::2], 1), (drawn[1::2], 0)):
        source = torch.Generator().manual_seed(seed)
        expected = [torch.rand(2, generator=source) for _ in range(2)]
        assert all(map(torch.equal, own, expected))


# What is refused


@pytest.mark.parametrize("given", ["auto", 2, accelerate.Accelerator])
def test_something_else_than_an_accelerator_is_refused(given):
    with pytest.raises(
        ValueError,
        match=r"The 'accelerator' parameter must be an accelerate\.Accelerator or None",
    ):
        MultiTaskClassifier(accelerator=given).fit(X, Y)


def test_an_accelerator_that_connects_no_processes_is_refused(accelerator, monkeypatch):
    est = MultiTaskClassifier(accelerator=accelerator())
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="connects none of the 2 processes"):
        est.fit(X, Y)


def test_gradients_of_several_batches_are_refused(accelerator):
    own = accelerator(gradient_accumulation_steps=2)
    est = MultiTaskClassifier(accelerator=own)
    with pytest.raises(ValueError, match="gradient_accumulation_steps=2: use 1"):
        est.fit(X, Y)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mixed_precision", "fp16", "must have mixed_precision='no' or 'bf16'. Got"),
        ("mixed_precision", "fp8", "must have mixed_precision='no' or 'bf16'. Got"),
        ("distributed_type", "FSDP", "must give each process the whole model. Got"),
        ("distributed_type", "DEEPSPEED", "the whole model. Got an Accelerator of typ"),
    ],
)
def test_other_kinds_of_training_are_refused(
    accelerator, monkeypatch, name, value, words
):
    own = accelerator()
    if name == "distributed_type":
        value = accelerate.DistributedType(value)
    monkeypatch.setattr(type(own), name, value)
    with pytest.raises(ValueError, match=re.escape(words)):
        MultiTaskClassifier(accelerator=own).fit(X, Y)


def test_a_contradicting_device_is_refused(accelerator):
    est = MultiTaskClassifier(accelerator=accelerator(), device="meta")
    with pytest.raises(ValueError, match="The 'device' parameter must be"):
        est.fit(X, Y)


def test_a_contradicting_precision_is_refused(accelerator):
    own = accelerator(mixed_precision="bf16")
    est = MultiTaskClassifier(accelerator=own, precision="float64")
    with pytest.raises(ValueError, match="'precision' parameter must be 'auto' or"):
        est.fit(X, Y)
