"""An index on disk: manifest, segments, atomic commits, verification."""
