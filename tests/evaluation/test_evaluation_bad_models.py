"""Models that fail in the middle of an evaluation: one line that names the batch, and no half-written part."""

import pytest
import torch
from evaluation_cases import Linear, image_set, labelled_by
from torch import Tensor

from robustaug.attacks import ThreatModel
from robustaug.errors import RobustAugError
from robustaug.evaluation import Protocol, evaluate_arm
from robustaug.evaluation.parts import _load

PROTOCOL = Protocol(samples=7, pgd_steps=2, pgd_restarts=1, noise_draws=1, curve_samples=2, curve_steps=1, batch_size=4)


class Fails(Linear):
    """Fails where ``when`` says so of the images, with ``error``; or returns NaN where there is none."""

    def __init__(self, when, error: Exception | None) -> None:
        super().__init__()
        self.when, self.error = when, error

    def forward(self, images: Tensor) -> Tensor:
        if not self.when(images):
            return super().forward(images)
        if self.error is not None:
            raise self.error
        return super().forward(images) * torch.nan


def refusal(model: Fails, folder=None) -> str:
    samples = labelled_by(Linear(), image_set(7))
    with pytest.raises(RobustAugError) as caught:
        evaluate_arm(model, samples, threat=ThreatModel("linf", 0.05), protocol=PROTOCOL, folder=folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("expected 4 images\nat line 3"), "expected 4 images"),
        (RuntimeError("shape '[4, 48]' is invalid for input of size 144"), "shape '[4, 48]' is invalid"),
        (IndexError(""), "IndexError"),
        (AssertionError("even batches only"), "even batches only"),
    ],
)
def test_a_model_that_crashes_on_the_last_batch(error: Exception, told: str) -> None:
    """Seven images in batches of four: the last has three."""
    message = refusal(Fails(lambda images: len(images) == 3, error))
    assert message.startswith("the model fails on a batch of 3 images of 3x4x4: ")
    assert told in message
    assert message.endswith("it must take any number of images, one alone as well")


def test_memory_that_runs_out_names_the_setting() -> None:
    message = refusal(Fails(lambda images: len(images) == 4, torch.OutOfMemoryError("CUDA out of memory. Tried ...")))
    assert message == "memory ran out on a batch of 4 images of 3x4x4; set a smaller batch_size in the protocol"


def test_logits_that_are_not_finite_on_some_batch_alone() -> None:
    assert "logits are NaN or infinite" in refusal(Fails(lambda images: len(images) == 3, None))


def test_a_crash_under_attack_keeps_what_was_finished(tmp_path) -> None:
    """What no image file holds is not seen before the attack: clean stands, and nothing half-written beside it."""

    def is_attacked(images: Tensor) -> bool:
        return not torch.allclose(images * 255, (images * 255).round(), atol=1e-3)

    message = refusal(Fails(is_attacked, TypeError("8-bit images only")), tmp_path)
    assert "8-bit images only" in message
    (path,) = tmp_path.rglob("*.safetensors")
    assert path.name == "clean.safetensors"
    assert len(_load(path)["predictions"]) == 7
