"""The engine for CPUs, with models converted once."""
