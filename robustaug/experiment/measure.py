"""One arm, measured into its folder: what is there already is not measured again."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from robustaug.attacks import ThreatModel
from robustaug.data import ImageSet
from robustaug.evaluation.harness import evaluate_arm, evaluation_work
from robustaug.evaluation.protocol import Protocol
from robustaug.evaluation.results import ArmEvaluation, load_evaluation, save_evaluation
from robustaug.evaluation.transfer import Surrogate
from robustaug.experiment.styled_test import StyledTest
from robustaug.hardware import default_device
from robustaug.progress import progress_bar


def measured(
    folder: Path,
    model: nn.Module,
    test: ImageSet,
    *,
    threat: ThreatModel,
    protocol: Protocol,
    styled: StyledTest,
    surrogates: Mapping[str, Surrogate] | None = None,
    seed: int,
) -> ArmEvaluation:
    """The evaluation in ``folder/evaluation.safetensors``, made if it is not there.

    While it is made, finished metrics stand in ``folder/parts``: a call that was killed goes on from there.

    Args:
        folder: The arm's; its name is the arm's.
        model: The classifier; it is moved to the default device.
        test: As for ``evaluate_arm``; so are the others.
        threat: The threat model.
        protocol: How much is measured.
        styled: Test images in styles that training does not know.
        surrogates: Other classifiers by name.
        seed: Of everything random.

    Raises:
        RobustAugError: as ``evaluate_arm``; or a file cannot be written.
    """
    path, parts = folder / "evaluation.safetensors", folder / "parts"
    if not path.exists():
        unseen, by_strength, conflicts = styled.unseen.images, styled.by_strength, styled.conflicts
        work = evaluation_work(test, unseen, threat, protocol, surrogates, by_strength, conflicts)
        with progress_bar(f"evaluating {folder.name}", work) as progress:
            evaluation = evaluate_arm(
                model.to(default_device()),
                test,
                threat=threat,
                protocol=protocol,
                stylised=unseen,
                by_strength=by_strength,
                conflicts=conflicts,
                surrogates=surrogates,
                seed=seed,
                folder=parts,
                progress=progress,
            )
        save_evaluation(path, evaluation)
    shutil.rmtree(parts, ignore_errors=True)
    return load_evaluation(path)
