"""Work on a cluster of machines, by Ray."""
