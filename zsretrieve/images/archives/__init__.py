"""Images inside tar, zip and Parquet files and data sets."""

from zsretrieve.images.addresses import MEMBER, Kind, State, is_url, join, kind_of, split
from zsretrieve.images.archives.opening import Archive, open_archive, read, state

__all__ = ["MEMBER", "Archive", "Kind", "State", "is_url", "join", "kind_of", "open_archive", "read", "split", "state"]
