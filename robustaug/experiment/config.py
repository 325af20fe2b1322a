"""The configuration of an experiment: TOML, checked by pydantic, every mistake named in one line."""

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass

from robustaug.attacks import PGD, Norm, ThreatModel
from robustaug.data.augmentation import build_techniques
from robustaug.data.augmenter import ClassicalAugmenter
from robustaug.data.composite import Mix
from robustaug.errors import RobustAugError
from robustaug.evaluation.protocol import Protocol, on_base
from robustaug.files import read_toml
from robustaug.training import TrainingSettings

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, **_STRICT)


class DataSection(_Section):
    """Which images, and how they are split; see ``data.load_data``."""

    source: str
    labels: str | None = None  # a CSV; see ``data.labels``
    root: str | None = None
    size: int | None = None
    limit: int | None = None
    validation_share: float = 0.1
    test_share: float = 0.2
    train_share: float = 1.0
    attributes: str | None = None  # a CSV; see ``data.attributes``

    def arguments(self) -> dict[str, Any]:
        """The arguments of ``data.load_data``, but for the seed."""
        files = {"labels": self.labels, "root": self.root}
        return self.model_dump(exclude={"attributes"}) | {
            name: None if path is None else Path(path) for name, path in files.items()
        }


class ModelSection(_Section):
    """Which classifier; see ``models.build_model``."""

    name: str = "small_cnn"
    options: dict[str, Any] = Field(default_factory=dict)


class ThreatSection(_Section):
    """What the attacker may do; see ``attacks.ThreatModel``."""

    norm: Norm = "linf"
    eps: float | str = "8/255"

    def model(self) -> ThreatModel:
        """The threat model; images are in [0, 1]."""
        return ThreatModel(self.norm, self.eps)  # type: ignore[arg-type]  # a text such as "8/255" is parsed there


class StyleSection(_Section):
    """Stylised variants: paintings, how many, how strong."""

    paintings: str | None = None  # a folder; None is the embedded bank
    held_out: Annotated[int, Field(ge=1)] = 4  # paintings that only restyle test images
    method: Literal["gatys", "adain"] = "gatys"
    variants: Annotated[int, Field(ge=0)] = 500  # of training images
    strength: Annotated[float, Field(ge=0, le=1)] = 1.0
    preserve_color: bool = False
    source: Literal["disk", "loop"] = "disk"  # of the training images' styles; those of the loop are AdaIN's
    loop_strength: Annotated[float, Field(ge=0, le=1)] | None = None  # None: AdaIN's own for the size


@dataclass(config=_STRICT, frozen=True, kw_only=True)
class TrainingSection(TrainingSettings):
    """The training settings, and the training attack: PGD at the threat model."""

    attack_steps: int = 7
    attack_step_size: float | str | None = None

    def attack(self, threat: ThreatModel) -> PGD:
        """PGD from a random start, in the precision of the training."""
        return PGD(threat, self.precision, steps=self.attack_steps, step_size=self.attack_step_size)  # type: ignore[arg-type]


@dataclass(config=_STRICT, frozen=True)
class EvaluationSection(Protocol):
    """The evaluation protocol."""


class BalanceSection(_Section):
    """What brings classes with few training images up, in the arms that have a ``balance``; see ``data.balance``."""

    kind: Literal["classical", "stylised"] = "classical"
    techniques: tuple[str | dict[str, Any], ...] = ("affine", "brightness", "contrast")  # of the classical ones

    def augmenter(self) -> ClassicalAugmenter:
        """The classical techniques, in their order."""
        return ClassicalAugmenter(build_techniques(self.techniques, "balance.techniques"))


class ArmSection(_Section):
    """The shares of an arm's batches; what is left over are originals."""

    stylised: float = 0.0
    adversarial: float = 0.0
    original: float | None = None
    attacked_style: float = 0.0  # of the adversarial rows
    balance: Annotated[float, Field(gt=0, le=1)] | None = None  # every class's least share of the largest one's images

    def mix(self) -> Mix:
        """The shares, the originals' filled in."""
        rest = min(1.0, max(0.0, round(1 - self.stylised - self.adversarial, 9)))
        original = rest if self.original is None else self.original
        return Mix(original, self.stylised, self.adversarial, self.attacked_style)


_FOUR_ARMS = {
    "clean": ArmSection(),
    "adversarial": ArmSection(adversarial=1.0),
    "style": ArmSection(stylised=0.5),
    "adversarial+style": ArmSection(adversarial=0.75, stylised=0.25),
}


