"""Files that a server keeps on the disk never take more than they may."""

from __future__ import annotations

import os
from pathlib import Path

from zsretrieve.web.cached_files import CachedFiles


def test_large_files_stay_within_the_bound_and_the_oldest_go(tmp_path: Path) -> None:
    files = CachedFiles(tmp_path, 100_000)
    for number in range(20):
        name = f"{number:032x}"
        assert files.write(name, os.urandom(8_000))
        os.utime(files.path(name), (number, number))
        kept = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in kept) <= 100_000
    assert files.read(f"{19:032x}") is not None
    assert files.read(f"{0:032x}") is None
    assert len(kept) >= 10
