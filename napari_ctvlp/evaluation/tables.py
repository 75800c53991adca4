"""The report of ``ctvlp evaluate`` as tables: for a terminal, and in Markdown for a model card."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]
_NAMES = {
    "random": "random map (mean)",
    "centre": "centre of the field",
    "hu": "HU rule",
    "blob": "largest blob",
}


@dataclass(frozen=True)
class Table:
    """Title, remarks, column names and rows of text."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def text(tables: Sequence[Table]) -> str:
    """Return tables for a terminal, columns aligned."""
    return "\n".join(line for table in tables for line in _text(table))


def markdown(tables: Sequence[Table]) -> str:
    """Return tables in Markdown."""
    return "\n".join(line for table in tables for line in _markdown(table))


def tables(report: Report) -> list[Table]:
    """Lay out a whole report."""
    found = [_about(report)]
    found += [_case(name, fact, report) for name, fact in report["facts"].items()]
    if report["facts"]:
        found += [_denial(report), _swaps(report)]
    if any(model["seen"] for model in report["models"]):
        found += [_seen(report), _whole_scan(report)]
    if any("synthetic" in model for model in report["models"]):
        found += [_painted(report), _presence(report), _painted_words(report)]
    return [*found, bars_table(report["models"], report.get("anatomy_bars", ()))]


def _about(report: Report) -> Table:
    """What was measured, and with what."""
    notes = [
        f"Protocol {report['protocol']}, region {report['region']}, measured by "
        f"{report['measure'][:12]} (code and protocol; equal for all columns).",
        "AUROC, AP and CNR count voxels of the region inside the gate of the case's main phrase,",
        "for models and baselines alike; ungated ones count the whole region. A peak hits within",
        "8 mm. Product: parser, gate, the card's rule. Raw: plain similarity, no side in the text.",
    ]
    if report["missing"]:
        notes.append(f"Not found, so not measured: {', '.join(report['missing'])}.")
    rows = [
        [
            model["name"],
            model["role"],
            ", ".join(sha[:12] for sha in model["weights"].values()),
            number(sum(model["encode_s"].values()), 0),
        ]
        for model in report["models"]
    ]
    return Table("Measured", ("weights", "role", "SHA-256", "encoding, s"), rows, notes)


def _case(name: str, fact: Report, report: Report) -> Table:
    """One contoured lesion: models by main phrase and means over phrases, then the baselines."""
    head = ("", "AUROC", "AP", "CNR", "peak", "false blobs", "ungated AUROC", "ungated CNR",
            "raw peak", "raw blobs")  # fmt: skip
    rows = []
    for model in report["models"]:
        measured = next(row for row in model["cases"] if row["name"] == name)
        rows.append([f"{model['name']}: {measured['main']['phrase']}", *_main(measured["main"])])
        for group, means in measured["means"].items():
            label = f"{model['name']}: {means['phrases']} {group.replace('_', '-')} phrases"
            rows.append([label, *_means(means)])
    for key, values in fact["baselines"].items():
        extra = f" (SD {number(values['auroc_sd'])})" if key == "random" else ""
        rows.append([_NAMES[key], number(values["auroc"]) + extra, *_baseline(values)])
    note = (
        f"{fact['reference_ml']:.1f} ml, {fact['length_mm']:.0f} mm ({fact['truth']}), "
        f"{fact['covered']:.0%} of it in the region. Means: AUROC [95 % over phrases], lowest; "
        "hits of phrases; blobs: median, most."
    )
    return Table(name, head, rows, (note,))


def _main(row: Report) -> list[str]:
    return [
        *(number(row[key]) for key in ("auroc", "ap", "cnr")),
        f"{_hit(row['peak_hit'])}, {number(row['peak_mm'], 0)} mm",
        number(row["blobs"], 0),
        *(number(row[key]) for key in ("ungated_auroc", "ungated_cnr")),
        f"{_hit(row['raw_peak_hit'])}, {number(row['raw_peak_mm'], 0)} mm",
        number(row["raw_blobs"], 0),
    ]


def _means(row: Report) -> list[str]:
    low, high = row["auroc_95"]
    count = row["phrases"]
    return [
        f"{number(row['auroc'])} [{number(low)}, {number(high)}], {number(row['auroc_lowest'])}",
        number(row["ap"]),
        number(row["cnr"]),
        f"{row['peak_hits']}/{count}",
        f"{number(row['blobs_median'], 0)}, {number(row['blobs_most'], 0)}",
        "",
        "",
        f"{row['raw_peak_hits']}/{count}",
        f"{number(row['raw_blobs_median'], 0)}, {number(row['raw_blobs_most'], 0)}",
    ]


