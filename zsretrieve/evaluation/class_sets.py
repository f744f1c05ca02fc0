"""Two sets of classes on the same images: does an added class draw the images of some groups more than of others?

The probe of Radford et al. 2021, section 7.1: classes are added, and the images that go to them are counted by group.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from zsretrieve.domain.comparison import ClassSetComparison, GroupDraw
from zsretrieve.domain.errors import ClassMappingError
from zsretrieve.domain.filters import values_of
from zsretrieve.domain.spaces import check_same_images
from zsretrieve.gallery.search import selected
from zsretrieve.metrics import wilson
from zsretrieve.store.indexes import Gallery, Prototypes


def compare_class_sets(
    first: Prototypes, second: Prototypes, gallery: Gallery, column: str, *, where: str | None = None
) -> ClassSetComparison:
    """Count, by the groups of a column, the images of a gallery that are nearest to a class that ``first`` lacks.

    Parameters
    ----------
    first, second : Prototypes
        Classes are the same if their names are.
    gallery : Gallery
    column : str
        One of ``zsretrieve.domain.filters.COLUMNS``, such as ``label`` or ``folder``.
    where : str, optional
        Only the images that pass this filter.

    Raises
    ------
    ClassMappingError
        If ``second`` has no class that ``first`` lacks.
    SpaceMismatchError
        If gallery and prototypes have different embedding spaces.
    SourceError, FilterError
        If the gallery is empty, there is no such column, or by the filter.
    """
    for prototypes in (first, second):
        check_same_images(gallery.space, "the gallery", prototypes.space, "the prototype index")
    names, before = second.prompts.class_names, first.prompts.class_names
    added = tuple(name for name in dict.fromkeys(names) if name not in before)
    if not added:
        raise ClassMappingError(
            "the second set has no class that the first lacks", hint="Name the set with the added classes second."
        )
    rows = selected(gallery, where)
    items = gallery.items if rows is None else [gallery.items[row] for row in rows]
    vectors = gallery.vectors if rows is None else gallery.index.stored(rows)
    groups = values_of(items, column)
    best = second.search(vectors, 1)[1][:, 0]
    drawn: dict[object, Counter[str]] = {group: Counter() for group in groups}
    for group, row in zip(groups, best.tolist(), strict=True):
        if names[row] in added:
            drawn[group][names[row]] += 1
    sizes = Counter(groups)
    found = [
        GroupDraw(
            None if group is None else str(group),
            sizes[group],
            counts.total(),
            wilson(counts.total(), sizes[group]),
            dict(counts.most_common()),
        )
        for group, counts in drawn.items()
    ]
    found.sort(key=lambda one: (-one.n_drawn / one.n, one.group or ""))
    left_out = tuple(name for name in dict.fromkeys(before) if name not in names)
    return ClassSetComparison(column, added, left_out, len(items), tuple(found), _p_value(found))


def _p_value(groups: list[GroupDraw]) -> float | None:
    table = np.array([[one.n_drawn, one.n - one.n_drawn] for one in groups])
    if len(groups) < 2 or not table.sum(axis=0).all():
        return None
    from scipy.stats import chi2_contingency

    return float(chi2_contingency(table, correction=False).pvalue)
