"""What the machine is, and which precision is fast on it."""

import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from robustaug.errors import RobustAugError

Precision = Literal["auto", "float32", "bfloat16"]
Part = TypeVar("Part")


def default_device() -> torch.device:
    """CUDA where there is one, else the CPU; the CPU too where accelerate's launcher was told so."""
    told_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    return torch.device("cuda" if torch.cuda.is_available() and not told_cpu else "cpu")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device has matrix units for bfloat16: CUDA of compute capability 8 or later, or AMX on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        is_supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
        return bool(is_supported is not None and is_supported())
    return False


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; a GPU takes it when its own work allows, without the host waiting for that."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def free_memory(device: torch.device) -> int:
    """Bytes of memory that are free on a GPU; of a CPU, the main memory."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else total_memory()


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of convolutions and matrix products; ``auto`` takes bfloat16 only where it is fast.

    Raises:
        RobustAugError: an unknown name.
    """
    match precision:
        case "auto":
            return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
        case "float32":
            return torch.float32
        case "bfloat16":
            return torch.bfloat16
    raise RobustAugError(f"precision {precision!r} is unknown; use auto, float32 or bfloat16")


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[Any]:
    """Run convolutions and matrix products in ``dtype``; nothing changes for float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Let float32 mean float32 on CUDA, and convolutions repeat; the settings are restored afterwards.

    By default cuDNN rounds the inputs of float32 convolutions to TF32's 10 bits, and may choose kernels whose sums come
    in another order each time. On a CPU this changes nothing.
    """
    cudnn = torch.backends.cudnn
    convolution = getattr(cudnn, "conv", None)
    by_name = convolution is not None and hasattr(convolution, "fp32_precision")  # torch 2.9 and later
    place, name, value = (convolution, "fp32_precision", "ieee") if by_name else (cudnn, "allow_tf32", False)
    before, deterministic = getattr(place, name), cudnn.deterministic
    setattr(place, name, value)
    cudnn.deterministic = True
    try:
        yield
    finally:
        setattr(place, name, before)
        cudnn.deterministic = deterministic


@contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """Let float32 matrix products take their inputs as bfloat16 (CPU) or TF32 (CUDA) and sum in float32.

    Exact for inputs that were bfloat16 before: their products are float32 numbers. Torch before 2.9 multiplies as ever.
    """
    backend, value = (torch.backends.cuda, "tf32") if device.type == "cuda" else (torch.backends.mkldnn, "bf16")
    matmul: Any = getattr(backend, "matmul", None)
    if not hasattr(matmul, "fp32_precision"):
        yield
        return
    before = matmul.fp32_precision
    matmul.fp32_precision = value
    try:
        yield
    finally:
        matmul.fp32_precision = before


def in_fitting_batches(work: Callable[[slice], Part], n: int, size: int) -> list[Part]:
    """Do ``work`` on the rows 0 to n, ``size`` at a time, and half as many from where memory runs out.

    Raises:
        RobustAugError: memory runs out for a single image.
    """
    parts, start = [], 0
    while start < n:
        try:
            parts.append(work(slice(start, start + size)))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise RobustAugError("memory runs out for a single image; use a smaller model or image") from error
        else:
            start += size
            continue
        # Outside the handler, whose traceback would keep the failed batch's memory.
        size = (size + 1) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return parts


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def describe_hardware() -> dict[str, Any]:
    """Processor, cores, memory, accelerator and fast precision, for reports."""
    device = default_device()
    return {
        "processor": _processor_name(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(total_memory() / 2**30, 1),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "fast_bfloat16": has_fast_bfloat16(device),
        "system": f"{platform.system()} {platform.machine()}",
    }


def describe_versions() -> dict[str, str]:
    """Versions of this library and of what it computes with."""
    found = {"python": platform.python_version()}
    for package in ("robustaug", "torch", "torchvision", "numpy", "scipy", "safetensors"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def total_memory() -> int:
    """Bytes of main memory, or of the container's share of it."""
    if sys.platform == "win32":
        return 8 * 2**30  # no portable way in the standard library; a cautious guess
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()  # of a container
    except OSError:
        return memory
    return min(memory, int(limit)) if limit.isdigit() else memory


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
