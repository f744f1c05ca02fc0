"""A client of ``zsretrieve serve``: searches over HTTP, with the records of the library."""

from zsretrieve.client.client import Client as Client
from zsretrieve.client.records import ClassCount as ClassCount
from zsretrieve.client.records import Classes as Classes
from zsretrieve.client.records import Counted as Counted
from zsretrieve.client.records import Described as Described
from zsretrieve.client.records import GalleryRecord as GalleryRecord
from zsretrieve.client.records import PrototypesRecord as PrototypesRecord