def _baseline(row: Report) -> list[str]:
    peak = row["peak_hit"]
    return [
        *(number(row[key]) for key in ("ap", "cnr")),
        _hit(peak) if isinstance(peak, bool) else f"{peak:.0%} hit",
        number(row["blobs"], 0 if isinstance(row["blobs"], int) else 1),
        *(number(row[key]) for key in ("ungated_auroc", "ungated_cnr")),
        "",
        "",
    ]


def _denial(report: Report) -> Table:
    """Denial and finding type at each lesion, parser and gate off."""
    head = ("case", "weights", "asserted", "denied", "neutral SD", "SDs lower", "highest finding",
            "mass or nodule ahead by", "called", "should be")  # fmt: skip
    rows = []
    for model, row in _rows(report):
        no, rank = row["negation"], row["ranking"]
        best, mean = next(iter(rank["order"].items()))
        numbers = [number(no[key]) for key in ("asserted", "negated", "neutral_sd")]
        lead = f"{number(rank['margin'])} over {rank['rival']}"
        rows.append([row["name"], model, *numbers, number(no["sds"], 1),
                     f"{best} {number(mean)}", lead, rank["called"], rank["should"]])  # fmt: skip
    return Table("Denial and finding type at the lesion, parser and gate off", head, rows)


def _swaps(report: Report) -> Table:
    """Side-swap, finding-swap and paraphrase stability."""
    head = ("case", "weights", "named side has the peak, gate off", "wrong side lower, gate on",
            "side-swap: true", "swapped", "suppression of other findings",
            "stability: trained", "held-out")  # fmt: skip
    rows = []
    for model, row in _rows(report):
        side, stable = row["sides"], row["stability"]
        others = ", ".join(f"{name} {number(value)}" for name, value in row["suppression"].items())
        pairs = [f"{number(v['mean'])}, least {number(v['least'])}" for v in stable.values()]
        shares = [side["gate_off"], side["gate_on"], *side["side_swap"].values()]
        rows.append([row["name"], model, *map(number, shares), others, *pairs])
    return Table(
        "Swaps and paraphrases",
        head,
        rows,
        ("Suppression is 1 - mean map in the reference; the first is the case's own phrase.",),
    )


def _seen(report: Report) -> Table:
    """Findings seen by eye."""
    head = ("case", "finding", "weights", "verdict", "peak", "product peak at", "on its side",
            "in the box: plain, product (chance)", "SDs lower when denied")  # fmt: skip
    rows = []
    for model in report["models"]:
        for row in model["seen"]:
            at, box = row["peak_ras_mm"], row.get("box")
            where = "nowhere" if at is None else "R {:.0f} A {:.0f} S {:.0f}".format(*at)
            boxed = "" if box is None else f"{box['plain']}, {box['product']} ({box['chance']:.1%})"
            rows.append([row["name"], row["phrase"], model["name"], row["verdict"],
                         number(row["peak"]), where, str(row.get("on_side", "")), boxed,
                         number(row["negation"]["sds"], 1)])  # fmt: skip
    return Table("Seen by eye, no mask", head, rows)


def _whole_scan(report: Report) -> Table:
    """The highest findings over a whole scan."""
    head = ("case", "weights", "by mean of the highest 20 ml", "by peak over the card's threshold")
    rows: dict[tuple[str, str], list[str]] = {}
    for model in report["models"]:
        for row in (row for row in model["seen"] if "whole_scan" in row):
            found = [_best(row["whole_scan"][key]) for key in ("scores", "margins")]
            rows[row["name"], model["name"]] = [row["name"], model["name"], *found]
    return Table("Findings over the whole scan, highest first", head, list(rows.values()))


def _painted(report: Report) -> Table:
    """Painted findings: pointing and type, weights side by side."""
    names = [model["name"] for model in report["models"]]
    head = ["finding", "scans", *(f"{name}: peak hits (raw), type right (else)" for name in names)]
    rows = []
    for finding, first in report["models"][0]["synthetic"]["findings"].items():
        cells = []
        for model in report["models"]:
            row = model["synthetic"]["findings"][finding]
            other = f" ({row['taken_for']})" if row["taken_for"] else ""
            hits = f"{number(row['hits'], 2)} ({number(row['raw_hits'], 2)})"
            cells.append(f"{hits}, {number(row['first'], 2)}{other}")
        rows.append([finding, str(first["scans"]), *cells])
    for group, first in report["models"][0]["synthetic"]["pointing"].items():
        found = [model["synthetic"]["pointing"][group] for model in report["models"]]
        cells = [
            f"{number(row['hits'], 2)} [{', '.join(number(x, 2) for x in row['hits_95'])}] "
            f"({number(row['raw_hits'], 2)})"
            for row in found
        ]
        rows.append([f"all: {group}", str(first["scans"]), *cells])
    notes = [
        "Peaks within 8 mm, product's rule, wordings kept from training; intervals over scans."
    ]
    left_out = report["models"][0]["synthetic"]["not_painted"]
    if left_out:
        notes.append(f"No place for them in these CTs, so not measured: {', '.join(left_out)}.")
    return Table("Painted findings in validation CTs", head, rows, notes)


