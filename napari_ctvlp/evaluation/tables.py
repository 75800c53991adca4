"""The report of ``ctvlp evaluate`` as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Report = Mapping[str, Any]
_NAMES = {
    "random": "random map (mean)",
    "centre": "centre of the field",
    "hu": "HU heuristic",
}


def table(report: Report) -> str:
    """Return the whole report as lines of text for a terminal."""
    model = report["model"]["id"]
    lines = [
        f"Model {model}, protocol {report['protocol']}, frozen region {report['region']}.",
        "AUROC, AP and CNR count voxels of the region inside the phrase's gate; the ungated",
        "ones count the whole region. A peak hits within 8 mm of the reference.",
        "",
    ]
    for row in report["cases"]:
        lines += _case(row, model)
    lines += _seen(report["seen"])
    if report["missing"]:
        lines += [f"Not found, so not measured: {', '.join(report['missing'])}.", ""]
    return "\n".join([*lines, *_bars(report["bars"])])


def _case(row: Report, model: str) -> list[str]:
    """One case: model and baselines, then what the words do."""
    lines = [
        f"== {row['name']}: {row['reference_ml']:.1f} ml ({row['truth']}), "
        f"{row['covered']:.0%} of it in the region",
        *(f"   {side} lung Dice {_number(value)}" for side, value in row["lungs"].items()),
        f"   {'':22}{'AUROC':>8}{'AP':>8}{'CNR':>8}{'peak':>7} | "
        f"{'ungated':>8}{'CNR':>8}{'peak':>7}",
    ]
    main = row["main"]
    lines.append(_line(model, main, main["ungated_peak_hit"]))
    for name, values in row["baselines"].items():
        lines.append(_line(_NAMES[name], values, None))
    spread = row["baselines"]["random"]["auroc_sd"]
    lines.append(f"   random AUROC SD {_number(spread)}; peak of random: share of hits")
    for name, means in row["means"].items():
        lines.append(_means(name, means))
    return [*lines, *_words(row), ""]


def _line(name: str, values: Report, ungated_hit: bool | None) -> str:
    numbers = "".join(f"{_number(values[key]):>8}" for key in ("auroc", "ap", "cnr"))
    open_field = "".join(f"{_number(values[key]):>8}" for key in ("ungated_auroc", "ungated_cnr"))
    return (
        f"   {name:22}{numbers}{_hit(values['peak_hit']):>7} | {open_field}{_hit(ungated_hit):>7}"
    )


def _means(name: str, means: Report) -> str:
    low, high = means["auroc_95"]
    count = means["phrases"]
    return (
        f"   {name.replace('_', '-')} phrases ({count}): AUROC {_number(means['auroc'])} "
        f"[{_number(low)}, {_number(high)}], lowest {_number(means['auroc_lowest'])}, "
        f"AP {_number(means['ap'])}, CNR {_number(means['cnr'])}, "
        f"peaks {means['peak_hits']}/{count} gated, {means['ungated_peak_hits']}/{count} ungated"
    )


def _words(row: Report) -> list[str]:
    """What denial, other findings and unrelated words do, and the main phrase in full."""
    main, denial = row["main"], row["negation"]
    swaps = ", ".join(f"{name} {_number(value)}" for name, value in row["swaps"].items())
    unrelated = ", ".join(f"{text!r} {answer}" for text, answer in row["unrelated"].items())
    away = _number(main["peak_mm"], 1)
    return [
        f"   {main['phrase']!r}: {main['verdict']}, peak {_number(main['peak'])}, {away} mm away; "
        f"Dice {_number(main['dice'])}, IoU {_number(main['iou'])}, "
        f"energy {_number(main['energy'])}",
        f"   parser and gate off: asserted {_number(denial['asserted'])}, "
        f"denied {_number(denial['negated'])}",
        f"   mean inside the reference: {swaps}",
        f"   unrelated: {unrelated}",
    ]


def _seen(rows: Sequence[Report]) -> list[str]:
    if not rows:
        return []
    lines = ["== Seen by eye, no mask"]
    for row in rows:
        side = f" ({row['side']})" if row["side"] else ""
        point = row["peak_ras_mm"]
        where = "nowhere" if point is None else "R {:.0f}, A {:.0f}, S {:.0f} mm".format(*point)
        lines.append(
            f"   {row['name']}: {row['phrase']}{side}: {row['verdict']}, "
            f"peak {_number(row['peak'])} at {where}"
        )
    return [*lines, ""]


def _bars(rows: Sequence[Report]) -> list[str]:
    lines = ["== Bars"]
    for row in rows:
        word = "PASS" if row["passed"] else "FAIL"
        lines.append(
            f"   {word}  {row['bar']}: {_number(row['value'])} (needed {_number(row['needed'])})"
        )
    return lines


def _hit(value: float | bool | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "hit" if value else "miss"
    return f"{value:.2f}"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
