"""From text to tokens, and tokens to batches."""
