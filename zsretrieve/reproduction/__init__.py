"""The published tables, run again, and what moves their figures."""
