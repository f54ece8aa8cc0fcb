"""Which images belong together: those that share a patient or are the same picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def linked_groups(patients: NDArray[np.int32], hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Number the groups of rows linked by a patient or by an identical picture.

    ``patients`` ``(n,)`` are codes, -1 where the patient is not known (such a row is linked by its
    picture only); ``hashes`` ``(n,)``. Links are followed through: if rows 0 and 1 are one patient
    and rows 1 and 2 one picture, all three are one group.

    >>> linked_groups(np.array([7, 7, -1], np.int32), np.array([1, 2, 2], np.uint64)).tolist()
    [0, 0, 0]
    """
    n = len(hashes)
    _, picture = np.unique(hashes, return_inverse=True)
    known = np.flatnonzero(patients >= 0)
    # A graph over rows, then pictures, then patients: rows hang on what they share.
    ends = np.concatenate([n + picture, n + n + patients[known]])
    starts = np.concatenate([np.arange(n), known])
    size = int(ends.max()) + 1 if n else 0
    links = coo_array((np.ones(len(starts), dtype=bool), (starts, ends)), shape=(size, size))
    _, component = connected_components(links, directed=False)
    _, groups = np.unique(component[:n], return_inverse=True)
    return groups.astype(np.int64)
