"""Objects in images: what to look for, finding it, and comparing it with a ground truth."""
