"""Cached vectors of queries, prompts and images."""
