"""Images that stand twice in a data set, exactly or nearly: perceptual hashes propose, pixels decide."""

from dataclasses import dataclass

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from robustaug.exploration.scan import Scan, mean_grid

_BITS = 6  # of 64 that may differ between the hashes of two candidates
# Two candidates are one image if, on a grid of mean colours and each less its own mean, the root mean square of their
# differences is at most this part of the smaller of their own. Of 400 photos of CIFAR-10, 99 in 100 stay below it when
# saved as JPEG of quality 75, enlarged by half, made smaller by a quarter or lightened by 3%; the two most alike of
# them are 0.52 apart, of 5,000 handwritten digits 0.079. So images that are plain or drawn, whose hashes agree by
# chance, are no false alarms. A finer grid, as evaluation/checks/data.py has it, loses half of those made smaller.
_GRID = 8
_APART = 0.075
_ROWS = 2048  # of the table of distances at a time
_PAIRS = 65536  # candidates at a time


@dataclass(frozen=True)
class Duplicates:
    """Images that are one.

    Attributes:
        members: positions in the scan, ascending, two or more.
        exact: whether all are equal pixel for pixel; else they are nearly.
        parts: the parts that they lie in.
        labels: the labels that they have.
    """

    members: tuple[int, ...]
    exact: bool
    parts: tuple[str, ...]
    labels: tuple[int, ...]

    @property
    def straddles(self) -> bool:
        """Whether they lie in more than one part: what is measured there was trained on."""
        return len(self.parts) > 1

    @property
    def contradicts(self) -> bool:
        """Whether they have more than one label."""
        return len(self.labels) > 1


def find_duplicates(scan: Scan) -> list[Duplicates]:
    """Groups of images that are equal or nearly so; blank images only where they are equal.

    Moved, cut, turned and mirrored copies are not found.
    """
    first: dict[str, int] = {}
    pairs = [(first.setdefault(digest, index), index) for index, digest in enumerate(scan.digests)]
    unique = torch.tensor(sorted(first.values()))
    unique = unique[~scan.blank[unique]]
    near = unique[_near_pairs(scan.images[unique], scan.hashes[unique])]
    rows, columns = torch.cat([torch.tensor(pairs).reshape(-1, 2), near]).T.tolist()
    links = coo_array(([1] * len(rows), (rows, columns)), shape=(len(scan), len(scan)))
    groups: dict[int, list[int]] = {}
    for index, group in enumerate(connected_components(links, directed=False)[1].tolist()):
        groups.setdefault(group, []).append(index)
    return [_described(scan, members) for members in groups.values() if len(members) > 1]


def _described(scan: Scan, members: list[int]) -> Duplicates:
    return Duplicates(
        tuple(members),
        len({scan.digests[index] for index in members}) == 1,
        tuple(sorted({scan.parts[index] for index in members})),
        tuple(sorted({int(scan.labels[index]) for index in members})),
    )


def _near_pairs(images: Tensor, hashes: Tensor) -> Tensor:
    """Pairs of positions, int64 (P, 2), whose hashes and pixels both nearly agree."""
    grids = mean_grid(images, _GRID).flatten(1)
    limits = _APART * grids.square().mean(1).sqrt()
    return torch.cat(
        [torch.empty(0, 2, dtype=torch.int64)]
        + [
            part[(grids[part[:, 0]] - grids[part[:, 1]]).square().mean(1).sqrt() <= limits[part].amin(1)]
            for candidates in _candidates(hashes)
            for part in torch.split(candidates, _PAIRS)
        ]
    )


def _candidates(hashes: Tensor) -> list[Tensor]:
    """Pairs whose hashes differ in few bits; the dot product of signs counts equal bits less different ones."""
    signs = hashes.float() * 2 - 1
    least = signs.shape[1] - 2 * _BITS
    found = []
    for start in range(0, len(signs), _ROWS):
        near = signs[start : start + _ROWS] @ signs[start:].T >= least  # the upper triangle is enough
        rows, columns = near.triu(1).nonzero(as_tuple=True)
        found.append(torch.stack([rows, columns], 1) + start)
    return found
