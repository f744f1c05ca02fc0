"""What the command line prints of each result."""
