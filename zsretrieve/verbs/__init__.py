"""The use cases: encode, build, classify, search, evaluate, find duplicates.

They know ports, never torch, FAISS or a terminal.
"""
