"""The quantile stage of tables in operators that ONNX has."""

import numpy as np
import torch
from torch import Tensor

from skmtl.encoder._preprocessing import BOUND, LARGE, QuantileToNormal, Scaler

# Coefficients of [1]_, from the highest power down: of numerators, of denominators.
CENTRAL = (
    (
        2509.0809287301226727,
        33430.575583588128105,
        67265.770927008700853,
        45921.953931549871457,
        13731.693765509461125,
        1971.5909503065514427,
        133.14166789178437745,
        3.387132872796366608,
    ),
    (
        5226.495278852854561,
        28729.085735721942674,
        39307.89580009271061,
        21213.794301586595867,
        5394.1960214247511077,
        687.1870074920579083,
        42.313330701600911252,
        1.0,
    ),
)
TAIL = (
    (
        7.7454501427834140764e-4,
        0.0227238449892691845833,
        0.24178072517745061177,
        1.27045825245236838258,
        3.64784832476320460504,
        5.7694972214606914055,
        4.6303378461565452959,
        1.42343711074968357734,
    ),
    (
        1.05075007164441684324e-9,
        5.475938084995344946e-4,
        0.0151986665636164571966,
        0.14810397642748007459,
        0.68976733498510000455,
        1.6763848301838038494,
        2.05319162663775882187,
        1.0,
    ),
)


class OnnxNormal(Scaler):
    """Does what `ToNormal` does."""

    offset: Tensor
    quantiles: Tensor
    ranks: Tensor

    def __init__(self, stage: QuantileToNormal) -> None:
        exponents = stage.exponents
        none = np.zeros(0, dtype=np.int64)
        super().__init__(none if exponents is None else exponents.numpy())
        for name in ("offset", "quantiles", "ranks"):
            self.register_buffer(name, getattr(stage, name).clone())
        self.needs_float64 = stage.needs_float64

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_features) to numbers of a standard normal distribution."""
        D = (
            (self.near_one(X) - self.offset)
            .clamp(-LARGE, LARGE)
            .to(self.quantiles.dtype)
            .T
        )
        last = self.quantiles.shape[1] - 1
        upper = self._n_below(D).clamp(min(1, last), last)
        lower = (upper - 1).clamp_min(0)
        low, high = self.quantiles.gather(1, lower), self.quantiles.gather(1, upper)
        step = (high - low).clamp_min(torch.finfo(D.dtype).tiny)
        share = ((D - low) / step).clamp(0, 1)
        first, second = self.ranks.gather(1, lower), self.ranks.gather(1, upper)
        p = first + share * (second - first)
        return compute_normal_quantile(p.clamp(1e-7, 1 - 1e-7)).T.clamp(-BOUND, BOUND)

    def _n_below(self, D: Tensor) -> Tensor:
        """Return how many quantiles are not above each number, by bisection."""
        n = self.quantiles.shape[1]
        count = torch.zeros_like(D, dtype=torch.int64)
        for bit in reversed(range(n.bit_length())):
            more = count + 2**bit
            value = self.quantiles.gather(1, (more - 1).clamp(max=n - 1))
            count = torch.where((more <= n) & (value <= D), more, count)
        return count


def compute_normal_quantile(p: Tensor) -> Tensor:
    """Return quantiles of the standard normal distribution, exact to 1e-15 [1]_.

    Parameters
    ----------
    p : Tensor
        Probabilities from 1e-10 to 1 - 1e-10.

    Returns
    -------
    Tensor
        The quantiles.

    References
    ----------
    .. [1] M. J. Wichura, "Algorithm AS 241: The Percentage Points of the Normal
       Distribution", Applied Statistics 1988.
    """
    q = p - 0.5
    central = q * _evaluate_ratio(0.180625 - q * q, CENTRAL)
    tail = _evaluate_ratio((-torch.minimum(p, 1 - p).log()).sqrt() - 1.6, TAIL)
    return torch.where(q.abs() <= 0.425, central, tail * q.sign())


def _evaluate_ratio(x: Tensor, coefficients: tuple[tuple[float, ...], ...]) -> Tensor:
    """Return the ratio of two polynomials by Horner's rule."""
    values = []
    for numbers in coefficients:
        value = torch.full_like(x, numbers[0])
        for number in numbers[1:]:
            value = value * x + number
        values.append(value)
    return values[0] / values[1]
