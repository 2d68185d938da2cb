"""Sharing is computed by torch alone, which is the same in all versions tested."""

from pathlib import Path


def pytest_collection_modifyitems(items):
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("one_version")
