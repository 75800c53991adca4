"""The table of phrases, read as a reader would: see docs/phrases.md."""

from pathlib import Path

import pytest

from napari_ctvlp.core.vocabulary import findings, places
from napari_ctvlp.evaluation.phrases import outcomes, read_table, shares

TABLE = Path(__file__).with_name("phrases.csv")


@pytest.fixture(scope="module")
def found():
    """Every row of the table beside what the parser makes of it."""
    return outcomes(read_table(TABLE))


def test_the_table_uses_the_vocabulary_and_is_halved(found):
    readings = [reading for outcome in found for reading in outcome.row.readings]
    assert {reading[0] for reading in readings} <= {"", *findings()}
    assert {reading[1] for reading in readings} <= {"", *places()}
    parts = [outcome.row.part for outcome in found]
    assert len(parts) >= 500
    assert abs(parts.count("development") - parts.count("held-out")) <= 10
    assert len({outcome.row.phrase for outcome in found}) == len(parts)


@pytest.mark.parametrize("part", ["development", "held-out"])
def test_nineteen_of_twenty_phrases_are_read_right(found, part):
    mine = [outcome for outcome in found if outcome.row.part == part]
    right = shares(mine)
    misses = [o.row.phrase for o in mine if not o.whole] if part == "development" else []
    assert right["whole"] >= 0.95, (right, misses)
    assert right["change"] >= 0.95
    assert right["size_mm"] >= 0.95


def test_a_parser_that_denies_nothing_is_found_out(found):
    from dataclasses import replace

    from napari_ctvlp.core.parser import parse

    deaf = outcomes((o.row for o in found), lambda text: replace(parse(text), negated=False))
    assert shares(deaf)["whole"] < 0.8
