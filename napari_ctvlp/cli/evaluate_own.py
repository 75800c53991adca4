"""``ctvlp evaluate`` on a user's own folder with ``labels.csv``."""

from __future__ import annotations

from pathlib import Path

from napari_ctvlp.cli.output import Outputs, say, terminal_progress
from napari_ctvlp.errors import InputRefused


def own(
    folder: Path,
    model: str,
    device: str,
    segmenter: str,
    calibrate: bool,
    *,
    out: Path | None,
    markdown: Path | None,
    png: Path | None,
) -> None:
    """Measure a model on a folder, and keep thresholds for it where asked to.

    Raises
    ------
    InputRefused
        If the table is not what it should be, or holds too little to calibrate on.
    """
    from napari_ctvlp.core.absence import Calibration
    from napari_ctvlp.engine import calibrations
    from napari_ctvlp.evaluation import tables
    from napari_ctvlp.evaluation.own import layout, measure
    from napari_ctvlp.evaluation.runner import plain

    with Outputs(folder) as outputs:
        progress = terminal_progress()
        report = plain(measure.run(folder, model, device, progress, segmenter))
        laid_out = layout.tables(report)
        if out:
            outputs.write_json(out, report)
        if markdown:
            half = outputs.add(markdown, (".md",))
            half.write_text(tables.markdown(laid_out) + "\n", encoding="utf-8")
        if png:
            layout.draw(report, outputs.add(png, (".png",)))
    print(tables.text(laid_out))
    if calibrate:
        if report["calibration"] is None:
            raise InputRefused(
                "too-few", "enough cases to calibrate on.", report["why"], "Add cases."
            )
        path = calibrations.own(model)
        calibrations.save(Calibration.of(report["calibration"]), path)
        say(f"From now on {model} answers by {path.name} of {report['calibration']['made']}; "
            "delete that file to go back.")  # fmt: skip
