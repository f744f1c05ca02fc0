"""The nouns, the ports and the pure arithmetic."""
