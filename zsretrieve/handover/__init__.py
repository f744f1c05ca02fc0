"""Annotations for labelling tools, and images sorted into folders."""
