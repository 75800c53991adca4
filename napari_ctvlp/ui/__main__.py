"""The window as a program: ``python -m napari_ctvlp.ui [view CT | demo --out DIR]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from napari_ctvlp.errors import CtvlpError, InputRefused

#: The name of the chest CT that ships with the package.
SAMPLE = "sample"
DEMO_PHRASE = "spiculated nodule in the left lower lobe"


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code (3 for a refused input, 1 for other failures)."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "demo":
            from napari_ctvlp.ui.demo import demo

            trained = options.full or options.ct == SAMPLE
            demo(options.out, options.ct, options.phrase, trained_on=trained, stay=options.stay)
        else:
            from napari_ctvlp.ui.window import view

            view(options.ct)
    except CtvlpError as error:
        print(f"{error.found}\nExpected: {error.expected}\n{error.advice}", file=sys.stderr)
        return 3 if isinstance(error, InputRefused) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="napari_ctvlp.ui", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    view = commands.add_parser("view", help="open a CT in the reading room")
    view.add_argument("ct", nargs="?", default=SAMPLE, help="file, DICOM folder or 'sample'")
    demo = commands.add_parser("demo", help="the whole path, with files for a report")
    demo.add_argument("--out", type=Path, default=Path("out/demo"))
    demo.add_argument("--ct", default=SAMPLE, help="file, DICOM folder or 'sample'")
    demo.add_argument("--phrase", default=DEMO_PHRASE)
    demo.add_argument("--full", action="store_true", help="the CT is the sample at full size")
    stay = argparse.BooleanOptionalAction
    demo.add_argument("--stay", action=stay, default=True, help="leave the window open")
    return parser


if __name__ == "__main__":
    sys.exit(main())
