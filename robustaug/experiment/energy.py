"""Energy that a run takes, where the machine lets it be read: the processors' own counters, and NVIDIA's GPUs'.

Both count for the whole chip: other programs on the same machine are in the number. Memory, disks, fans and the power
supply are not.
"""

import ctypes
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from robustaug.files import read_json, write_json
from robustaug.hardware import default_device

POWERCAP = Path("/sys/class/powercap")  # of Linux, see Documentation/power/powercap/powercap.rst in its sources
_LOOK_EVERY = 30.0  # seconds: a processor's counter may run over within a quarter of an hour
_KINDS = ("cpu", "gpu")


class Meter:
    """Joules on a counter that may run over.

    Args:
        read: The counter, in joules; raises OSError where it cannot be read.
        span: What it counts to before it begins at 0 again; None: it never does.
    """

    def __init__(self, read: Callable[[], float], span: float | None = None) -> None:
        self._read, self._span, self._last = read, span, read()
        self.joules = 0.0

    def look(self) -> None:
        """Add what was spent since the last look; to be called before the counter can run over twice."""
        now = self._read()
        self.joules += now - self._last + (self._span if self._span and now < self._last else 0.0)
        self._last = now


class EnergyLedger:
    """Joules of processors and GPU while the block runs, added to those of earlier pieces of the same work in a file.

    Args:
        path: A JSON file; None keeps nothing.
        powercap: Where Linux has its counters.
    """

    def __init__(self, path: Path | None, powercap: Path = POWERCAP) -> None:
        self._path = path
        self._before: dict[str, Any] = read_json(path) if path is not None and path.exists() else {}
        self._meters: dict[str, Sequence[Meter]] = {}
        self._reasons: dict[str, str] = {}
        for kind, found in (("cpu", processors(powercap)), ("gpu", gpu())):
            if isinstance(found, str):
                self._reasons[kind] = found
            elif self._before.get(f"{kind}_joules", 0.0) is None:
                self._reasons[kind] = "it could not be read in an earlier piece of the run"
            else:
                self._meters[kind] = found
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._keep()

    def total(self) -> dict[str, Any]:
        """``{"cpu_joules", "gpu_joules"}`` so far, None where it cannot be read, and ``not_readable``: why, by kind."""
        with self._lock:
            for kind, meters in list(self._meters.items()):
                try:
                    for meter in meters:
                        meter.look()
                except OSError as error:
                    del self._meters[kind]  # part of a sum is no sum
                    self._reasons[kind] = str(error.strerror or error)
            joules = {
                f"{kind}_joules": round(sum(meter.joules for meter in self._meters[kind]) + self._earlier(kind), 3)
                if kind in self._meters
                else None
                for kind in _KINDS
            }
            return joules | ({"not_readable": dict(self._reasons)} if self._reasons else {})

    def _earlier(self, kind: str) -> float:
        return float(self._before.get(f"{kind}_joules") or 0.0)

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_EVERY):
            self._keep()  # a killed piece has left what it had spent

    def _keep(self) -> None:
        total = self.total()
        if self._path is not None:
            write_json(self._path, total)


def processors(powercap: Path = POWERCAP) -> list[Meter] | str:
    """A meter for each processor package that Linux counts, or why there is none.

    ``psys``, the parts of a package, and a package's second face (``intel-rapl-mmio``) would count the same twice.
    """
    zones = []
    for zone in sorted(powercap.glob("intel-rapl:*")):
        with suppress(OSError):
            if re.fullmatch(r"intel-rapl:\d+", zone.name) and (zone / "name").read_text().startswith("package"):
                zones.append(zone)
    if not zones:
        return f"no processor package under {powercap}"
    try:
        return [Meter(partial(_joules, zone, "energy_uj"), _joules(zone, "max_energy_range_uj")) for zone in zones]
    except OSError as error:  # since 2020 Linux lets root alone read it
        return f"{zones[0] / 'energy_uj'}: {error.strerror or error}"
    except ValueError:
        return f"{zones[0] / 'energy_uj'} holds no number"


def gpu() -> list[Meter] | str:
    """A meter for the GPU that this library computes on, or why there is none."""
    device = default_device()
    if device.type != "cuda":
        return "no GPU is used"
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        identifier = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
        handle = ctypes.c_void_p()
        _nvml(library.nvmlInit_v2())
        _nvml(library.nvmlDeviceGetHandleByUUID(identifier, ctypes.byref(handle)))

        def read() -> float:
            millijoules = ctypes.c_ulonglong()
            _nvml(library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)))
            return millijoules.value / 1000

        return [Meter(read)]
    except (OSError, AttributeError) as error:
        return f"the driver does not tell: {error}"


def _joules(zone: Path, name: str) -> float:
    return int((zone / name).read_text()) / 1e6


def _nvml(code: int) -> None:
    if code != 0:
        raise OSError(f"NVML error {code}")
