"""``ctvlp report`` and ``ctvlp draft``: tables, text, and refusals that leave nothing behind."""

import csv
import json

REPORT = "FINDINGS: Nodule in the left lung. No pleural effusion.\nTECHNIQUE: 2.5 mm slices.\n"


def test_a_report_becomes_a_table_and_json(ctvlp, ct, tmp_path):
    text, rows = tmp_path / "report.txt", tmp_path / "rows.csv"
    text.write_text(REPORT, encoding="utf-8")
    done = ctvlp("report", str(ct), str(text), "--out", str(rows), "--json", "-")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert [row["polarity"] for row in facts["rows"]] == ["present", "absent", ""]
    assert [row["section"] for row in facts["rows"]] == ["findings", "findings", "technique"]
    with rows.open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["verdict"] for row in read] == [row["verdict"] or "" for row in facts["rows"]]
    shown = ctvlp("report", str(ct), str(text))
    assert "2 statements asked" in shown.stderr
    assert "Nodule in the left lung" in shown.stdout


def test_a_draft_is_written_as_text(ctvlp, ct, tmp_path):
    out = tmp_path / "draft.txt"
    done = ctvlp("draft", str(ct), "--out", str(out))
    assert done.exit_code == 0, done.output
    assert out.read_text(encoding="utf-8") == done.stdout
    assert done.stdout.startswith("DRAFT")


def test_what_is_no_report_is_refused(ctvlp, ct, tmp_path):
    broken, out = tmp_path / "broken.txt", tmp_path / "rows.csv"
    broken.write_bytes(b"\xff\xfe\x00")
    for name in (broken, tmp_path / "missing.txt"):
        done = ctvlp("report", str(ct), str(name), "--out", str(out))
        assert done.exit_code == 3
        assert json.loads(done.stdout)["error"]["code"] == "not-a-report"
    assert not out.exists()
