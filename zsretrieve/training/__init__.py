"""Training models: the text side alone, against the stored vectors of a gallery."""
