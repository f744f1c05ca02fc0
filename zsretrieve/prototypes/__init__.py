"""Class prototypes from text, from images, and as a linear probe."""
