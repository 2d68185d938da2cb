"""A number of folds becomes a splitter that knows the estimator's labels."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskEstimator
from skmtl.model_selection import (
    MultiTaskStratifiedGroupKFold,
    MultiTaskStratifiedKFold,
)
from skmtl.model_selection._folding import check_multitask_cv

pytestmark = pytest.mark.usefixtures("plain_network")

KINDS = {"a": "regression"}


@pytest.mark.parametrize(
    ("estimator", "missing_label", "task_types"),
    [
        (MultiTaskClassifier(missing_label=-1), -1, "classification"),
        (MultiTaskEstimator(task_types=KINDS), np.nan, KINDS),
        (make_pipeline(StandardScaler(), Ridge()), np.nan, "regression"),
        (LogisticRegression(), np.nan, "classification"),
    ],
)
@pytest.mark.parametrize("grouped", [False, True])
def test_labels_are_read_as_the_estimator_reads_them(
    estimator, missing_label, task_types, grouped
):
    found = check_multitask_cv(3, estimator, np.random.RandomState(0), grouped=grouped)
    expected = MultiTaskStratifiedGroupKFold if grouped else MultiTaskStratifiedKFold
    assert type(found) is expected
    assert found.get_n_splits() == 3
    assert found.shuffle
    assert isinstance(found.random_state, int)
    np.testing.assert_equal(found.missing_label, missing_label)
    assert found.task_types == task_types


def test_five_folds_are_the_default_and_a_splitter_stays_what_it_is():
    rng = np.random.RandomState(0)
    assert check_multitask_cv(None, Ridge(), rng, grouped=False).get_n_splits() == 5
    folds = KFold(4)
    assert check_multitask_cv(folds, Ridge(), rng, grouped=False) is folds
