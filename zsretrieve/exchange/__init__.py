"""Other people's formats: opening vectors that came from elsewhere, and writing indexes and evaluations for others."""
