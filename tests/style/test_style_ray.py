"""The Ray engine: two workers, one of which is killed, and the same tree as the local engine's."""

import dataclasses
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from job_cases import small_content, tree

from robustaug.errors import RobustAugError
from robustaug.style import Gatys, Painting, StyleBank, folder_items
from robustaug.style.job import Item, JobSettings, LabelCheck, stylize

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is an extra")


@pytest.fixture
def two_workers() -> Iterator[Any]:
    import ray  # noqa: PLC0415

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2**27)
    yield ray
    ray.shutdown()
    torch.set_num_threads(threads)


def deadly(item: Item, sign: Path) -> Item:
    """An item that kills the process which reads it first, if that is another one than this."""
    read, here = item.read, os.getpid()

    def read_or_die() -> Any:
        if os.getpid() != here and not sign.exists():
            sign.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return read()

    return dataclasses.replace(item, read=read_or_die)


@needs_ray
def test_the_same_tree_though_a_worker_is_killed(
    tmp_path: Path, dots: Painting, stripes: Painting, tiny: Gatys, two_workers: Any
) -> None:
    content, bank = small_content(tmp_path / "content"), StyleBank((dots, stripes))
    (content / "class0" / "broken.png").write_bytes(b"no image")
    settings, style = JobSettings(per_image=2, strength=(0.3, 1.0)), dataclasses.replace(tiny, batch_size=2)
    items = [
        deadly(item, tmp_path / "killed") if item.key == "class1/3.png" else item for item in folder_items(content)[0]
    ]
    check = LabelCheck(lambda images, labels: images.float().mean((1, 2, 3)) / 255, 0.5, "mean")

    here = stylize(items, tmp_path / "here", bank, style, settings, check=check)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    lost = [path for path in sorted((tmp_path / "there").rglob("*.png")) if path.parent.name == "class1"]
    for path in (*lost, tmp_path / "there" / "dropped.jsonl"):
        path.unlink()

    there = stylize(items, tmp_path / "there", bank, style, settings, check=check, engine="ray")
    assert (tmp_path / "killed").exists()
    assert tree(tmp_path / "there") == tree(tmp_path / "here")
    assert (there.written, there.dropped) == (len(lost), here.dropped)
    assert there.already_done == here.written - len(lost)
    assert there.skipped == here.skipped
    assert [item.path for item in there.skipped] == ["class0/broken.png"]
    assert min(there.written, there.dropped, there.already_done) > 0


def test_without_ray_the_engine_says_how_to_get_it(
    tmp_path: Path, dots: Painting, tiny: Gatys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("robustaug.style.ray_engine.find_spec", lambda name: None)
    items, _ = folder_items(small_content(tmp_path / "content"))
    with pytest.raises(RobustAugError, match=r"needs Ray; install it with: pip install 'robustaug\[ray\]'"):
        stylize(items, tmp_path / "out", StyleBank((dots,)), tiny, engine="ray")
    assert not (tmp_path / "out").exists()
