"""Where images come from: folders, lists, archives, data sets, URLs; ground-truth files."""

from zsretrieve.images.sources.archived import archived, data_set, takes_ground_truth
from zsretrieve.images.sources.braces import expand, local
from zsretrieve.images.sources.folders import folder
from zsretrieve.images.sources.ground_truth import read_ground_truth
from zsretrieve.images.sources.lists import of_gallery, on_disk, paths, read_list
from zsretrieve.images.sources.remote import remote_folder
from zsretrieve.images.sources.source import FOLDER, Source, SourceFile, Text
from zsretrieve.images.sources.walking import EXCLUDED, left_out

__all__ = [
    "EXCLUDED",
    "FOLDER",
    "Source",
    "SourceFile",
    "Text",
    "archived",
    "data_set",
    "expand",
    "folder",
    "left_out",
    "local",
    "of_gallery",
    "on_disk",
    "paths",
    "read_ground_truth",
    "read_list",
    "remote_folder",
    "takes_ground_truth",
]
