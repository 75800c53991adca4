"""What the small text tower reads in training: prose, words, and the glossary in many wordings.

General English comes from what is installed anyway: sentences in the docstrings of the standard
library and of permissively licensed packages, single words of MiniLM's vocabulary (Apache-2.0)
and short random strings of them. Medicine's own words come from code lists: SNOMED CT names in
pydicom (MIT) and the chapters of ICD-10-CM (United States, public domain) that a chest or abdomen
CT may show, through ``simple_icd_10_cm`` (MIT). None of it is committed or labelled; only the
teacher's vectors are learned from it.
"""

from __future__ import annotations

import hashlib
import math
import re
import sysconfig
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models.text_small import PADDING, START, UNKNOWN
from napari_ctvlp.training.synthesis import reports
from napari_ctvlp.training.synthesis.canvas import ANATOMIES, Chance, Painted
from napari_ctvlp.training.text_head import frames

#: Installed packages whose docstrings are read: BSD, MIT or Apache-2.0, PSF for the library.
PACKAGES = (
    "numpy", "scipy", "pandas", "sympy", "networkx", "skimage", "dask", "nibabel", "pydicom",
    "highdicom", "monai", "napari", "vispy", "torch", "transformers", "IPython", "pip", "rich",
    "setuptools", "pydantic", "huggingface_hub", "fontTools", "pygments", "mpmath", "tornado",
    "PIL", "aiohttp", "pytest", "_pytest", "jedi", "click", "typer", "psutil", "imageio", "pint",
)  # fmt: skip
_DOCUMENT = re.compile(r'"""(.{40,6000}?)"""', re.DOTALL)
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\n\s*\n")
_SENTENCE = re.compile(r"(?!.*--)[A-Z][A-Za-z',;:()\- ]{18,170}[.!?]?")
_WORDS = 4, 26
#: Chapters of ICD-10-CM: neoplasms, circulation, breathing, digestion, kidneys, symptoms and signs.
CHAPTERS = ("2", "9", "10", "11", "14", "18")
_NAME = re.compile(r"(?=.{4,90}$)[A-Za-z][A-Za-z',()\-]*(?: [A-Za-z',()\-]+){0,7}")
_KIND = re.compile(r"\s*\([^)]*\)$|, (?:unspecified|not elsewhere classified)\b.*$|\s+NOS$")
_PLACES = "", "", "apical", "upper", "middle", "lower", "basal", "hilar"


@dataclass(frozen=True)
class Wording:
    """A glossary term in a sentence.

    Attributes
    ----------
    text, term : str
    concept : int
        Row of the concept.
    denied : bool
    side : {"left", "right", ""}
    """

    text: str
    term: str
    concept: int
    denied: bool = False
    side: str = ""


def prose(folders: Iterable[Path], count: int, seed: int) -> list[str]:
    """Return up to ``count`` distinct English sentences of the docstrings under ``folders``."""
    found: set[str] = set()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            if "site-packages" in path.relative_to(folder).parts:
                continue
            text = path.read_text(encoding="utf-8", errors="ignore")
            for document in _DOCUMENT.findall(text):
                found.update(_sentences(document))
    return _some(sorted(found), count, seed)


def installed() -> list[Path]:
    """Return the folders that :func:`prose` reads on this computer."""
    paths = sysconfig.get_paths()
    folders = [Path(paths["stdlib"]), *(Path(paths["purelib"]) / name for name in PACKAGES)]
    return [folder for folder in folders if folder.is_dir()]


def code_names(count: int, seed: int) -> list[str]:
    """Return up to ``count`` names of findings, diseases and body parts from code lists.

    Raises
    ------
    InputRefused
        If ``simple_icd_10_cm`` is not installed.
    """
    from pydicom.sr.codedict import codes

    listed = [code.meaning for code in codes.SCT.concepts.values()]
    icd = _icd()
    for code in icd.get_all_codes():
        if icd.get_ancestors(code)[-1:] and icd.get_ancestors(code)[-1] in CHAPTERS:
            listed += [icd.get_description(code), *icd.get_inclusion_term(code)]
    names = {_KIND.sub("", name).strip() for name in listed}
    short = sorted(n for n in names if _NAME.fullmatch(n) and not n.endswith("breed"))
    return _some(short, count, seed)


def _icd() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return import_module("simple_icd_10_cm")
    except ImportError as error:
        raise InputRefused(
            "no-code-list", "the package simple_icd_10_cm.", "It is not installed.",
            "pip install 'napari-ctvlp[train]', or ask for no names (--names 0).",
        ) from error  # fmt: skip


