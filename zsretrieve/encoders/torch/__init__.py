"""The engine for GPUs, and for every model of open_clip."""
