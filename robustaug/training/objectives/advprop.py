"""AdvProp: batch norms of their own for adversarial images (Xie et al. 2020)."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustaug.errors import RobustAugError


class AuxiliaryNorms(nn.Module):
    """A second set of batch norms, with weights, biases and statistics of their own, for adversarial images.

    Xie, Tan, Gong, Wang, Yuille and Le (2020), "Adversarial examples improve image recognition", algorithm 1:
    minimise L(w, clean images, y) with the main batch norms + L(w, adversarial images, y) with the auxiliary ones; the
    adversarial images are found through the auxiliary ones as well; the main ones alone are kept.

    Deviation: the paper adds the mean losses of two batches of one size; here all rows of a batch count the same,
    which for equal shares is half of that sum.

    Args:
        model: Has batch norms; the auxiliary ones start as copies of them.

    Raises:
        RobustAugError: the model has none.
    """

    copies: nn.ModuleList

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._places = [
            (parent, name, child)
            for parent in model.modules()
            for name, child in parent.named_children()
            if isinstance(child, _BatchNorm)
        ]
        if not self._places:
            raise RobustAugError("advprop gives adversarial images their own batch norms, but the network has none")
        distinct = {id(child): copy.deepcopy(child) for _, _, child in self._places}
        self.copies = nn.ModuleList(distinct.values())
        self._copy_of = distinct

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block, the model holds these batch norms in the place of its own."""
        try:
            for parent, name, child in self._places:
                setattr(parent, name, self._copy_of[id(child)])
            yield
        finally:
            for parent, name, child in self._places:
                setattr(parent, name, child)
