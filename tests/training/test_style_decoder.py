"""Training a decoder: it learns, goes on to the same bytes, and refuses what it cannot use."""

from pathlib import Path

import pytest
import torch

from robustaug.errors import RobustAugError
from robustaug.style import VGGEncoder, load_encoder
from robustaug.style.decoder import load_decoder
from robustaug.training import style_decoder
from robustaug.training.style_decoder import DecoderSettings, train_decoder

TINY = DecoderSettings(sizes=(32,), steps=8, batch_size=4)


@pytest.fixture(scope="module")
def encoder() -> VGGEncoder:
    return load_encoder()


def pictures(n: int, side: int, seed: int) -> torch.Tensor:
    coarse = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return (torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1) * 255).byte()


def train(folder: Path, encoder: VGGEncoder, settings: DecoderSettings = TINY) -> list[dict[str, float]]:
    def progress(count: int = 1, note: str | None = None) -> None:
        del count, note

    paintings = list(pictures(3, 72, seed=1))
    return train_decoder(
        pictures(12, 40, 0), paintings, folder, encoder, settings, precision="float32", progress=progress
    )


def test_it_learns(tmp_path: Path, encoder: VGGEncoder) -> None:
    curve = train(tmp_path, encoder, DecoderSettings(sizes=(32,), steps=60, batch_size=8))
    assert curve[-1]["style_loss"] < curve[0]["style_loss"] / 3
    assert curve[-1]["content_loss"] < curve[0]["content_loss"]
    assert load_decoder(tmp_path / "decoder.safetensors", encoder=encoder.fingerprint).level == "conv3_1"


def test_interrupted_it_ends_with_the_same_bytes(
    tmp_path: Path, encoder: VGGEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole", encoder)
    step = style_decoder._Run.step

    def failing(self: style_decoder._Run) -> None:
        if self.done.step == 5:
            raise KeyboardInterrupt
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(style_decoder._Run, "step", failing)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts", encoder)
    assert not (tmp_path / "parts" / "decoder.safetensors").exists()
    # A kill between the two renames of a save leaves the state before alone.
    (tmp_path / "parts" / "state.safetensors").replace(tmp_path / "parts" / "state.before.safetensors")
    steps: list[int] = []
    monkeypatch.setattr(style_decoder._Run, "step", lambda self: steps.append(self.done.step) or step(self))
    assert train(tmp_path / "parts", encoder) == whole
    assert steps == [5, 6, 7]
    for name in ("decoder.safetensors", "curve.jsonl"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_bad_input(tmp_path: Path, encoder: VGGEncoder) -> None:
    train(tmp_path, encoder)
    with pytest.raises(RobustAugError, match="other settings"):
        train(tmp_path, encoder, DecoderSettings(sizes=(32,), steps=9, batch_size=4))
    with pytest.raises(RobustAugError, match="too few"):
        train_decoder(pictures(3, 40, 0), [], tmp_path, encoder, TINY, progress=lambda count=1, note=None: None)
    with pytest.raises(RobustAugError, match="too small"):
        DecoderSettings(sizes=(16,))
    with pytest.raises(RobustAugError, match="too few"):
        DecoderSettings(steps=0)
