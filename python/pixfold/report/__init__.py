"""Tables, figures, the output folder and the HTML report."""

from __future__ import annotations

from pixfold.learn.results import Results, classification_metrics, summarise
from pixfold.report.tables import findings_table, history_table, predictions_table
from pixfold.report.writer import check_writable, write_results

__all__ = [
    "Results",
    "check_writable",
    "classification_metrics",
    "findings_table",
    "history_table",
    "predictions_table",
    "summarise",
    "write_results",
]
