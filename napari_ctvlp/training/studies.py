"""Checked studies of the user, prepared for training: a chest on 2 mm and its own sentences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from napari_ctvlp.core.geometry import to_ipl
from napari_ctvlp.engine.opening import open_scan
from napari_ctvlp.engine.verbs import segment
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.read import read_path
from napari_ctvlp.models.protocol import Encoder, Progress, silent
from napari_ctvlp.training.data import Case, Chest, assemble, totalsegmentator
from napari_ctvlp.training.manifest import Study
from napari_ctvlp.training.own_reports import read_report
from napari_ctvlp.training.synthesis.reports import Sentence
from napari_ctvlp.training.trunks import Example, example

#: The manifest's words for the roles of training scans.
ROLES = {"": "train", "train": "train", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class OwnStudy:
    """What training takes from one study of the user.

    Attributes
    ----------
    id : str
        As in the manifest; ``chest.case.name`` is the start of the content's digest.
    chest : Chest
        ``case.role`` follows the split; its real findings are not drawn, so dense negatives of
        findings are left out where thick dense tissue lies (``unknown_findings``).
    sentences : tuple of Sentence
        Its own report by organ, in place of the grammar's.
    """

    id: str
    chest: Chest
    sentences: tuple[Sentence, ...]


def prepare_studies(
    studies: Sequence[Study],
    folder: Path,
    *,
    segmenter: str = "anatomy",
    progress: Progress = silent,
) -> list[OwnStudy]:
    """Prepare what is not in ``folder`` yet and return all of it.

    Parameters
    ----------
    studies : sequence of Study
        Of :func:`napari_ctvlp.training.manifest.read_manifest`.
    folder : Path
        Receives one ``.npz`` and one ``.json`` per study, named after the content's digest.
    segmenter : str
        Card id; a study's own label map is written over its organs.
    progress : callable
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number, study in enumerate(studies):
        progress(number / len(studies), study.id)
        path = folder / f"{study.digest[:16]}.npz"
        chest = Chest.load(path) if path.exists() else _prepared(study, folder, segmenter)
        if not path.exists():
            chest.save(path)
        sentences = read_report(study.report).sentences
        rows = [asdict(sentence) for sentence in sentences]
        path.with_suffix(".json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
        made.append(OwnStudy(study.id, chest, sentences))
    return made


def examples(
    studies: Sequence[Study],
    encoder: Encoder,
    organs: Sequence[str],
    *,
    segmenter: str = "anatomy",
    progress: Progress = silent,
) -> tuple[list[Example], tuple[str, ...]]:
    """Run a trunk over labelled studies.

    Parameters
    ----------
    studies : sequence of Study
    encoder : Encoder
    organs : sequence of str
        Region that is judged, as in :func:`napari_ctvlp.training.trunks.example`.
    segmenter : str
    progress : callable

    Returns
    -------
    tuple
        Examples and the names of their labels.
    """
    names = tuple(dict.fromkeys(name for study in studies for name in study.labels))
    made = []
    for number, study in enumerate(studies):
        progress(number / len(studies), study.id)
        scan = open_scan(study.ct)
        values = [study.labels.get(name, float("nan")) for name in names]
        made.append(
            example(
                encoder,
                scan,
                segment(scan, segmenter),
                organs,
                name=study.id,
                patient=study.patient,
                labels=values,
                split=study.split,
            )
        )
    return made, names


def _prepared(study: Study, folder: Path, segmenter: str) -> Chest:
    """Resample, segment and label one study; 0 in its label map says nothing."""
    name = study.digest[:16]
    scan = open_scan(study.ct)
    masks = folder / "masks"
    if study.masks is not None:
        masks.mkdir(exist_ok=True)
        _write_organs(study.masks, masks / f"{name}.nii.gz")
    case = Case(name, name, 1.0, role=ROLES[study.split])
    return assemble(case, scan, segment(scan, segmenter), folder / name, masks)


def _write_organs(masks: Path, path: Path) -> None:
    """Bring a label map of any format to the NIfTI that the preparation reads."""
    import nibabel

    volume = read_path(masks).volumes[0]
    labels, affine = to_ipl(np.asarray(volume.data), volume.affine)
    if labels.min() < 0 or labels.max() > 255:
        raise InputRefused(
            "bad-masks",
            "organ ids from 0 to 255 (TotalSegmentator's numbering).",
            f"{masks.name} holds {int(labels.min())} to {int(labels.max())}.",
            "Renumber it or leave the column empty.",
        )
    image = nibabel.Nifti1Image(totalsegmentator(labels.astype(np.uint8), masks), affine)
    nibabel.loadsave.save(image, path)
