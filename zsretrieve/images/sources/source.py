"""A source: images to read, in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from zsretrieve.domain.records import Item, Skipped
from zsretrieve.domain.settings import Choice
from zsretrieve.images import opening

# The reasons for which folders and archives are skipped begin like this.
FOLDER = "folder: "
ARCHIVE = "archive: "


@dataclass(frozen=True)
class Text:
    """A text, the path of the image that it describes, if known, and the time of the file that holds the text."""

    text: str
    image: str | None = None
    mtime_ns: int = 0


@dataclass(frozen=True)
class SourceFile:
    """One file to read, or a ``text`` that was read already, whose path is its place in its file.

    In a new gallery its ID is ``id``, or else its place in the source, whether it can be read or not.
    """

    path: str
    label: str | None = None
    id: int | None = None
    text: Text | None = None

    @classmethod
    def of(cls, item: Item) -> SourceFile:
        """What an item was made from, under its ID."""
        text = None if item.text is None else Text(item.text, item.image, item.mtime_ns)
        return cls(item.path, item.label, item.id, text)


@dataclass(frozen=True)
class LeftOut:
    """Files of one kind that a source does not take: a suffix or the name of a folder, and how many there are.

    ``reason`` says what would make them readable, or why they are left out; None for files that are not images.
    """

    what: str
    count: int
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.count} {self.what}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True)
class Source:
    """Files to read, in order; paths below ``root`` are relative to it.

    ``skipped`` are folders and archives that could not be read. ``origin`` opens the same source again; None if its
    files were named one by one. ``next_id`` is that of a gallery that is read again. ``choice`` decided which files
    are taken, and ``left_out`` counts the others.
    """

    root: str
    files: tuple[SourceFile, ...]
    skipped: tuple[Skipped, ...] = ()
    origin: str | None = None
    next_id: int = 0
    choice: Choice = field(default_factory=Choice)
    left_out: tuple[LeftOut, ...] = ()

    @property
    def holds_texts(self) -> bool:
        """Whether it is of texts, all of it, in place of images."""
        return bool(self.files) and self.files[0].text is not None

    def address(self, file: SourceFile) -> str:
        return opening.join(self.root, file.path)

    def is_unchanged(self, file: SourceFile, item: Item) -> bool:
        """Whether a file looks as when it became an item, or a text is the same."""
        if file.text is not None:
            return (file.text.text, file.text.image) == (item.text, item.image)
        return opening.is_unchanged(self.address(file), item)
