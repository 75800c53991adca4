"""``ctvlp models``: which models there are, where their files come from, what state they are in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_ctvlp.cli.output import as_json, say, terminal_progress

if TYPE_CHECKING:
    from napari_ctvlp.models.protocol import ModelCard

models = typer.Typer(
    no_args_is_help=True, help="List, fetch, import, verify and delete hosted models."
)
Id = Annotated[str, typer.Argument(metavar="ID", help="Card id, as `ctvlp models list` has it.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@models.command("list")
def list_models(*, json_out: Json = False) -> None:
    """List every model: kind, state, size, licence."""
    from napari_ctvlp.models import store

    rows = [_row(card) for card in store.cards()]
    if json_out:
        print(as_json({"offline": store.offline(), "models": rows}))
        return
    for row in rows:
        size = f"{row['size_mb']:.0f} MB"
        print(f"{row['id']:<22}{row['kind']:<11}{row['state']:<9}{size:>9}  {row['licence']}")


@models.command()
def show(model: Id, *, json_out: Json = False) -> None:
    """Show one card: what it is for, its licence, its files and where to get them."""
    from napari_ctvlp.models import store

    card = store.card(model)
    row = _row(card)
    if json_out:
        print(as_json(row))
        return
    for name, value in row.items():
        lines = value if isinstance(value, list) else [value]
        heads = [name.replace("_", " "), *[""] * len(lines)]
        for head, line in zip(heads, lines, strict=False):
            print(f"{head:<16}{line}")


@models.command()
def get(model: Id) -> None:
    """Fetch a model's files at the pinned revision; what has come is kept and continued."""
    from napari_ctvlp.engine.weights import fetch_model

    say(fetch_model(model, terminal_progress()))


@models.command("import")
def import_files(
    model: Id,
    path: Annotated[Path, typer.Argument(help="A file of the model, or a folder that holds it.")],
    *,
    name: Annotated[str, typer.Option(help="Which file it is, when it is called otherwise.")] = "",
) -> None:
    """Copy files that you already have into the model's folder."""
    from napari_ctvlp.engine.weights import import_model

    say(import_model(model, path, name, terminal_progress()))


@models.command()
def verify(model: Id) -> None:
    """Hash a model's files again and compare its tensors with what it needs."""
    from napari_ctvlp.engine.weights import verify_model

    print(verify_model(model, terminal_progress()))


@models.command()
def delete(model: Id) -> None:
    """Delete a hosted model's files."""
    from napari_ctvlp.models import store

    say(f"{store.delete(store.card(model)):.0f} MB were freed.")


@models.command()
def accept(model: Id) -> None:
    """Accept a model's licence; asked once."""
    from napari_ctvlp.models import store

    card = store.card(model)
    store.accept(card)
    say(f"You have accepted the licence of {card.id}: {card.licence}")


@models.command()
def offline(state: Annotated[str, typer.Argument(metavar="on|off")]) -> None:
    """Switch the network off, or on again, for this program."""
    from napari_ctvlp.models import store

    if state not in ("on", "off"):
        raise typer.BadParameter("on or off")
    store.set_offline(state == "on")
    say("Nothing will use the network." if store.offline() else "Models may be fetched.")


def _row(card: ModelCard) -> dict[str, Any]:
    """Return what is told of a model."""
    from napari_ctvlp.models import store

    state, hosted = store.state_of(card), store.bundle(card)
    files = [name for name, _ in card.weights]
    if hosted:
        files = [file.name + (" (optional)" if file.optional else "") for file in hosted.files]
    return {
        "id": card.id,
        "title": card.title,
        "kind": card.kind,
        "state": state.word,
        "reason": state.reason,
        "licence": card.licence,
        "accepted": store.accepted(card),
        "population": hosted.population if hosted else "",
        "summary": card.summary,
        "source": card.source,
        "known_failures": list(card.known_failures),
        "files": files,
        "size_mb": hosted.size_mb if hosted and not state.size_mb else round(state.size_mb, 1),
        "folder": str(state.folder),
        "where": hosted.where if hosted else "ships with the package",
        "revision": f"{hosted.repo} at {hosted.revision}" if hosted and hosted.repo else "",
    }
