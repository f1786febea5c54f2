"""A run, or several beside each other, as one HTML page that needs nothing but a browser."""

from jaxnas.report.compared import apart, comparison, random_search
from jaxnas.report.facts import Run, read_run
from jaxnas.report.groups import Equal, Group, groups, spread
from jaxnas.report.page import GENERATOR, Page, is_ours, to_html
from jaxnas.report.run_page import report

__all__ = [
    "GENERATOR",
    "Equal",
    "Group",
    "Page",
    "Run",
    "apart",
    "comparison",
    "groups",
    "is_ours",
    "random_search",
    "read_run",
    "report",
    "spread",
    "to_html",
]
