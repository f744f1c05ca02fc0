"""Model names, identities, and what is published of models."""
