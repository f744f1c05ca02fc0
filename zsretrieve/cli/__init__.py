"""The command line: the only place that prints, draws progress or sets an exit code."""
