"""The machine: atomic writes, cache folder, hardware, install hints."""
