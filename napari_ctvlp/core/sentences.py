"""A report as sentences, each with its section and its place in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: Headings by the section they begin; those of CHECKED speak of this scan.
_HEADINGS = {
    "findings": ("findings", "finding", "report", "lungs and pleura", "chest", "abdomen"),
    "impression": ("impression", "conclusion", "opinion", "summary", "assessment", "diagnosis"),
    "comparison": ("comparison", "comparisons", "prior studies", "compared with"),
    "technique": ("technique", "procedure", "protocol", "examination", "exam", "contrast"),
    "history": (
        "history", "indication", "clinical history", "clinical information", "clinical indication",
        "clinical question", "reason for exam", "reason for examination",
    ),
    "recommendation": ("recommendation", "recommendations", "advice"),
}  # fmt: skip
CHECKED = ("", "findings", "impression")
_SECTION = {word: section for section, words in _HEADINGS.items() for word in words}
_HEADING = re.compile(r"^[ \t]*([A-Za-z][A-Za-z ]{2,30}?)[ \t]*(?::|(?=\n|$))", re.MULTILINE)
_BULLET = re.compile(r"(?:[-*\u2022]|\(?\d{1,2}[.)])[ \t]+")
#: A mark that ends a sentence: before a blank and no small letter.
_END = re.compile(r"[.!?]+(?=[\"')\]]*(?:\s|$))")
#: Words whose full stop ends nothing.
_SHORT = frozenset({
    "approx", "ca", "cf", "dr", "e.g", "eg", "etc", "fig", "i.e", "ie", "im", "img", "incl", "max",
    "min", "mr", "mrs", "ms", "no", "nr", "pt", "resp", "se", "seg", "ser", "st", "vs", "prof",
    "dept", "sup", "inf", "ant", "post", "lat", "med",
})  # fmt: skip


@dataclass(frozen=True)
class Sentence:
    """One sentence of a report.

    Attributes
    ----------
    text : str
        With its line breaks made blanks.
    start, end : int
        Where it stands in the report.
    section : str
        ``"findings"``, ``"impression"``, ``"comparison"``, ``"technique"``, ``"history"``,
        ``"recommendation"``, or ``""`` before any heading.
    """

    text: str
    start: int
    end: int
    section: str = ""


def sentences(report: str) -> tuple[Sentence, ...]:
    """Split a report.

    Parameters
    ----------
    report : str
        Free text; headings stand at the beginning of a line, with a colon or alone in capitals.

    Returns
    -------
    tuple of Sentence
        In reading order. Decimals, abbreviations ("approx.", "Dr."), numbered lists and lines
        that are wrapped end no sentence.
    """
    found = []
    for section, start, end in _sections(report):
        for first, last in _pieces(report, start, end):
            text = " ".join(report[first:last].split())
            if any(letter.isalpha() for letter in text):
                found.append(Sentence(text, first, last, section))
    return tuple(found)


def _sections(report: str) -> Iterator[tuple[str, int, int]]:
    """Yield the sections with where their text begins and ends."""
    section, start = "", 0
    for hit in _HEADING.finditer(report):
        known = _SECTION.get(hit.group(1).strip().lower())
        alone = not hit.group().rstrip().endswith(":")
        if known is None or (alone and not hit.group(1).strip().isupper()):
            continue
        yield section, start, hit.start()
        section, start = known, hit.end()
    yield section, start, len(report)


def _pieces(report: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where the sentences of a range begin and end, without blanks and bullets."""
    begun = start
    for cut in [*_cuts(report, start, end), end]:
        first, last = begun, cut
        while first < last and report[first].isspace():
            first += 1
        bullet = _BULLET.match(report, first, last)
        first = bullet.end() if bullet else first
        while last > first and report[last - 1].isspace():
            last -= 1
        if last > first:
            yield first, last
        begun = cut


def _cuts(report: str, start: int, end: int) -> list[int]:
    """Return where sentences end: at marks that end one, and at lines that are not wrapped."""
    marks = [h.end() for h in _END.finditer(report, start, end) if _ends(report, start, h.start())]
    lines = [h.end() for h in re.compile(r"\n").finditer(report, start, end)]
    return sorted({*marks, *(line for line in lines if _is_new(report, start, line, end))})


def _ends(report: str, start: int, mark: int) -> bool:
    """Say whether a mark ends a sentence."""
    if report[mark] != ".":
        return True
    word = re.search(r"[\w.]*$", report[max(start, mark - 20) : mark])
    before = word.group().lower() if word else ""
    line = report.rfind("\n", 0, mark) + 1
    if before.isdigit() and not report[max(line, start) : mark - len(before)].strip():
        return False
    after = report[mark + 1 :].lstrip()[:1]
    if before == "no" and not after.isdigit():
        return True
    return before not in _SHORT and not (len(before) == 1 and before.isalpha())


def _is_new(report: str, start: int, line: int, end: int) -> bool:
    """Say whether a new line begins a sentence: not a line that was only wrapped."""
    before = report[max(start, line - 200) : line - 1].rstrip()
    after = report[line : min(end, line + 200)].lstrip(" \t")
    if not before or not after or after[0] == "\n" or report[line - 2 : line] == "\n\n":
        return True
    return bool(_BULLET.match(after)) or not (after[0].islower() or before[-1] in ",;-")
