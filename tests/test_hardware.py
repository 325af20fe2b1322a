"""What the machine is said to be, and which precision is chosen on it."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch

import robustaug
from robustaug import hardware
from robustaug.errors import RobustAugError
from robustaug.progress import progress_bar

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("fast", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_takes_bfloat16_only_where_it_is_fast(
    monkeypatch: pytest.MonkeyPatch, fast: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(hardware, "has_fast_bfloat16", lambda device: fast)
    assert hardware.resolve_precision("auto", CPU) == expected
    assert hardware.resolve_precision("float32", CPU) == torch.float32
    assert hardware.resolve_precision("bfloat16", CPU) == torch.bfloat16


def test_what_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, fast in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert hardware.has_fast_bfloat16(CUDA) is fast
    for amx in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda found=amx: found, raising=False)
        assert hardware.has_fast_bfloat16(CPU) is amx
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert hardware.has_fast_bfloat16(CPU) is False
    assert hardware.has_fast_bfloat16(torch.device("meta")) is False


def test_an_unknown_precision_is_refused() -> None:
    unknown: Any = "float16"
    with pytest.raises(RobustAugError, match="precision 'float16' is unknown; use auto, float32 or bfloat16"):
        hardware.resolve_precision(unknown, CPU)


def test_autocast() -> None:
    assert isinstance(hardware.autocast(torch.float32, CPU), nullcontext)
    with hardware.autocast(torch.bfloat16, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_a_gpu_is_sent_pinned_memory_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: calls.append("pinned") or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *where, **how: calls.append((where, how)) or self)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    hardware.to_device(torch.zeros(2), gpu)
    assert calls == ["pinned", ((gpu,), {"non_blocking": True})]
    calls.clear()
    hardware.to_device(torch.zeros(2), cpu)
    assert calls == [((cpu,), {})]


def test_descriptions() -> None:
    found = hardware.describe_hardware()
    assert set(found) == {"processor", "threads", "memory_gib", "accelerator", "fast_bfloat16", "system"}
    assert found["threads"] == torch.get_num_threads()
    assert found["memory_gib"] == round(hardware.total_memory() / 2**30, 1) > 0
    assert found["processor"]
    versions = hardware.describe_versions()
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert versions["robustaug"] == robustaug.__version__


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise hardware.PackageNotFoundError(package)

    monkeypatch.setattr(hardware, "version", missing)
    assert hardware.describe_versions()["scipy"] == "not installed"


def test_progress_is_quiet_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar("Working", total=3, done=1) as advance:
        advance()
        advance(1, "a note")
    assert capfd.readouterr() == ("", "")


def test_one_of_several_processes_shows_progress(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    shown = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with progress_bar("Working", total=3) as advance:
            advance()
        shown.append("Working" in capfd.readouterr().err)
    assert shown == [True, False]


def test_the_launcher_may_choose_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    devices = []
    for told in ("", "False", "True", "true"):
        monkeypatch.setenv("ACCELERATE_USE_CPU", told)
        devices.append(hardware.default_device().type)
    assert devices == ["cuda", "cuda", "cpu", "cpu"]


@pytest.mark.parametrize("api", ["new", "old"])
def test_exact_float32_turns_tf32_off_and_puts_everything_back(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn = torch.backends.cudnn
    if api == "old" and hasattr(cudnn, "conv"):
        monkeypatch.delattr(cudnn.__class__, "conv", raising=False)
        monkeypatch.delattr(cudnn, "conv", raising=False)
    if api == "new" and not hasattr(getattr(cudnn, "conv", None), "fp32_precision"):
        return  # a torch before 2.9 has the old one only

    def state() -> tuple[object, bool]:
        return (cudnn.conv.fp32_precision if api == "new" else cudnn.allow_tf32), cudnn.deterministic

    def failing() -> None:
        with hardware.exact_float32():
            assert state() == ("ieee" if api == "new" else False, True)
            raise ValueError

    before = state()
    with pytest.raises(ValueError):
        failing()
    assert state() == before
