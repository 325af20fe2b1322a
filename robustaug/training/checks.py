"""What a training refuses: before its first step, and numbers that are none."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from robustaug.attacks import Attack
from robustaug.attacks.oracle import check_logits, undisturbed
from robustaug.data.composite import CompositeDataset
from robustaug.data.imageset import ImageSet
from robustaug.errors import RobustAugError
from robustaug.training.counters import Counters
from robustaug.training.objectives import AuxiliaryNorms
from robustaug.training.resizing import resized_at
from robustaug.training.settings import TrainingSettings
from robustaug.training.state import has_state


def check_run(
    model: nn.Module, data: CompositeDataset, validation: ImageSet, attack: Attack | None, settings: TrainingSettings
) -> None:
    """Refuse what cannot be trained.

    Raises:
        RobustAugError: an adversarial share without an attack, an objective without such a share, and all that
            ``check_fit`` refuses.
    """
    settings.check_share(data.mix.adversarial)
    if data.mix.adversarial > 0 and attack is None:
        raise RobustAugError(
            f"the mix has an adversarial share of {data.mix.adversarial:g} but there is no attack; give one"
        )
    check_fit(model, data.originals, validation, settings)


def check_fit(model: nn.Module, images: ImageSet, validation: ImageSet, settings: TrainingSettings) -> None:
    """Refuse images and a network that do not fit the settings or each other, whatever the mix.

    Raises:
        RobustAugError: fewer images than a batch has, fewer than two classes, a class without images, no validation
            images, a model that does not give each class a logit, or does not take a size of ``resizing``, or has no
            batch norms for ``advprop``.
    """
    _check_images(images, validation, settings.batch_size)
    few = images.select(range(2)).float_images(next(model.parameters()).device)
    with undisturbed(model), torch.no_grad():
        logits = model(few)
    check_logits(logits, len(few))
    _check_sizes(model, few, settings)
    if logits.shape[1] < len(images.class_names):
        raise RobustAugError(
            f"the model has {logits.shape[1]} outputs for {len(images.class_names)} classes; build it with one for each"
        )
    if settings.advprop:
        AuxiliaryNorms(model)


@contextmanager
def compiling(wanted: bool) -> Iterator[None]:
    """A block in which torch compiles, if it is wanted.

    Raises:
        RobustAugError: it cannot.
    """
    if not wanted:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # noqa: PLC0415 - takes two seconds

    try:
        yield
    except TorchDynamoException as error:
        reason = " ".join(str(error).split())[:200]
        raise RobustAugError(
            f"torch.compile fails on this model or machine ({reason}); set training.compiled = false"
        ) from error


def check_finite(counters: Counters, model: nn.Module, step: int, state: Path, dtype: torch.dtype) -> None:
    """Refuse to go on with numbers that are none; the last loss may be fine, and the weights that it gave not.

    Args:
        counters: Of the steps since the last look.
        model: Its weights after ``step`` steps.
        step: Steps done.
        state: Where the last good state is, if there is one.
        dtype: Of the training.

    Raises:
        RobustAugError: at which step, what is kept, and what to try.
    """
    bad_loss = counters.first_bad()
    weights = [value for value in model.state_dict().values() if value.is_floating_point()]
    if bad_loss is None and all(bool(value.isfinite().all()) for value in weights):
        return
    what, when = ("weights", step) if bad_loss is None else ("loss", bad_loss)
    kept = f"the last good state is kept in {state.parent}" if has_state(state) else "no state was saved yet"
    precision = "" if dtype == torch.float32 else ", precision float32"
    raise RobustAugError(
        f"the {what} became NaN or infinite at step {when}; {kept}; in a new folder, try a lower learning_rate, "
        f"a longer warmup, gradient_clip{precision}"
    )


def _check_sizes(model: nn.Module, images: Tensor, settings: TrainingSettings) -> None:
    for side, until in settings.resizing:
        try:
            with undisturbed(model), torch.no_grad():
                model(resized_at(images, ((side, until),), 0.0))
        except (RuntimeError, ValueError) as error:
            raise RobustAugError(
                f"the model does not take images of {side} px, which training.resizing asks for; take a network with "
                "global pooling, for example preact_resnet18, or remove training.resizing"
            ) from error


def _check_images(images: ImageSet, validation: ImageSet, batch_size: int) -> None:
    if len(images) < batch_size:
        raise RobustAugError(
            f"there are {len(images)} training images, fewer than the {batch_size} of a batch; "
            f"set training.batch_size to {len(images)} or less"
        )
    if not len(validation):
        raise RobustAugError("there are no validation images to choose the weights by; give some")
    counts = torch.bincount(images.labels, minlength=len(images.class_names)).tolist()
    found = [name for name, count in zip(images.class_names, counts, strict=True) if count]
    if len(found) < 2:
        raise RobustAugError(f"all training images are of one class ({found[0]}); a classifier needs at least two")
    for label, (name, count) in enumerate(zip(images.class_names, counts, strict=True)):
        if not count:
            raise RobustAugError(
                f"class '{name}' (label {label}) has no training image; number the labels without gaps, or add images"
            )
