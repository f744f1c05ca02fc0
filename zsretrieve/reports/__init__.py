"""Reports that people look at: one page of an evaluation, with pictures of what goes wrong."""

from zsretrieve.reports.advice import Advice, Asked
from zsretrieve.reports.pages import PICTURES, check_report, write_report

__all__ = ["PICTURES", "Advice", "Asked", "check_report", "write_report"]
