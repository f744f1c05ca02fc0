"""Texts and captions from lines, tables, JSON and shards."""
