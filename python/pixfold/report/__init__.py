"""The output folder of a job: its files, figures and HTML report."""

from __future__ import annotations

from pixfold.report.writer import check_writable, write_report, write_results

__all__ = ["check_writable", "write_report", "write_results"]
