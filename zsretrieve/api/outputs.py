"""Files that an evaluation writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from zsretrieve.domain.arguments import Between, check_fields
from zsretrieve.domain.records import PathLike
from zsretrieve.evaluation import csv_tables, run_file
from zsretrieve.system import atomic


@dataclass(frozen=True)
class Outputs:
    """Files that ``evaluate`` writes.

    Parameters
    ----------
    run : path, optional
        The predictions, for ``compare``: a Parquet file.
    tables : path, optional
        The figures: a folder of CSV files.
    page : path, optional
        The report for people: an HTML file. An earlier report is replaced.
    images : int
        At most this many images on the page.
    force : bool
        Replace an earlier run or folder of tables, or another file with the page.
    """

    run: PathLike | None = None
    tables: PathLike | None = None
    page: PathLike | None = None
    images: Annotated[int, Between(0, 100_000)] = 120
    force: bool = False

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self) -> None:
        """Raise UsageError if one would overwrite another.

        Raises OutputExistsError, IndexFolderError or ReportError if one cannot be written.
        """
        atomic.check_apart(self.run, self.tables, self.page)
        if self.run is not None:
            atomic.check_output(Path(self.run), run_file.KIND, force=self.force)
        if self.tables is not None:
            atomic.check_output(Path(self.tables), csv_tables.KIND, force=self.force)
        if self.page is not None:
            from zsretrieve.reports import check_report

            check_report(self.page, force=self.force)
