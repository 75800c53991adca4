"""A report beside a scan, and a draft from one: the embedded model on the phantom."""

import csv
import io
from dataclasses import replace

import pytest

from napari_ctvlp.core.checking import statements
from napari_ctvlp.core.drafting import draft_text
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.engine import verbs
from napari_ctvlp.engine.reporting import draft, report, report_csv
from napari_ctvlp.engine.wire import pack, unpack
from napari_ctvlp.errors import InputRefused

REPORT = """COMPARISON: A nodule was seen before.
FINDINGS: 20 mm nodule in the left lung. No pleural effusion or pneumothorax.
The heart is enlarged. The liver is unremarkable.
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The phantom, its anatomy and its encoding."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CTVLP_CACHE", str(tmp_path_factory.mktemp("cache")))
        scan = phantom((78, 56, 76), (4.0, 4.5, 4.5))
        anatomy = verbs.segment(scan, "classical")
        yield scan, anatomy, verbs.encode(scan, anatomy)


def test_statements_without_a_model():
    rows = statements(REPORT)
    assert [(r.sentence, r.section, r.finding, r.polarity) for r in rows] == [
        (1, "comparison", "", ""),
        (2, "findings", "nodule", "present"),
        (3, "findings", "effusion", "absent"),
        (3, "findings", "pneumothorax", "absent"),
        (4, "findings", "cardiomegaly", "present"),
        (5, "findings", "", ""),
    ]
    assert rows[1].phrase == "20 mm nodule in the left lung"
    assert (rows[1].side, rows[1].size_mm) == ("left", 20.0)
    for row in rows:
        assert " ".join(REPORT[row.start : row.end].split()) == row.text


def test_a_report_gets_the_answers_that_its_phrases_get(study):
    scan, anatomy, encoding = study
    shares = []
    table = report(
        scan,
        REPORT,
        anatomy=anatomy,
        encoding=encoding,
        progress=lambda share, stage: shares.append(share),
    )
    assert shares == sorted(shares)
    for row in table.rows:
        if not row.phrase:
            assert row.agreement == "not asked"
            assert row.reason
            continue
        heat = verbs.ground(scan, row.phrase, anatomy=anatomy, encoding=encoding)
        assert (row.verdict, row.peak_ras) == (heat.verdict, heat.peak_ras)
        assert row.score == pytest.approx(heat.peak)
        pair = {row.polarity, row.verdict}
        assert (row.agreement == "disagree") == (pair == {"present", "absent"})
        assert (row.agreement == "agree") == (len(pair) == 1)
    heart = next(row for row in table.rows if row.finding == "cardiomegaly")
    assert heart.agreement == "cannot tell"
    read = list(csv.DictReader(io.StringIO(report_csv(table))))
    assert [row["phrase"] for row in read] == [row.phrase for row in table.rows]


def test_a_draft_says_what_the_model_answers_and_abstains_elsewhere(study):
    scan, anatomy, encoding = study
    written = draft(scan, anatomy=anatomy, encoding=encoding)
    assert written.lines
    text = draft_text(written)
    assert "no diagnosis" in text
    for one in written.lines[:3]:
        heat = verbs.ground(scan, one.phrase, anatomy=anatomy, encoding=encoding)
        assert (one.verdict, one.score) == (heat.verdict, pytest.approx(heat.peak))
    denied = sum(line.startswith("No ") for line in text.splitlines())
    assert denied == sum(one.verdict == "absent" for one in written.lines)
    open_ones = [one for one in written.lines if one.verdict == "cannot tell"]
    assert text.count("Cannot tell:") == len({one.organ for one in open_ones})
    foreign = replace(written.unsupported[0], organ="left_lung_base")
    assert "(left lung base)" in draft_text(replace(written, unsupported=(foreign,)))


def test_both_cross_the_pipe(study):
    scan, anatomy, encoding = study
    table = report(scan, "No effusion.", anatomy=anatomy, encoding=encoding)
    kept = {}

    def put(array):
        kept[str(len(kept))] = array
        return str(len(kept) - 1)

    back = unpack(pack(table, put), kept.__getitem__)
    assert back.rows[0].phrase == table.rows[0].phrase
    assert back.rows[0].peak_ras == table.rows[0].peak_ras


@pytest.mark.parametrize("text", ["", " \n ", "No nodule. " * 10_001])
def test_what_is_no_report_is_refused_before_anything_is_computed(text):
    with pytest.raises(InputRefused, match="one report"):
        report(phantom((20, 20, 20), (4.0, 4.5, 4.5)), text)
