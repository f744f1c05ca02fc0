"""Reports that people look at: a page about an evaluation with examples of mistakes, and plots of few-shot curves."""

from zsretrieve.reports.advice import Advice, Asked
from zsretrieve.reports.pages import IMAGES, check_report, write_report

__all__ = ["IMAGES", "Advice", "Asked", "check_report", "write_report"]
