"""``ctvlp``: registers the commands and turns errors into words and exit codes."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from napari_ctvlp.cli.batch import batch
from napari_ctvlp.cli.doctor import doctor
from napari_ctvlp.cli.evaluate import evaluate
from napari_ctvlp.cli.evidence import evidence
from napari_ctvlp.cli.find import find
from napari_ctvlp.cli.ground import ground
from napari_ctvlp.cli.inspect import inspect
from napari_ctvlp.cli.models import models
from napari_ctvlp.cli.parse import parse
from napari_ctvlp.cli.radiograph import radiograph
from napari_ctvlp.cli.report import draft, report
from napari_ctvlp.cli.sample import sample
from napari_ctvlp.cli.score import score
from napari_ctvlp.cli.segment import segment
from napari_ctvlp.cli.session import session
from napari_ctvlp.cli.train import train
from napari_ctvlp.cli.view import view
from napari_ctvlp.errors import CtvlpError, InputRefused

#: The parser's context, whose class is another one in older versions of typer.
Context = Any
#: Exit code of an input that cannot be used, and of every other failure.
REFUSED, FAILED = 3, 1


class Commands(TyperGroup):
    """Runs a command; an error becomes one sentence and an exit code, a trace with --debug."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Take ``--debug`` wherever it stands before a bare ``--``."""
        end = args.index("--") if "--" in args else len(args)
        ctx.obj = {"debug": "--debug" in args[:end]}
        kept = [word for word in args[:end] if word != "--debug"]
        rest: list[str] = super().parse_args(ctx, kept + args[end:])
        return rest

    def invoke(self, ctx: Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, KeyboardInterrupt):
            raise
        except Exception as error:
            if ctx.obj["debug"] or _is_usage_error(error):
                raise
            raise typer.Exit(_tell(error)) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Look for a phrase in a chest CT. For research; not a medical device.",
)


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error.")] = False,
) -> None:
    """Look for a phrase in a chest CT. For research; not a medical device."""
    from napari_ctvlp.engine.own_vocabulary import refresh

    refresh()


#: The points after --at may begin with a minus sign.
app.command(context_settings={"ignore_unknown_options": True})(inspect)
for command in (
    view, segment, ground, score, report, draft, radiograph, session, parse, sample, doctor,
    evaluate, batch, find,
):  # fmt: skip
    app.command()(command)
app.add_typer(train, name="train")
app.add_typer(models, name="models")
app.add_typer(evidence, name="evidence")


def _tell(error: Exception) -> int:
    """Print what went wrong and return the exit code."""
    if isinstance(error, InputRefused):
        print(json.dumps({"error": error.as_dict()}, indent=2))
        print(error, file=sys.stderr)
        return REFUSED
    if isinstance(error, CtvlpError):
        print(error, file=sys.stderr)
    else:
        words = f"{type(error).__name__}: {error}. Run again with --debug for the details."
        print(f"This failed without a better explanation: {words}", file=sys.stderr)
    return FAILED


def _is_usage_error(error: Exception) -> bool:
    """Say whether the parser raised it: those print themselves and exit with 2."""
    return hasattr(error, "exit_code") and hasattr(error, "format_message")


if __name__ == "__main__":
    app()
