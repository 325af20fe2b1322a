"""Models in files that other tools wrote: TorchScript, ``torch.export``, ONNX.

None of them unpickles objects. A TorchScript file is a program of torch's own operations, an ONNX file a graph of
ONNX's. For a ``.pt2`` file torch's reader would unpickle, load compiled code and evaluate formulas (sympy): the first
is held to ``weights_only``, the second is refused, the third stays, so open only those of people you trust.
"""

import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.hardware import default_device

# Parts of a .pt2 that torch would run or unpickle; the names of an archive's parts stand in it as they are.
_REFUSED = {
    b"data/aotinductor/": "compiled code",
    b"constants/opaque_obj_": "pickled objects",
    b"constants/custom_obj_": "C++ objects",
}
_SHOWN = 200


@dataclass(frozen=True)
class Read:
    """What was found in a file, or what a function returned.

    Attributes:
        model: from images to logits.
        kind: what it is in words.
        sha256: of what it was read from.
        batches: the smallest and the largest batch that it takes; None is no limit.
        image_size: (H, W) that it takes; None where it does not say or takes any.
        forward_only: why it gives no gradients; None where it may.
    """

    model: nn.Module
    kind: str
    sha256: str
    batches: tuple[int, int | None] = (1, None)
    image_size: tuple[int, int] | None = None
    forward_only: str | None = None


def read_torchscript(path: Path) -> Read:
    """Read what ``torch.jit.save`` wrote; a frozen module could not follow to another device later.

    Raises:
        RobustAugError: no TorchScript, or damaged.
    """
    content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # newer torch would rather have torch.export
            model = torch.jit.load(io.BytesIO(content), map_location=default_device())  # type: ignore[no-untyped-call,unused-ignore]
    except (RuntimeError, ValueError) as error:
        raise RobustAugError(
            f"{path} is no whole TorchScript file ({first_line(error)}); save the model with torch.jit.save, or name "
            "module:function that builds it and loads its weights"
        ) from error
    return Read(model, "TorchScript file", sha256(content))


def read_export(path: Path) -> Read:
    """Read what ``torch.export.save`` wrote.

    It is put where the evaluation runs: its constants could not follow later.

    Raises:
        RobustAugError: no exported program, damaged, one with pickled objects or compiled code, or one that does not
            take a batch of colour images alone.
    """
    content = path.read_bytes()
    for mark, what in _REFUSED.items():
        if mark in content:
            raise RobustAugError(f"{path} holds {what}, which is not run; export the model with torch.export.save")
    try:
        with _weights_only(), _silence():
            program = torch.export.load(io.BytesIO(content))
            if default_device().type != "cpu":
                from torch.export.passes import move_to_device_pass  # noqa: PLC0415 - only where there is an accelerator

                program = move_to_device_pass(program, default_device())
            model = program.module()
    except Exception as error:  # torch's reader raises whatever a damaged archive makes it stumble on
        raise RobustAugError(
            f"{path} is no whole file of torch.export ({first_line(error)}); save the model with torch.export.save"
        ) from error
    inputs = set(program.graph_signature.user_inputs)
    nodes = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs]
    shapes = [node.meta["val"].shape for node in nodes]
    if len(shapes) != 1:
        raise RobustAugError(f"{path} takes {len(shapes)} inputs; export a model of one batch of images")
    batches, image_size = _of_shape(path, [_known(program, size) for size in shapes[0]])
    return Read(model, "torch.export file", sha256(content), batches, image_size)


def read_onnx(path: Path) -> Read:
    """Read an ONNX file, to be run forward only.

    Raises:
        RobustAugError: onnxruntime is not installed; a damaged file, or one that does not take a batch of colour
            images.
    """
    try:
        import onnxruntime  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise RobustAugError(f"{path} needs onnxruntime: pip install 'robustaug[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its exceptions share no base class of their own
        raise RobustAugError(f"{path} cannot be run by onnxruntime ({first_line(error)}); export it again") from error
    if len(session.get_inputs()) != 1:
        raise RobustAugError(f"{path} takes {len(session.get_inputs())} inputs; export a model of one batch of images")
    batches, image_size = _of_shape(
        path, [(size, size) if isinstance(size, int) else (1, None) for size in session.get_inputs()[0].shape]
    )
    # Large weights lie beside the file, in MODEL.onnx.data or the like.
    hashes = [sha256(file.read_bytes()) for file in sorted(path.parent.glob(f"{path.name}*")) if file.is_file()]
    reason = "an ONNX file runs forward only"
    return Read(OnnxModel(session), "ONNX file", sha256("".join(hashes).encode()), batches, image_size, reason)


class OnnxModel(nn.Module):
    """A session of onnxruntime as a module: images to logits, on the CPU or wherever the session computes.

    Args:
        session: an ``onnxruntime.InferenceSession`` with one input.
    """

    def __init__(self, session: Any) -> None:
        super().__init__()
        self.session = session
        self.input, self.output = session.get_inputs()[0], session.get_outputs()[0].name

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K), without a graph, where the images are."""
        half = "float16" in self.input.type
        values = images.detach().to("cpu", torch.float16 if half else torch.float32).contiguous().numpy()
        (logits,) = self.session.run([self.output], {self.input.name: values})
        return torch.from_numpy(logits).to(images.device, torch.float32)


READERS: dict[str, Callable[[Path], Read]] = {
    ".pt": read_torchscript,
    ".ts": read_torchscript,
    ".pt2": read_export,
    ".onnx": read_onnx,
}


def first_line(error: BaseException) -> str:
    """What an error says in one line; of TorchScript's tracebacks the last one, where the cause stands."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    line = lines[-1] if any("TorchScript interpreter" in line for line in lines) else lines[0]
    return line.rstrip(".;:")[:_SHOWN]


Size = tuple[int, int | None]  # smallest and largest; None is no limit


def _known(program: torch.export.ExportedProgram, size: int | torch.SymInt) -> Size:
    if isinstance(size, int):
        return size, size
    limits = program.range_constraints.get(size.node.expr)
    if limits is None:
        return 1, None
    largest = str(limits.upper)
    return max(1, int(limits.lower)), int(largest) if largest.isdigit() else None


def _of_shape(path: Path, shape: list[Size]) -> tuple[Size, tuple[int, int] | None]:
    """The batches and the image size of an input (N, 3, H, W)."""
    if len(shape) != 4 or not shape[1][0] <= 3 <= (shape[1][1] or 3):
        stated = ", ".join(str(low) if low == high else "?" for low, high in shape)
        raise RobustAugError(f"{path} takes input of shape ({stated}); export a model of images (N, 3, H, W)")
    (height, most_high), (width, most_wide) = shape[2:]
    return shape[0], (height, width) if height == most_high and width == most_wide else None


@contextmanager
def _weights_only() -> Iterator[None]:
    """Every ``torch.load`` in the block, torch's own too, reads tensors and plain values only."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch's own switch; it stands above what a call asks for
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _silence() -> Iterator[None]:
    """No log lines and warnings of torch's reader: what is wrong is said once, in one line."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
