"""``ctvlp find``: the scans of a store ranked by a phrase."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_ctvlp.cli.options import Device
from napari_ctvlp.cli.output import STDOUT, Outputs, as_json, say

if TYPE_CHECKING:
    from napari_ctvlp.cohort.find import Ranking

COLUMNS = ("rank", "scan", "organ", "score", "percentile", "answer")


def find(
    phrase: Annotated[str, typer.Argument(help="What to look for.")],
    *,
    store: Annotated[Path, typer.Option(help="A store written by ctvlp batch.")],
    where: Annotated[str, typer.Option(help="SQL, for example 'liver_ml > 2000'.")] = "",
    top: Annotated[int, typer.Option(min=1, help="How many scans.")] = 20,
    out: Annotated[Path | None, typer.Option(help="The ranking as .csv.")] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="The ranking as JSON; - prints it.")
    ] = None,
    paths: Annotated[bool, typer.Option(help="Name each file, from the id map.")] = False,
    device: Device = "auto",
) -> None:
    """Rank the scans of a store by a phrase; side and negation are understood."""
    from napari_ctvlp.cohort.find import find as search
    from napari_ctvlp.cohort.store import Store
    from napari_ctvlp.engine.export import plain

    opened = Store(store)
    for name, words in opened.damaged.items():
        say(f"{name}: {words}")
    ranking = search(opened, phrase, where=where, top=top, device=device)
    rows = [plain(row._asdict()) for row in ranking.rows]
    if paths:
        _name(opened, rows)
    answer = {
        "phrase": plain(ranking.phrase), "organs": ranking.organs, "judged": ranking.judged,
        "answers": ranking.limits.words, "rows": rows,
    }  # fmt: skip
    with Outputs(store) as outputs:
        if out:
            with outputs.add(out, (".csv",)).open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, [*COLUMNS, *(["path"] if paths else [])])
                writer.writeheader()
                writer.writerows(rows)
        if json_out and json_out != STDOUT:
            outputs.write_json(json_out, answer)
    _summarise(ranking, rows)
    if json_out == STDOUT:
        print(as_json(answer))


def _name(store: Any, rows: list[dict[str, Any]]) -> None:
    from napari_ctvlp.cohort.inputs import IdMap

    ids = IdMap(store).rows
    for row in rows:
        row["path"] = ids.get(row["scan"], {}).get("path", "")


def _summarise(ranking: Ranking, rows: list[dict[str, Any]]) -> None:
    looked = ", ".join(ranking.organs).replace("_", " ") or "the whole scan"
    least = "least like it first" if ranking.phrase.negated else "most like it first"
    say(f"“{ranking.phrase.query}” in {looked}; {ranking.judged} scans, {least}.")
    for row in rows:
        percentile = f"{row['percentile']:.0f} %"
        say(
            f"{row['rank']:>4} {row['scan']} {row['organ']:<14}{row['score']:+.3f} "
            f"{percentile:>6} {row['answer']} {row.get('path', '')}".rstrip()
        )
    say(ranking.limits.words)
