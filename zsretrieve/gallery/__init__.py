"""Galleries: build, update, repair, search, find duplicates."""
