"""Graphs for OpenVINO built from a model's own weights, without torch and open_clip."""
