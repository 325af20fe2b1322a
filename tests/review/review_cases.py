"""Small folders of variants with their originals, and a review that answers."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch

from robustaug.data.images import encode_png
from robustaug.files import read_jsonl, sha256, write_jsonl
from robustaug.review.desk import Desk

TOKEN = "the-token"
CLASSES = ("cat", "dog", "fish")


def write_variants(root: Path, count: int, side: int = 8, classes: tuple[str, ...] = CLASSES) -> Path:
    """ROOT/variants with ``count`` variants of three kinds and ROOT/data with their originals; returns the former."""
    rows = []
    for number in range(count):
        label = classes[number % len(classes)]
        source, path = f"{label}/{number:04d}.png", f"{label}/{number:04d}_0.png"
        pixels = torch.full((3, side, side), number % 256, dtype=torch.uint8)
        content = encode_png(pixels)
        for place, image in ((root / "data" / source, content), (root / "variants" / path, encode_png(255 - pixels))):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(image)
        row = {"path": path, "source": source, "source_sha256": sha256(content), "label": label}
        kinds: tuple[dict[str, Any], ...] = (
            {"kind": "stylised", "style": f"painting_{number % 2}", "strength": number / count},
            {"kind": "classical", "technique": "rotation+blur", "operations": [{"name": "blur", "sigma": 0.5}]},
            {"kind": "adversarial", "attack": "pgd", "norm": "linf", "eps": 0.1, "success": True},
        )
        rows.append({**row, **kinds[number // 3 % 3], "label_probability": round(1 - number / count, 4)})
    write_jsonl(root / "variants" / "manifest.jsonl", rows)
    return root / "variants"


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    headers: Message
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class Served:
    """A review that answers, and what it wrote."""

    desk: Desk
    port: int
    token: str
    stop: Callable[[], None]

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"{self.origin}/?token={quote(self.token)}"

    def ask(self, path: str, body: Any = None, *, token: str | None = TOKEN, **headers: str) -> Answer:
        """A GET, or with a body a POST; an underscore in a header's name stands for a hyphen."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            given["X-Review-Token"] = token
        content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.origin + path, content, given)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())

    def decide(self, path: str, decision: str | None, label: str | None = None) -> Answer:
        return self.ask("/decide", self.body({"path": path, "decision": decision, "label": label}))

    def body(self, *decisions: Any) -> dict[str, Any]:
        """What the page posts."""
        return {"decisions": list(decisions), "manifest": self.desk.gallery.manifest_sha256}

    def written(self) -> list[dict[str, Any]]:
        """The lines of review.jsonl after the first."""
        return read_jsonl(self.desk.gallery.folder / "review.jsonl")[1:]


Serve = Callable[..., Served]
