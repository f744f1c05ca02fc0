"""Where pictures come from: folders, lists, archives, data sets, URLs; and ground-truth files."""

from zsretrieve.sources.archived import archived, data_set, takes_ground_truth
from zsretrieve.sources.folders import folder
from zsretrieve.sources.ground_truth import read_ground_truth
from zsretrieve.sources.listing import Source, SourceFile
from zsretrieve.sources.lists import of_gallery, paths, read_list
from zsretrieve.sources.names import expand, local
from zsretrieve.sources.remote import remote_folder

__all__ = [
    "Source",
    "SourceFile",
    "archived",
    "data_set",
    "expand",
    "folder",
    "local",
    "of_gallery",
    "paths",
    "read_ground_truth",
    "read_list",
    "remote_folder",
    "takes_ground_truth",
]
