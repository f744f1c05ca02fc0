"""The use cases: encode, build, classify, search, evaluate. They know ports, never torch, FAISS or a terminal."""
