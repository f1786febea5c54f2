"""The documentation site: ``make docs`` builds it, strictly, into ``docs/_build``."""

import importlib.metadata

project = "jaxnas"
author = project_copyright = "the jaxnas authors"
version = release = importlib.metadata.version("jaxnas")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
# Signatures name types as the code does; only our own roles in docstrings are links, and each must have a target.
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
nitpicky = True
default_role = "py:obj"  # What --help shows as well is written without a role.

html_theme = "furo"
html_title = "jaxnas"
html_show_sourcelink = False
# Links that must have a target are those that a docstring writes as a role: not names of types in signatures, nor words
# before a colon. Of our own types some are of rooms that have no page.
_UNLISTED = r"budget|compiling|cost_terms|export\.trained_network|feeding|predicting|run_folder|stages|spaces\.blocks"
nitpick_ignore_regex = [
    ("py:(class|data)", r"(?!jaxnas\.).*"),
    ("py:class", rf"jaxnas\.({_UNLISTED}|tabular\.benchmark)\..*"),
    ("py:(class|exc|obj|func)", r"(jax|numpy|optax|flax|collections|pathlib|os|typing)\..*|UserError|TargetMissed"),
]
# Attributes are described where a class is, not once more each.
napoleon_use_ivar = True
