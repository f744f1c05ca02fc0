"""Images and texts through a model: prefetch, batches."""
