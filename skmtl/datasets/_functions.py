"""Functions of the inputs, one per task, with chosen correlations between them."""

from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

#: Hidden units of each function that tasks are mixed from.
N_UNITS = 4

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Functions:
    """A hidden layer of ReLUs and one linear read-out of it per task."""

    # (n_units, n_features): Unit vectors, the weights of the hidden layer.
    directions: Array
    readout: Array  # (n_tasks, n_units): Weights of the tasks.

    @classmethod
    def draw(
        cls, relation: Array, n_features: int, random_state: RandomState
    ) -> "Functions":
        """Draw functions whose correlations over normal inputs are given."""
        # As many uncorrelated functions as there are tasks have hidden units of their
        # own; each task mixes them by its row of the relation's root, so that tasks
        # share hidden units as far as they are related. Directions are orthogonal as
        # far as possible; beyond that, uncorrelated functions lean a little on each
        # other's units.
        # relation of shape (n_tasks, n_tasks).
        n_tasks = len(relation)
        n_units = n_tasks * N_UNITS
        square = (-(-n_units // n_features), n_features, n_features)
        bases, _ = np.linalg.qr(random_state.normal(size=square))
        directions = bases.reshape(-1, n_features)[:n_units]
        own = np.kron(np.eye(n_tasks), np.ones(N_UNITS))  # (n_tasks, n_units)
        own *= random_state.normal(size=n_units)
        covariance = own @ _relu_covariance(directions) @ own.T
        if np.linalg.cond(covariance) > 1e10:
            raise ValueError(
                f"The 'n_features' parameter must be large enough for {n_tasks} tasks "
                f"to have functions that do not correlate. Got {n_features}: use more "
                "features or fewer tasks."
            )
        mixing = _power(relation, 0.5) @ _power(covariance, -0.5)
        return cls(directions, mixing @ own)

    def __call__(self, X: Array) -> Array:
        """Return values of mean zero and variance one over normal inputs."""
        # X of shape (n_samples, n_features); returns (n_samples, n_tasks).
        H = np.maximum(X @ self.directions.T, 0)
        return (H - 1 / np.sqrt(2 * np.pi)) @ self.readout.T


def _relu_covariance(directions: Array) -> Array:
    """Return the covariance of ReLUs over normal inputs: the arc-cosine kernel."""
    cosine = np.clip(directions @ directions.T, -1, 1)
    angle = np.arccos(cosine)
    second_moment = (np.sin(angle) + (np.pi - angle) * cosine) / (2 * np.pi)
    return second_moment - 1 / (2 * np.pi)


def _power(matrix: Array, exponent: float) -> Array:
    """Return a power of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 0) ** exponent) @ vectors.T
