"""The site: pydata theme, API reference from the docstrings, tutorials executed at build."""

import os
import re
from pathlib import Path

import numpy as np
from docutils import nodes
from PIL import Image
from sphinx_gallery.directives import imgsgnode
from sphinx_gallery.sorting import ExplicitOrder

from rondeau.kernels import __version__

os.environ["RONDEAU_QUIET"] = "1"  # pages that are executed do not tell that kernels are compiled for them

project = "rondeau"
author = "the rondeau developers"
copyright = f"2026, {author}"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_nb",
    "sphinx_gallery.gen_gallery",
]
# sphinx-gallery copies the examples' sources beside the pages it makes of them.
exclude_patterns = [
    "_build",
    "jupyter_execute",
    "gallery",
    "generated_gallery/**/*.ipynb",
    "generated_gallery/**/*.py",
]
html_theme = "pydata_sphinx_theme"
html_title = "rondeau"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = html_logo = "_static/logo.svg"
html_theme_options = {
    "logo": {"text": "rondeau"},
    "show_toc_level": 2,
    "header_links_before_dropdown": 7,  # all
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {page: [] for page in ("installation", "texts")}  # they have no pages below them
html_sidebars["generated_gallery/*/*"] = []  # their lines of code need the room

autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False  # a package's public names are its __all__
templates_path = ["_templates"]
default_role = "py:obj"  # a docstring's `name` links to what it names
autodoc_typehints = "none"  # numpydoc's Parameters hold them
numpydoc_show_class_members = False

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True

SECTIONS = ("autograd", "sequences", "networks", "notes", "numpy_rnn", "sciences")

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "generated_gallery",
    "filename_pattern": r"\d\d_",  # run every example; its number is the program's
    "subsection_order": ExplicitOrder([f"gallery/{section}" for section in SECTIONS]),
    "within_subsection_order": "FileNameSortKey",
    "nested_sections": False,
    "plot_gallery": "True",
    "abort_on_example_error": True,
    "capture_repr": (),
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "min_reported_time": 0,
}


def describe_dtypes(app, what, name, obj, options, lines):
    """Say what a dtype is in one line; NumPy's own docstring is about dtypes in general."""
    if isinstance(obj, np.dtype):
        lines[:] = [f"The NumPy dtype ``{obj}``."]


def point_to_scikit_learn(app, what, name, obj, options, lines):
    """Keep the first line of what is scikit-learn's and link to the rest, which refers to that site's pages."""
    home = getattr(obj, "__module__", None) or ""
    if what == "function" and home.startswith("sklearn."):
        title = f"sklearn.metrics.{obj.__name__}"
        page = f"https://scikit-learn.org/stable/modules/generated/{title}.html"
        lines[:] = [
            obj.__doc__.strip().splitlines()[0],
            "",
            f"scikit-learn's function: `{title} <{page}>`__.",
        ]


def skip_requests(app, what, name, obj, skip, options):
    """Leave out ``set_fit_request`` and its like, which scikit-learn writes into every estimator."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def mend_links_from_sources(app, pagename, templatename, context, doctree):
    """Let a source page's link back reach its object, where viewcode joins one name's page and another's anchor.

    It does so for what two modules show, as `nn.functional.add` is `tensor.add`; a page is named after its object.
    """
    if pagename.startswith("_modules/"):
        link = re.compile(r'(reference/generated/(rondeau[\w.]*)\.html#)(?!\2\b)[\w.]+(?=")')
        context["body"] = link.sub(r"\1\2", context["body"])


def keep_wide_figures_legible(app, doctree):
    """Put a figure wider than a page's text in a frame that scrolls, and show it at no less than 0.65 of its size."""
    for figure in list(doctree.findall(imgsgnode)):
        with Image.open(Path(app.srcdir) / figure["uri"].lstrip("/")) as picture:
            width = picture.width
        if width > 700:
            style = f"--least: {width * 0.65:.0f}px; --most: {width}px"
            begin = nodes.raw("", f'<div class="wide-figure" style="{style}">', format="html")
            figure.replace_self([begin, figure.deepcopy(), nodes.raw("", "</div>", format="html")])


def setup(app):
    """Register what this file adds to Sphinx."""
    app.connect("autodoc-process-docstring", describe_dtypes)
    app.connect("autodoc-process-docstring", point_to_scikit_learn)
    app.connect("autodoc-skip-member", skip_requests)
    app.connect("doctree-read", keep_wide_figures_legible)
    app.connect("html-page-context", mend_links_from_sources)
