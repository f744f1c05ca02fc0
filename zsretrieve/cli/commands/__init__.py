"""One file per verb group: parse, one call, print."""
