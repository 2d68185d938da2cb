"""A page that tells all about a fitted estimator."""

from skmtl._report._page import report

__all__ = ["report"]
