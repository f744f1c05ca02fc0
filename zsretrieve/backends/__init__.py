"""Vector indexes: FAISS, and numpy's products."""
