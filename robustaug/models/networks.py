"""The three networks that are written here: a small CNN, a wide ResNet-8 and the pre-activation ResNet-18."""

import torch.nn.functional as F
from torch import Tensor, nn

from robustaug.errors import RobustAugError


def small_cnn(num_classes: int, image_size: tuple[int, int], width: int = 16) -> nn.Sequential:
    """A small ReLU network for digits and small photographs, after the MNIST network of Madry et al. (2018).

    Blocks of one convolution with stride 2, ``width``, 2 ``width``, ... channels (at most 4 ``width``), until the map
    is at most 8 pixels high and wide (at least two blocks); then a dense layer of 8 ``width``.

    Deviations from Madry et al.: strided 4x4 convolutions in place of 5x5 convolutions and max pooling (several times
    fewer operations; an adversarial step costs several passes), and a smaller dense layer.

    Args:
        num_classes: number of logits.
        image_size: (H, W), at least 16 pixels each.
        width: channels of the first block.

    Raises:
        RobustAugError: an image smaller than 16 pixels, or a width below 1.
    """
    height, image_width = image_size
    if min(image_size) < 16:
        raise RobustAugError(f"small_cnn works from 16 px up, the images are {height}x{image_width}; enlarge them")
    _check_width("small_cnn", width)
    layers: list[nn.Module] = []
    channels, blocks = 3, 0
    while blocks < 2 or max(height, image_width) > 8:
        out = width * min(2**blocks, 4)
        layers += [nn.Conv2d(channels, out, kernel_size=4, stride=2, padding=1), nn.ReLU()]
        channels, blocks = out, blocks + 1
        height, image_width = height // 2, image_width // 2
    dense = 8 * width
    head = [nn.Flatten(), nn.Linear(channels * height * image_width, dense), nn.ReLU(), nn.Linear(dense, num_classes)]
    return nn.Sequential(*layers, *head)


class PooledStage(nn.Module):
    """A stage of ``WideResNet8``: half the height and width, then a residual convolution.

    x = relu(bn(pool(conv(x)))), and x + relu(bn(conv(x))).
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, channels, H // 2, W // 2)."""
        x = F.relu(self.bn1(F.max_pool2d(self.conv1(x), 2)))
        return x + F.relu(self.bn2(self.conv2(x)))


class WideResNet8(nn.Module):
    """A residual network of eight layers for small images and little computing time.

    As deep as the smallest network of He et al. (2016a, section 4.2: 6n + 2 layers, n = 1), and wider: a 3x3 stem of
    ``width`` / 2 channels, three stages of ``width``, 2 and 4 ``width``, global max pooling, a dense layer.

    Deviations from He et al., each for time: a stage pools behind its first convolution and before the batch norm, as
    Page's fast CIFAR networks (2018) nearly do, so that most of the work is done on small maps with many channels,
    where matrix units are used best; one convolution in the residual, not two.

    Args:
        num_classes: number of logits.
        image_size: (H, W), at least 8 pixels each.
        width: channels of the first stage.

    Raises:
        RobustAugError: an image smaller than 8 pixels, or a width below 2.
    """

    def __init__(self, num_classes: int, image_size: tuple[int, int], width: int = 64) -> None:
        super().__init__()
        _check_width("wide_resnet8", width, least=2)
        if min(image_size) < 8:
            raise RobustAugError(f"wide_resnet8 works from 8 px up, the images are {image_size[0]}x{image_size[1]}")
        self.stem = nn.Conv2d(3, width // 2, 3, padding=1)
        self.stages = nn.Sequential(
            PooledStage(width // 2, width), PooledStage(width, 2 * width), PooledStage(2 * width, 4 * width)
        )
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of normalised images (N, 3, H, W)."""
        features = self.stages(F.relu(self.stem(x)))
        logits: Tensor = self.head(features.amax(dim=(2, 3)))
        return logits


class PreActBlock(nn.Module):
    """The basic residual unit with full pre-activation: He, Zhang, Ren and Sun (2016b), figure 4(e).

    Where the shape changes, the shortcut is a 1x1 convolution of the pre-activated input.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = (
            nn.Conv2d(channels_in, channels, 1, stride, bias=False) if stride != 1 or channels_in != channels else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, channels, H / stride, W / stride)."""
        active = F.relu(self.bn1(x))
        residual: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return residual + (x if self.shortcut is None else self.shortcut(active))


class PreActResNet18(nn.Module):
    """Pre-activation ResNet-18 for small images: He, Zhang, Ren and Sun (2016b), "Identity Mappings".

    The CIFAR variant that the adversarial-training literature uses: a 3x3 stem with stride 1 and no pooling, four
    stages of two units with ``width``, 2, 4 and 8 ``width`` channels, a last batch norm and ReLU, global average
    pooling.
    """

    def __init__(self, num_classes: int, width: int = 64) -> None:
        super().__init__()
        _check_width("preact_resnet18", width)
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        units: list[nn.Module] = []
        channels = width
        for stage in range(4):
            out = width * 2**stage
            units += [PreActBlock(channels, out, stride=1 if stage == 0 else 2), PreActBlock(out, out, stride=1)]
            channels = out
        self.units = nn.Sequential(*units)
        self.bn = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of normalised images (N, 3, H, W)."""
        features = F.relu(self.bn(self.units(self.stem(x))))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def _check_width(name: str, width: int, least: int = 1) -> None:
    if isinstance(width, bool) or not isinstance(width, int) or width < least:
        raise RobustAugError(f"{name}: width {width!r} must be a whole number from {least} up")
