"""Labelled images against prototypes: runs, and every figure of them."""
