"""A model that the user's own code builds: ``module:function``."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.models.foreign_files import Read, first_line


def call_function(source: str) -> Read:
    """Import a module, call its function without arguments, take the ``nn.Module`` that it returns.

    Args:
        source: ``module:function``, importable from the working directory or installed. **This runs the user's code.**

    Raises:
        RobustAugError: whatever goes wrong, in one line.
    """
    module_name, _, function_name = source.rpartition(":")
    with _working_directory_first() as folder:
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # the user's code may raise anything
            raise RobustAugError(
                f"model {source}: module {module_name!r} cannot be imported from {folder}: {_said(error)}"
            ) from error
        function = getattr(module, function_name, None)
        if not callable(function):
            raise RobustAugError(f"model {source}: {module_name} has no function {function_name!r}; check its name")
        try:
            model = function()
        except Exception as error:
            raise RobustAugError(
                f"model {source}: the function failed with {_said(error)}; it is called without arguments"
            ) from error
    if not isinstance(model, nn.Module):
        raise RobustAugError(f"model {source}: the function returned {type(model).__name__}; it must return nn.Module")
    return Read(model, "function", _fingerprint(model, module))


@contextmanager
def _working_directory_first() -> Iterator[str]:
    """The working directory is where ``python`` itself would look first; a console script does not look there."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield folder
    finally:
        sys.path.remove(folder)


def _fingerprint(model: nn.Module, module: ModuleType) -> str:
    """SHA-256 of the weights and of the files that hold the function and the model's class."""
    files = {getattr(place, "__file__", None) for place in (module, sys.modules.get(type(model).__module__))}
    parts = [sha256(Path(file).read_bytes()) for file in sorted(filter(None, files)) if Path(file).is_file()]
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor):
            parts.append(name + sha256(value.detach().cpu().flatten().view(torch.uint8).numpy().tobytes()))
    return sha256("\n".join(parts).encode())


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
