"""A page that tells all about a fitted estimator."""

from skmtl._estimators.report.page import report

__all__ = ["report"]
