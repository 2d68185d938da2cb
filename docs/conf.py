"""Settings of Sphinx."""

import importlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import skmtl

project = "skmtl"
author = "the skmtl developers"
copyright = "2026, the skmtl developers"
version = release = skmtl.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "sg_execution_times.rst"]
templates_path = ["_templates"]
default_role = "py:obj"
autodoc_typehints = "none"
numpydoc_show_class_members = False  # the template lists them
add_function_parentheses = False
toc_object_entries_show_parents = "hide"


def own_methods(module, name, methods):
    """Return the methods of a class that skmtl writes and documents."""
    cls = getattr(importlib.import_module(module), name)
    return [
        method
        for method in methods
        if not method.startswith("_")
        and hasattr(getattr(cls, method), "__code__")  # a function, or of the class
        and getattr(cls, method).__module__.startswith("skmtl")
        and getattr(cls, method).__module__ != "skmtl._core.specs"  # for estimators
        and getattr(cls, method).__doc__
    ]


autosummary_context = {"own_methods": own_methods}

suppress_warnings = ["config.cache"]  # the context holds a function

# Properties that numpydoc links from the list of attributes.
nitpick_ignore = [
    ("py:obj", "critical_difference"),
    ("py:obj", "delta_m"),
    ("py:obj", "delta_m_interval"),
    ("py:obj", "history_"),
    ("py:obj", "mean_ranks"),
    ("py:obj", "mean_scores"),
    ("py:obj", "mean_scores_interval"),
    ("py:obj", "module_"),
    ("py:obj", "oof_prediction_"),
    ("py:obj", "oof_score_"),
    ("py:obj", "oof_scores_"),
    ("py:obj", "task_gains"),
    ("py:obj", "task_gains_interval"),
    ("py:obj", "weighting_"),
    ("py:obj", "weights_"),
]
# Names of other projects, which are not linked, so that a build needs no network.
nitpick_ignore_regex = [
    ("py:.*", r"(matplotlib|numpy|pandas|sklearn|skorch|torch)\..*"),
]
nitpicky = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"quickstart\.py|distributed",
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("skmtl",),
    "backreferences_dir": "generated/backreferences",
    "abort_on_example_error": True,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "min_reported_time": 1,
    "parallel": True,
    "plot_gallery": True,
}

html_theme = "pydata_sphinx_theme"
html_title = f"skmtl {release}"
html_static_path = ["_static"]
html_css_files = ["skmtl.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "use_edit_page_button": False,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
html_sidebars = {"index": [], "install": [], "whats_new": []}
