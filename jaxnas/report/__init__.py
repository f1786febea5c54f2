"""A run, or several beside each other, as one HTML page that needs nothing but a browser."""

from jaxnas.report.compared import comparison
from jaxnas.report.facts import Run, read_run
from jaxnas.report.page import GENERATOR, Page, is_ours, to_html
from jaxnas.report.run_page import report

__all__ = ["GENERATOR", "Page", "Run", "comparison", "is_ours", "read_run", "report", "to_html"]
