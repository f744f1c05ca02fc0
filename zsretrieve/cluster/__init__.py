"""Several machines through Ray: connect and check, encode, search."""
