"""Training a decoder of AdaIN: the objective of Gatys's optimisation, learnt once for all images and paintings.

Deviation from Huang and Belongie (2017), equations 11 to 13: not the distances to the mixed features and to means and
deviations, but the relative losses that ``Gatys`` minimises image by image, with Gram matrices on the line between the
content's and the painting's. So both methods aim at the same images, and a strength means the same in both.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from robustaug import randomness
from robustaug.data.decode import check_memory, parallel
from robustaug.data.images import resize
from robustaug.data.imageset import Skipped
from robustaug.errors import RobustAugError
from robustaug.files import output_folder, sha256, write_jsonl
from robustaug.hardware import Precision, autocast, resolve_precision
from robustaug.progress import Advance
from robustaug.style.adain import PAINTING_SCALE
from robustaug.style.colour import colour_statistics, recoloured
from robustaug.style.decoder import Decoder, Statistics, save_decoder, statistics
from robustaug.style.job import Item
from robustaug.style.losses import content_loss, gram, style_loss, total_variation
from robustaug.style.method import resize_to
from robustaug.style.vgg import VGGEncoder
from robustaug.training.state import Progress, has_state, load_state, save_state

DECODER, CURVE, STATE = "decoder.safetensors", "curve.jsonl", "state.safetensors"
_STYLES_A_STEP = 8  # each serves several contents of a batch
_HELD_OUT = 64  # contents at most
_SHARE_OF_OTHERS = 0.15  # of paintings among the contents, and of photos among the styles
_LOOKS = 40  # at the held-out pictures in a training

Pictures = Sequence[Tensor] | Tensor


@dataclass(frozen=True)
class DecoderSettings:
    """How a decoder is trained.

    Attributes:
        level: its deepest layer, ``conv3_1`` or ``conv4_1``.
        sizes: sides of the square training images in px, taken in turn.
        steps: steps of Adam (Kingma and Ba 2015).
        batch_size: images a step.
        learning_rate: the highest: it rises over the first 5% of the steps, then falls to zero along a half cosine.
        content_layer: where the content loss looks.
        content_weight: of the content loss against the style loss.
        variation_weight: of the total variation.
        full_strength: share of the images trained at strength 1; the others' are uniform in (0, 1).
        seed: of the first weights and of every choice.

    Raises:
        RobustAugError: numbers out of range.
    """

    level: str = "conv3_1"
    sizes: tuple[int, ...] = (64,)
    steps: int = 4000
    batch_size: int = 16
    learning_rate: float = 2e-3
    content_layer: str = "conv3_1"
    content_weight: float = 0.15
    variation_weight: float = 0.3
    full_strength: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2:
            raise RobustAugError(f"{self.steps} steps of {self.batch_size} images are too few; take 1 and 2 or more")
        if not self.sizes or min(self.sizes) < 32:
            raise RobustAugError(f"training sizes {self.sizes} px are too small; take 32 px or more")


def read_contents(items: Sequence[Item], side: int) -> tuple[Tensor, list[Skipped]]:
    """The central squares of a job's content, uint8 (N, 3, side, side), and what could not be read.

    Raises:
        RobustAugError: the images would not fit into memory.
    """
    check_memory(len(items), (side, side))

    def read(item: Item) -> Tensor | Skipped:
        try:
            return resize(item.load(), side)
        except RobustAugError as error:
            return Skipped(item.key, str(error))

    found = list(parallel(read, items, "Reading images"))
    images = [each for each in found if isinstance(each, Tensor)]
    skipped = [each for each in found if isinstance(each, Skipped)]
    return torch.stack(images) if images else torch.empty(0, 3, side, side, dtype=torch.uint8), skipped


def train_decoder(
    contents: Tensor,
    pictures: Sequence[Tensor],
    folder: Path,
    encoder: VGGEncoder,
    settings: DecoderSettings,
    *,
    precision: Precision = "auto",
    progress: Advance,
) -> list[dict[str, float]]:
    """Train a decoder, or go on with a training that was interrupted.

    A tenth of the contents and of the paintings is held out to show how training goes; they decide nothing. On one
    device and thread count the same call gives the same weights, interrupted or not.

    Args:
        contents: uint8 (N, 3, R, R), at least 10.
        pictures: paintings, uint8 (3, h, w), at least 2.
        folder: where the decoder, its curve and the state to resume from are written.
        encoder: on the device to train on.
        settings: of the training.
        precision: of the convolutions.
        progress: told of every step.

    Returns:
        The curve, also in ``curve.jsonl``: ``step``, ``content_loss`` and ``style_loss`` at strength 1, means over the
        held-out images.

    Raises:
        RobustAugError: too few pictures, a folder of another training, or one that cannot be written.
    """
    if len(contents) < 10 or len(pictures) < 2:
        raise RobustAugError(
            f"{len(contents)} photos and {len(pictures)} paintings are too few; give at least 10 and 2"
        )
    output_folder(folder)
    run = _Run(contents, pictures, folder, encoder, settings, precision)
    run.resume()
    progress(run.done.step)
    while run.done.step < settings.steps:
        run.step()
        progress(1, run.note)
    save_decoder(run.decoder, folder / DECODER, encoder=encoder.fingerprint)
    return run.curve


class _Run:
    def __init__(
        self,
        contents: Tensor,
        pictures: Sequence[Tensor],
        folder: Path,
        encoder: VGGEncoder,
        settings: DecoderSettings,
        precision: Precision,
    ) -> None:
        self.encoder, self.settings, self.folder, self.device = encoder, settings, folder, encoder.mean.device
        self.dtype = resolve_precision(precision, self.device)
        order = randomness.permutation(len(contents), settings.seed, "held-out contents")
        few = min(_HELD_OUT, max(1, len(contents) // 10))
        self.contents, self.held_out = contents[order[few:]], contents[order[:few]]
        order = randomness.permutation(len(pictures), settings.seed, "held-out paintings")
        few = max(1, len(pictures) // 10)
        self.pictures = [pictures[i] for i in order[few:].tolist()]
        self.unseen = [pictures[i] for i in order[:few].tolist()]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.derive_seed(settings.seed, "decoder"))
            self.decoder = Decoder(settings.level)
        self.decoder.to(self.device)
        self.decoder.scale.copy_(self._typical_sizes())
        self.optimizer = torch.optim.Adam(self.decoder.parameters(), lr=settings.learning_rate)
        hashes = [sha256(picture.numpy().tobytes()) for picture in (contents, *pictures)]
        self.identity = sha256(repr((asdict(settings), str(self.dtype), encoder.fingerprint, hashes)).encode())
        self.done, self.curve, self.note = Progress(), list[dict[str, float]](), ""
        self.looks_every = max(1, settings.steps // _LOOKS)

    def resume(self) -> None:
        """Go on from the state on disk, if there is one."""
        path = self.folder / STATE
        if has_state(path):
            self.done, curve = load_state(path, self.identity, self.decoder, self.optimizer)
            rows = curve["curve"].tolist()
            self.curve = [{"step": int(a), "content_loss": b, "style_loss": c} for a, b, c in rows]

    def step(self) -> None:
        """One step of Adam, and now and then a look and a saved state."""
        began, settings = time.monotonic(), self.settings
        seed = randomness.derive_seed(settings.seed, "step", self.done.step)
        generator = torch.Generator().manual_seed(seed)
        size = settings.sizes[self.done.step % len(settings.sizes)]
        content = self._some_contents(size, generator)
        style = self._some_styles(size, generator)
        strength = torch.rand(len(content), generator=generator)
        strength[torch.rand(len(content), generator=generator) < settings.full_strength] = 1
        of_content, of_style, outside, variation = self._losses(content, style, strength.to(self.device))
        loss = settings.content_weight * of_content + of_style + settings.variation_weight * variation + outside
        self.optimizer.zero_grad()
        torch.autograd.backward(loss.mean())
        torch.nn.utils.clip_grad_norm_(self.decoder.parameters(), 1.0)
        self.optimizer.param_groups[0]["lr"] = self._learning_rate()
        self.optimizer.step()
        self.done.step += 1
        self.done.seconds += time.monotonic() - began
        if self.done.step % self.looks_every == 0 or self.done.step == settings.steps:
            self._look()

    def _learning_rate(self) -> float:
        share = (self.done.step + 0.5) / self.settings.steps
        return self.settings.learning_rate * min(1.0, share / 0.05) * (1 + math.cos(math.pi * share)) / 2

    def _losses(self, content: Tensor, style: Tensor, strength: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Content and style loss, how far values leave [0, 1], and total variation; (N,) each."""
        layers = self.decoder.layers
        index = torch.arange(len(content), device=self.device) % len(style)
        mean, covariance = (value[index] for value in colour_statistics(style))
        with torch.no_grad(), autocast(self.dtype, self.device):
            of_content = self.encoder(content, {*layers, self.settings.content_layer})
            of_recoloured = self.encoder(
                recoloured(content, mean, covariance, strength[:, None, None].double()), layers
            )
            of_style = self.encoder(style, layers)
        targets = {
            layer: torch.lerp(gram(of_content[layer]), gram(of_style[layer])[index], strength[:, None, None])
            for layer in layers
        }
        given = [statistics(of_style[layer]) for layer in layers]
        with autocast(self.dtype, self.device):
            images = self.decoder(of_recoloured, [Statistics(*(v[index] for v in each)) for each in given], strength)
            inside = images.float().clamp(0, 1)
            found = self.encoder.forward(inside, {*layers, self.settings.content_layer})
        goal = of_content[self.settings.content_layer].float()
        return (
            content_loss(found[self.settings.content_layer], goal),
            style_loss({layer: gram(found[layer]) for layer in layers}, targets),
            (images.float() - inside).square().flatten(1).mean(1) * 10,
            total_variation(inside),
        )

    def _look(self) -> None:
        """Losses on the held-out pictures, and everything saved."""
        size, sums = self.settings.sizes[0], torch.zeros(2, device=self.device)
        generator = torch.Generator().manual_seed(0)
        styles = torch.cat([self._crop(each, size, generator, vary=False) for each in self.unseen]).to(self.device)
        with torch.no_grad():
            for part in torch.split(self.held_out, self.settings.batch_size):
                images = resize_to(part.to(self.device).float() / 255, (size, size))
                losses = self._losses(images, styles, torch.ones(len(part), device=self.device))
                sums += torch.stack([losses[0].sum(), losses[1].sum()])
        of_content, of_style = (sums / len(self.held_out)).tolist()
        self.curve.append({"step": self.done.step, "content_loss": of_content, "style_loss": of_style})
        self.note = f"content {of_content:.2f}, style {of_style:.3f}"
        rows = torch.tensor([list(row.values()) for row in self.curve], dtype=torch.float64)
        save_state(self.folder / STATE, self.identity, self.done, self.decoder, {"curve": rows}, self.optimizer)
        write_jsonl(self.folder / CURVE, self.curve)

    def _some_contents(self, size: int, generator: torch.Generator) -> Tensor:
        crops = []
        for _ in range(self.settings.batch_size):
            picture = self._pick(self.contents, self.pictures, generator)
            side = round((0.75 + 0.25 * float(torch.rand((), generator=generator))) * min(picture.shape[1:]))
            crop = _cut(picture, side, torch.rand(2, generator=generator))
            crops.append(_varied(resize_to(crop, (size, size)), generator))
        return torch.cat(crops).to(self.device)

    def _some_styles(self, size: int, generator: torch.Generator) -> Tensor:
        count = min(_STYLES_A_STEP, self.settings.batch_size)
        picked = [self._pick(self.pictures, self.contents, generator) for _ in range(count)]
        return torch.cat([self._crop(each, size, generator, vary=True) for each in picked]).to(self.device)

    @staticmethod
    def _pick(usual: Pictures, other: Pictures, generator: torch.Generator) -> Tensor:
        """A picture, now and then of the other kind: a decoder shall not expect one kind of content or style."""
        pool = other if float(torch.rand((), generator=generator)) < _SHARE_OF_OTHERS else usual
        return pool[int(torch.randint(len(pool), (), generator=generator))]

    def _crop(self, picture: Tensor, size: int, generator: torch.Generator, *, vary: bool) -> Tensor:
        """A square of a painting that is reduced as ``AdaIN`` reduces it, give or take a third."""
        scale = PAINTING_SCALE * (2 ** (float(torch.rand((), generator=generator)) - 0.5) if vary else 1)
        side = min(*picture.shape[1:], round(min(picture.shape[1:]) / scale))
        place = torch.rand(2, generator=generator) if vary else torch.full((2,), 0.5)
        image = resize_to(_cut(picture, side, place), (size, size))
        return _varied(image, generator, colours=0.5) if vary else image

    def _typical_sizes(self) -> Tensor:
        """The root mean square of each layer's features, over some contents and paintings."""
        size = self.settings.sizes[0]
        images = resize_to(self.contents[:16].float() / 255, (size, size))
        generator = torch.Generator().manual_seed(0)
        paintings = [self._crop(picture, size, generator, vary=False) for picture in self.pictures[:16]]
        with torch.no_grad():
            features = self.encoder(torch.cat([images, *paintings]).to(self.device), self.decoder.layers)
        return torch.stack([features[layer].float().square().mean().sqrt() for layer in self.decoder.layers])


def _cut(picture: Tensor, side: int, place: Tensor) -> Tensor:
    """The square of a picture at a place, (2,) in [0, 1): (1, 3, side, side) float in [0, 1]."""
    top, left = ((torch.tensor(picture.shape[1:]) - side + 1) * place).long().tolist()
    return picture[None, :, top : top + side, left : left + side].float() / 255


def _varied(image: Tensor, generator: torch.Generator, colours: float = 0.2) -> Tensor:
    """Flipped half of the time; with probability ``colours`` its channels in another order, brighter or darker."""
    flip, change = torch.rand(2, generator=generator).tolist()
    if flip < 0.5:
        image = image.flip(3)
    if change < colours:
        image = image[:, torch.randperm(3, generator=generator)]
        gamma = 2 ** (2 * float(torch.rand((), generator=generator)) - 1)
        image = image.clamp_min(1e-3) ** gamma
    return image