def strings(words: Sequence[str], count: int, seed: int) -> list[str]:
    """Return ``count`` strings of two to five random words, frequent words more often."""
    rng = np.random.default_rng([seed, 7])
    odds = 1.0 / (200.0 + np.arange(len(words)))
    lengths = rng.integers(2, 6, count)
    picks = rng.choice(len(words), int(lengths.sum()), p=odds / odds.sum())
    parts = np.split(picks, np.cumsum(lengths)[:-1])
    return [" ".join(words[n] for n in part) for part in parts]


def held_out(
    terms: Mapping[str, Sequence[str]], also: Mapping[str, Sequence[str]], share: float = 0.1
) -> dict[str, list[str]]:
    """Return the terms kept from training: those ``also`` lists, and one in ten of each concept.

    The choice hangs on a term's own hash, so that a growing glossary keeps what was held out.
    """
    return {
        name: [t for t in listed if _rank(t) < share or t in also.get(name, ())]
        for name, listed in terms.items()
    }


def unseen(text: str, share: float = 0.03) -> bool:
    """Whether a general sentence is kept from training, to be measured on."""
    return _rank(text) < share


def wordings(
    terms: Mapping[str, Sequence[str]], rows: Mapping[str, int], times: int, seed: int
) -> list[Wording]:
    """Put each term bare, on either side, denied, and into other templates of the training.

    Parameters
    ----------
    terms : mapping of concept to terms
    rows : mapping of concept to row
    times, seed : int
    """
    out = []
    for name, listed in terms.items():
        for term in listed:
            rng = np.random.default_rng([seed, *term.encode()])
            out.append(Wording(term, term, rows[name]))
            for kind, (templates, denied) in frames("train").items():
                drawn = [templates[n] for n in rng.permutation(len(templates))]
                for side in ("left", "right") if kind == "side" else ("",):
                    fit = [text for text in drawn if side in text.split() or not side]
                    out += [
                        Wording(text.format(term), term, rows[name], bool(denied), side)
                        for text in fit[: times * (3 if denied else 1)]
                    ]
    return out


def report_sentences(rows: Mapping[str, int], count: int, seed: int) -> list[Wording]:
    """Return the distinct sentences of ``count`` reports of the grammar's training wordings.

    ``concept`` is -1 where a sentence is in doubt or calls an organ normal.
    """
    found: dict[str, Wording] = {}
    for number in range(count):
        dice = Chance(seed * 1_000_003 + number)
        painted = [_painted(dice) for _ in range(dice.integer(1, 4))]
        for said in reports.write(painted, [p.organ for p in painted], dice).sentences:
            sure = said.state in ("present", "absent")
            concept = rows.get(said.finding, -1) if sure else -1
            denied = said.state == "absent"
            found[said.text] = Wording(said.text, said.finding, concept, denied)
    return list(found.values())


def vocabulary(texts: Iterable[tuple[str, int]], size: int) -> Tokenizer:
    """Train a lower-case WordPiece vocabulary on texts, each counted as often as is said.

    The library breaks ties as it likes: two trainings may differ in a few pieces, so that a
    run keeps its vocabulary.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=[PADDING, UNKNOWN, START],
        show_progress=False,
        min_frequency=2,
        limit_alphabet=120,
    )
    tokenizer.train_from_iterator((text for text, n in texts for _ in range(n)), trainer)
    return tokenizer


def _painted(dice: Chance) -> Painted:
    """Draw a finding in an organ where the grammar knows it."""
    homes = {organ: reports.absent(organ, ()) for organ in ANATOMIES}
    organ = [organ for organ, listed in homes.items() if listed]
    where = organ[dice.integer(0, len(organ) - 1)]
    finding = homes[where][dice.integer(0, len(homes[where]) - 1)]
    side = _side(where.replace("_", " "))
    size = dice.log_uniform(4.0, 80.0) if dice.chance(0.6) else math.nan
    return Painted(finding, where, side, size, _PLACES[dice.integer(0, len(_PLACES) - 1)])


def _sentences(document: str) -> list[str]:
    pieces = (" ".join(piece.split()) for piece in _END.split(document))
    return [p for p in pieces if _SENTENCE.fullmatch(p) and _WORDS[0] <= p.count(" ") < _WORDS[1]]


def _some(texts: Sequence[str], count: int, seed: int) -> list[str]:
    order = np.random.default_rng(seed).permutation(len(texts))[:count]
    return [texts[n] for n in order]


def _side(text: str) -> str:
    return next((side for side in ("left", "right") if side in text.split()), "")


def _rank(text: str) -> float:
    """A number in 0..1 that hangs on the text alone."""
    return int.from_bytes(hashlib.sha256(text.lower().encode()).digest()[:6]) / 2**48
