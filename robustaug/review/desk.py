"""What a review works on: the variants, their originals, and the decisions, one at a time."""

import threading
from pathlib import Path
from typing import Any, get_args

from robustaug.data.decisions import Decision, DecisionLog, Decisions, Verdict
from robustaug.data.images import decode_image, encode_png
from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.review.gallery import Gallery, read_gallery, variants_folder
from robustaug.review.share import Share, random_order, share_of_bad, suggested_size
from robustaug.review.sources import Sources, find_sources

_PNG = b"\x89PNG\r\n\x1a\n"


class RefusedError(RobustAugError):
    """A decision that can never be made, whatever the disk does."""


class Desk:
    """A folder under review; threads may share it.

    Args:
        path: A folder of variants, or a run folder, whose ``variants/train`` is meant.
        data: The originals: an image folder or a named set; None looks into the run's configuration.
        root: Where named sets are kept.
        sample: Variants in the random sample; None suggests a number.

    Raises:
        RobustAugError: no variants, a manifest that leads outside, decisions of another manifest, a sample that cannot
            be, or a review of the same folder in another process.
    """

    def __init__(
        self, path: Path, data: str | None = None, *, root: Path | None = None, sample: int | None = None
    ) -> None:
        self.gallery: Gallery = read_gallery(variants_folder(path))
        total = len(self.gallery.variants)
        if sample is not None and not 1 <= sample <= total:
            raise RobustAugError(f"--sample {sample} is not possible with {total} variants; take 1 to {total}")
        self.sources: Sources = find_sources(self.gallery, data, root)
        self.sample = sample or suggested_size(total)
        self._places = random_order([variant.path for variant in self.gallery.variants])
        self._number = {variant.path: number for number, variant in enumerate(self.gallery.variants)}
        self.classes = sorted({*self.gallery.classes, *self.sources.classes})
        self._lock = threading.Lock()
        self._log = DecisionLog(self.gallery.folder)

    def __len__(self) -> int:
        return len(self.gallery.variants)

    def listing(self) -> dict[str, Any]:
        """All that the page shows, but for the pictures."""
        variants = [
            {
                "path": variant.path,
                "source": variant.source,
                "label": variant.label,
                "kind": variant.kind,
                "techniques": variant.techniques,
                "strength": variant.strength,
                "probability": variant.label_probability,
                "place": place,
                "facts": variant.facts,
                "decision": _plain(self._log.decision(variant.path)),
            }
            for variant, place in zip(self.gallery.variants, self._places, strict=True)
        ]
        return {
            "folder": str(self.gallery.folder),
            "manifest": self.gallery.manifest_sha256,
            "classes": self.classes,
            "data": self.sources.name,
            "note": self.sources.note,
            "sample": self.sample,
            "variants": variants,
        }

    def decide(self, path: str, verdict: Verdict | None, label: str | None = None) -> None:
        """Write a decision; it is on disk when this returns.

        Raises:
            RefusedError: no such variant, decision or class.
            RobustAugError: it cannot be written; nothing is decided then.
        """
        number = self._number.get(path)
        if number is None:
            raise RefusedError(f"{path} is not in the manifest")
        if verdict is not None and verdict not in get_args(Verdict):
            raise RefusedError(f"{verdict!r} is no decision")
        is_other = label in self.classes and label != self.gallery.variants[number].label
        if label is not None and not (verdict == "relabel" and is_other):
            raise RefusedError(f"{label!r} cannot be the new label")
        try:
            looked_at = sha256(self.gallery.read(number))
        except RobustAugError:
            looked_at = ""  # it is gone; that it was rejected may still be said
        with self._lock:
            self._log.decide(path, verdict, label, sha256=looked_at)

    def undo(self) -> dict[str, Any] | None:
        """Take the last decision back: the path, and what counts for it now; None if there is none left."""
        with self._lock:
            path = self._log.undo()
            return None if path is None else {"path": path, "decision": _plain(self._log.decision(path))}

    def share(self, size: int) -> Share:
        """What the first so many variants of the random order say."""
        size = max(0, min(size, len(self)))
        chosen = [number for number, place in enumerate(self._places) if place < size]
        return share_of_bad([self._log.decision(self.gallery.variants[number].path) for number in chosen], len(self))

    def variant_png(self, number: int) -> bytes:
        """The picture of a variant.

        Raises:
            RobustAugError: the file is gone or is no image.
        """
        content = self.gallery.read(number)
        return content if content.startswith(_PNG) else encode_png(decode_image(content, min_side=1))

    def source_png(self, number: int) -> bytes:
        """The picture of a variant's original.

        Raises:
            RobustAugError: it is not to be found, or has changed.
        """
        return self.sources.png(self.gallery.variants[number])

    def decisions(self) -> Decisions:
        """All that count now."""
        return self._log.decisions()

    def close(self) -> None:
        """Let others review the folder."""
        self._log.close()


def _plain(made: Decision | None) -> dict[str, str | None] | None:
    return None if made is None else {"verdict": made.verdict, "label": made.label}