class ExperimentConfig(_Section):
    """Everything that decides the result of a run."""

    name: str = "run"
    seed: Annotated[int, Field(ge=0)] = 0
    data: DataSection
    model: ModelSection = ModelSection()
    threat: ThreatSection = ThreatSection()
    style: StyleSection = StyleSection()
    balance: BalanceSection = BalanceSection()
    training: TrainingSection = TrainingSection()
    evaluation: EvaluationSection = EvaluationSection()
    arms: dict[str, ArmSection] = Field(default_factory=lambda: dict(_FOUR_ARMS))

    @field_validator("evaluation", mode="before")
    @classmethod
    def _on_base(cls, evaluation: Any) -> Any:
        return on_base(evaluation) if isinstance(evaluation, dict) else evaluation

    @field_validator("arms")
    @classmethod
    def _check_arms(cls, arms: dict[str, ArmSection]) -> dict[str, ArmSection]:
        if not arms:
            raise RobustAugError("there is no arm to train; add for example [arms.clean]")
        for name in arms:
            if not name or set(name) - set(_ARM_CHARACTERS):
                raise RobustAugError(f"arm name {name!r} cannot name a folder; use letters, digits, +, - and _")
        return arms

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        self.training.attack(self.threat.model())
        self.balance.augmenter()
        for name, arm in self.arms.items():
            try:
                arm.mix().attacked_styles(self.training.batch_size)
                if arm.adversarial > 0:
                    self.training.check_share(arm.adversarial)
            except RobustAugError as error:
                raise RobustAugError(f"arms.{name}: {error}") from None
        if not any(arm.adversarial > 0 for arm in self.arms.values()):
            self.training.check_share(0)
        if self.needs_variants and self.style.variants == 0:
            raise RobustAugError(
                "style.variants is 0 but an arm has a stylised share; set style.variants, the share, or "
                "style.source = 'loop'"
            )
        if self.style.loop_strength is not None and self.style.source != "loop":
            raise RobustAugError("style.loop_strength is of styles made in the loop; set style.source = 'loop' too")
        return self

    @property
    def needs_variants(self) -> bool:
        """Whether an arm learns from stylised variants on disk."""
        return self.style.source == "disk" and any(arm.mix().styled for arm in self.arms.values())

    def to_toml(self) -> str:
        """The resolved configuration as TOML; settings that are not set are left out."""
        return tomli_w.dumps(_without_none(self.model_dump(mode="json")))


_ARM_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-_"


def load_config(path: Path, overrides: Iterable[str] = ()) -> ExperimentConfig:
    """Read a configuration file.

    Args:
        path: A TOML file.
        overrides: Texts ``KEY=VALUE`` with dotted keys, for example ``training.steps=500``, applied in order.

    Raises:
        RobustAugError: names the file, the key and, for an unknown key, the nearest known one.
    """
    return parse_config(read_toml(path, "configuration"), str(path), overrides)


def load_preset(name: Literal["demo", "demo-quick"], overrides: Iterable[str] = ()) -> ExperimentConfig:
    """Read a configuration that comes with the package."""
    preset = files("robustaug.experiment") / "presets" / f"{name}.toml"
    return parse_config(tomllib.loads(preset.read_text(encoding="utf-8")), f"{name}.toml", overrides)


def parse_config(content: dict[str, Any], where: str, overrides: Iterable[str] = ()) -> ExperimentConfig:
    """Check a configuration that has been read; ``where`` names it in errors.

    Raises:
        RobustAugError: as ``load_config``.
    """
    for override in overrides:
        _override(content, override)
    try:
        return ExperimentConfig.model_validate(content)
    except ValidationError as error:
        raise RobustAugError(f"{where}: {_first_problem(error)}") from None
    except RobustAugError as error:
        raise RobustAugError(f"{where}: {error}") from None


def parse_setting(text: str, example: str) -> tuple[str, Any]:
    """Key and value of ``KEY=VALUE``; the value is read as TOML, or else is a bare word such as linf or 8/255.

    Raises:
        RobustAugError: the text is something else; the message gives the example.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RobustAugError(f"--set {text!r} is not KEY=VALUE; write for example --set {example}")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def _override(content: dict[str, Any], text: str) -> None:
    key, value = parse_setting(text, "training.steps=500")
    *sections, last = key.split(".")
    place = content
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise RobustAugError(f"--set {key}: {section} is a value, not a section")
    place[last] = value


def _first_problem(error: ValidationError) -> str:
    # A value that may be of two types has a problem with each, under its key and the type's name: one is told.
    problems = {_key(each["loc"]): each for each in reversed(error.errors(include_url=False))}
    key, problem = list(problems.items())[-1]
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        arms = [str(part) for part in problem["loc"][1:2]] if problem["loc"][0] == "arms" else []
        known = list(_known_keys(ExperimentConfig, arms))
        nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
        return f"unknown key '{key}'; the nearest known one is '{nearest[0]}'{more}"
    if problem["type"] == "missing":
        hint = "; name a data set or a folder under [data] source" if key.startswith("data") else ""
        return f"'{key}' is missing{hint}{more}"
    return f"'{key}' = {problem.get('input')!r}: {problem['msg']}{more}"


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location if part not in ("float", "str"))


def _known_keys(section: type, arms: list[str], prefix: str = "") -> Iterator[str]:
    """Every dotted key that a section takes."""
    names = [field.name for field in fields(section)] if is_dataclass(section) else list(section.model_fields)  # type: ignore[attr-defined]
    hints = get_type_hints(section)
    for name in names:
        hint = hints[name]
        if get_origin(hint) is dict and get_args(hint)[1] is ArmSection:
            for arm in arms:
                yield from _known_keys(ArmSection, [], f"{prefix}{name}.{arm}.")
        elif isinstance(hint, type) and (is_dataclass(hint) or issubclass(hint, BaseModel)):
            yield from _known_keys(hint, arms, f"{prefix}{name}.")
        yield f"{prefix}{name}"


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_without_none(entry) for entry in value]
    return value