def _presence(report: Report) -> Table:
    """AUROC of presence by finding and anatomy."""
    head = ["finding", "anatomy", *(model["name"] for model in report["models"])]
    rows = [
        [finding, organ]
        + [
            number(model["synthetic"]["findings"][finding]["presence"][organ])
            for model in report["models"]
        ]
        for finding, row in report["models"][0]["synthetic"]["findings"].items()
        for organ in row["presence"]
    ]
    return Table("Presence by anatomy, AUROC", head, rows)


def _painted_words(report: Report) -> Table:
    """Swaps and stability on painted findings."""
    head = ("weights", "side-swap: true", "swapped", "suppression of other findings", "stability")
    keys = ("true_side", "swapped_side", "suppression", "stability")
    rows = [
        [model["name"], *(number(model["synthetic"]["swaps"][key]) for key in keys)]
        for model in report["models"]
    ]
    return Table("Painted findings: swaps and paraphrases", head, rows)


def bars_table(models: Sequence[Report], anatomy: Sequence[Report] = ()) -> Table:
    """Bars by row, sets of weights by column; mean and SD over seeds when there are several."""
    seeds = [model["name"] for model in models if model["role"] == "seed"]
    head = ["bar", "needed", *(model["name"] for model in models)]
    head += ["seeds: mean (SD)"] if len(seeds) > 1 else []
    names = list(dict.fromkeys(_bar_key(bar) for model in models for bar in model["bars"]))
    rows = []
    for name in names:
        found = {m["name"]: bar for m in models for bar in m["bars"] if _bar_key(bar) == name}
        first = next(iter(found.values()))
        row = [name, _needed(first), *(_cell(found.get(model["name"])) for model in models)]
        values = [found[s]["value"] for s in seeds if s in found]
        rows.append(row + ([_spread(values)] if len(seeds) > 1 else []))
    for bar in anatomy:
        blank = [""] * (len(head) - 3)
        rows.append([bar["bar"], _needed(bar), _cell(bar), *blank])
    return Table("Bars", head, rows)


def _bar_key(bar: Report) -> str:
    """Name of a bar without the rival, which differs between weights."""
    return str(bar["bar"]).partition(" (")[0]


def _needed(bar: Report) -> str:
    sign = "at most " if bar.get("most") else ""
    return sign + number(bar["needed"])


def _cell(bar: Report | None) -> str:
    return "" if bar is None else f"{number(bar['value'])} {'pass' if bar['passed'] else 'FAIL'}"


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return "-"
    return f"{number(statistics.mean(known))} ({number(statistics.stdev(known))})"


def _rows(report: Report) -> list[tuple[str, Report]]:
    """Every contoured case with the name of the weights, case by case."""
    pairs = [(model["name"], row) for model in report["models"] for row in model["cases"]]
    order = list(report["facts"])
    return sorted(pairs, key=lambda pair: order.index(pair[1]["name"]))


def _best(scores: Mapping[str, float | None], count: int = 6) -> str:
    known = {name: value for name, value in scores.items() if value is not None}
    best = sorted(known, key=lambda name: -known[name])[:count]
    return ", ".join(f"{name} {number(known[name])}" for name in best)


def _hit(value: bool) -> str:
    return "hit" if value else "miss"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits, a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def _text(table: Table) -> list[str]:
    """One table for a terminal."""
    lines = [f"== {table.title}", *(f"   {note}" for note in table.notes)]
    cells = [list(table.head), *map(list, table.rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(table.head))]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(("   " + "  ".join(padded)).rstrip())
    return [*lines, ""]


def _markdown(table: Table) -> list[str]:
    """One table in Markdown."""
    lines = [f"### {table.title}", "", *table.notes, ""] if table.notes else [f"### {table.title}"]
    rows = [table.head, ["---"] * len(table.head), *table.rows]
    return [*lines, "", *(f"| {' | '.join(row)} |" for row in rows), ""]
