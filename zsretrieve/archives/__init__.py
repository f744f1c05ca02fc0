"""Pictures that are no files of their own: members of tar and zip files, rows of Parquet files and data sets."""

from zsretrieve.archives.opening import Archive, open_archive, read, state
from zsretrieve.archives.places import MEMBER, Kind, State, is_url, join, kind_of, split

__all__ = ["MEMBER", "Archive", "Kind", "State", "is_url", "join", "kind_of", "open_archive", "read", "split", "state"]
