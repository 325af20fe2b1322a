"""The report of a run: one page for people, charts, and the results as a table."""

from robustaug.evaluation.report.page import build_report
from robustaug.evaluation.report.run_folder import load_report
from robustaug.evaluation.report.table import markdown_table, results_table

__all__ = ["build_report", "load_report", "markdown_table", "results_table"]
