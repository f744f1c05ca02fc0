"""Finding images and opening them, or reporting why not."""
