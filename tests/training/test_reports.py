"""Reports say what was painted and nothing else."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_ctvlp.core.parser import parse
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.evaluation.protocol import protocol
from napari_ctvlp.training.synthesis import reports
from napari_ctvlp.training.synthesis.canvas import ANATOMIES, FINDINGS, Chance, Painted
from napari_ctvlp.training.synthesis.reports import FAMILIES, STATES, Report, write

ROOT = Path(reports.__file__).parent / "wording"
FACTS = tomllib.loads((ROOT / "facts.toml").read_text("utf-8"))
WORDING = {f: tomllib.loads((ROOT / f"{f}.toml").read_text("utf-8")) for f in FAMILIES}
SIZE = re.compile(r"(\d+(?:\.\d+)?) (mm|cm)")
TRAITS = (
    (),
    ("spiculated",),
    ("thick-walled", "fluid level"),
    ("lobar", "air bronchogram"),
    ("odd",),
)
PLACES = ("", "apical", "upper", "middle", "lower", "basal", "hilar", "peripheral")


def _drawn(seed: int) -> tuple[tuple[Painted, ...], tuple[str, ...]]:
    """Draw up to three findings in their organs, and which organs are in view."""
    dice = Chance(seed)
    painted = []
    for _ in range(dice.integer(0, 3)):
        finding = FINDINGS[dice.integer(0, len(FINDINGS) - 1)]
        homes = FACTS["home"][finding]
        organ = homes[dice.integer(0, len(homes) - 1)]
        side = organ.rpartition("_")[2] if "_" in organ else ""
        size = math.nan if dice.chance(0.3) else dice.log_uniform(2, 90)
        place = PLACES[dice.integer(0, len(PLACES) - 1)] if "lung" in organ else ""
        traits = TRAITS[dice.integer(0, len(TRAITS) - 1)]
        painted.append(Painted(finding, organ, side, size, place, traits))
    return tuple(painted), tuple(o for o in ANATOMIES if dice.chance(0.7))


def _many(count: int, family: str) -> Iterator[tuple[tuple[Painted, ...], Report]]:
    for seed in range(count):
        painted, organs = _drawn(seed)
        yield painted, write(painted, organs, Chance(seed + 1), family=family)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_painted_is_said_with_its_side_and_size(family: str):
    vague = {w: k for k in ("small", "large") for w in WORDING[family]["size"][k]}
    for painted, report in _many(300, family):
        said = [s for s in report.sentences if s.state in ("present", "uncertain")]
        for item in painted:
            texts = [s.text for s in said if (s.finding, s.organ) == (item.finding, item.organ)]
            assert texts
            if "_" in item.organ:
                other = "right" if item.side == "left" else "left"
                assert all(item.side in t.lower() and other not in t.lower() for t in texts)
            if not math.isnan(item.size_mm):
                assert any(_size_is_true(t, item, vague) for t in texts), (texts, item)
        assert len(said) == len(painted)


def _size_is_true(text: str, item: Painted, vague: dict[str, str]) -> bool:
    if found := SIZE.search(text):
        mm = float(found[1]) * (10 if found[2] == "cm" else 1)
        return abs(mm - item.size_mm) <= 0.51
    small, large = FACTS["size"].get(item.finding, FACTS["size"]["default"])
    words = {vague[w] for w in text.lower().split() if w in vague}
    return words == {"small" if item.size_mm < small else "large"} and not (
        small <= item.size_mm <= large
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_painted_is_denied(family: str):
    for painted, report in _many(300, family):
        for sentence in report.sentences:
            here = [p for p in painted if p.organ == sentence.organ]
            if sentence.state == "normal":
                assert not here
            if sentence.state == "absent":
                assert sentence.finding not in {p.finding for p in here}
                both = [p for p in painted if p.finding == sentence.finding]
                assert not both or {"left", "right"} & set(
                    re.findall(r"\w+", sentence.text.lower())
                )


def test_nothing_is_denied_of_what_may_be_there():
    for seed in range(200):
        report = write((), ANATOMIES, Chance(seed), unsure=("nodule", "ascites"))
        organs = {s.organ for s in report.sentences if s.state == "normal"}
        assert not organs & {"lung_left", "lung_right", "abdomen"}
        assert not {"nodule", "ascites"} & {s.finding for s in report.sentences}


def _strings(part: object) -> Iterator[str]:
    if isinstance(part, str):
        yield part.lower()
    for item in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _strings(item)


def test_the_held_out_wordings_share_nothing_with_training():
    train, held = (set(_strings(WORDING[f])) for f in FAMILIES)
    assert not train & held
    assert min(len(train), len(held)) > 200


def test_both_wordings_know_every_finding_and_organ():
    assert set(FACTS["home"]) == set(FINDINGS)
    for wording in WORDING.values():
        assert set(wording["findings"]) == set(FINDINGS)
        assert set(wording["normal"]) == set(ANATOMIES)
        assert set(FACTS["where"].values()) - {""} <= set(wording["places"])


def test_reports_hold_no_word_of_the_frozen_protocol():
    rules = protocol()
    kept_out = set(rules.kept_out)
    asked = {text.lower() for item in rules.catalogue.values() for text in item.held_out}
    assert not [t for f in FAMILIES for t in _strings(WORDING[f]) if any(a in t for a in asked)]
    words = {w for f in FAMILIES for t in _strings(WORDING[f]) for w in re.findall(r"[\w-]+", t)}
    assert not kept_out & words


def test_the_parser_reads_the_training_wordings():
    said = [s for _, report in _many(60, "train") for s in report.sentences if s.finding]
    read = [parse(s.text) for s in said]
    wrong = [s.text for s, p in zip(said, read, strict=True) if p.finding != s.finding]
    assert len(wrong) < 0.02 * len(said), wrong
    for sentence, phrase in zip(said, read, strict=True):
        assert phrase.negated == (sentence.state == "absent")
        assert phrase.uncertain or sentence.state != "uncertain"
        assert not phrase.side or sentence.organ.endswith(phrase.side)


def test_every_sentence_has_one_organ():
    for _, report in _many(100, "train"):
        parts = report.by_organ()
        assert list(parts) == [o for o in ANATOMIES if o in parts]
        assert sum(map(len, (p.split() for p in parts.values()))) == len(report.text.split())
        for sentence in report.sentences:
            assert sentence.text in parts[sentence.organ]
            assert sentence.state in STATES


def test_the_same_seed_gives_the_same_report():
    painted = (Painted("nodule", "lung_left", "left", 12.0, "upper", ("spiculated",)),)
    first, again, other = (write(painted, ANATOMIES, Chance(s)) for s in (3, 3, 4))
    assert first == again
    assert first != other


def test_ten_thousand_reports_are_well_formed():
    for family in FAMILIES:
        text = "\n".join(report.text for _, report in _many(5000, family))
        for wrong in ("  ", "{", "}", " .", " ,", "..", "()"):
            assert wrong not in text, wrong
        assert not re.findall(r"\b[Aa] (?=[aeio]|8|1[18]\b|u(?!ri|ni|re))", text)
        assert not re.findall(r"\b[Aa]n (?![aeiou8]|1[18]\b)", text)
        assert not re.findall(r"\b(\w+) \1\b", text)


@pytest.mark.parametrize(
    ("painted", "organs", "family"),
    [
        ((), ("liver",), "third"),
        ((), ("knee",), "train"),
        ((Painted("gout", "liver"),), ("liver",), "train"),
    ],
)
def test_unknown_names_are_refused(painted, organs, family):
    with pytest.raises(InputRefused):
        write(painted, organs, Chance(0), family=family)
