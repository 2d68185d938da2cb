"""No bytes are a model but those of a model, and nothing else happens to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import skmtl
from skmtl import MultiTaskEstimator
from skmtl.encoder import MLP
from skmtl.exceptions import ModelFileError

pytestmark = [
    pytest.mark.one_version,  # which take their time
]

X = np.random.default_rng(0).normal(size=(12, 2))
Y = [[i % 2, 0.5 * i] for i in range(12)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the bytes of a small model, and where to write others."""
    path = tmp_path_factory.mktemp("files") / "model"
    est = MultiTaskEstimator(
        encoder=MLP((2,)), n_estimators=1, max_iter=1, random_state=0
    )
    skmtl.save(est.fit(X, Y), path)
    return path.read_bytes(), path.with_name("other")


def refuses(path, content):
    path.unlink(missing_ok=True)  # disks wait for files that are cut to nothing
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as error:
        skmtl.load(path)
    assert "\n" not in str(error.value)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(saved, content):
    refuses(saved[1], content)


@given(st.data())
def test_any_change_of_a_model_is_refused(saved, data):
    whole, path = saved
    at = data.draw(st.integers(0, len(whole) - 1) | st.integers(0, 99))
    new = data.draw(st.binary(max_size=8))
    gone = data.draw(st.integers(0, 8) | st.integers(0, len(whole)))
    changed = whole[:at] + new + whole[at + gone :]
    if changed != whole:
        refuses(path, changed)
