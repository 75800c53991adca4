"""One scan through the public API: open, segment, encode once, ask for several phrases.

    python examples/one_scan.py [CT] [PHRASE ...]

Without arguments it opens the sample chest CT that ships with the package.
"""

from __future__ import annotations

import sys

from napari_ctvlp import encode, ground, open_scan, score, segment
from napari_ctvlp.core.resources import sample_folder

PHRASES = ("spiculated nodule in the left lower lobe", "no pleural effusion")


def main(path: str, phrases: tuple[str, ...]) -> None:
    """Print the organs, what each phrase found and the five highest findings."""
    scan = open_scan(path)
    print(f"{scan.meta.series}: {scan.shape} voxels of {scan.spacing.round(2)} mm (I, P, L)")

    anatomy = segment(scan)
    for organ in anatomy.organs:
        whole = "" if organ.complete else " (cut by the field of view)"
        print(f"  {organ.name}: {organ.ml:.0f} ml, {organ.mean_hu:.0f} HU{whole}")

    encoding = encode(scan, anatomy)
    for phrase in phrases:
        heat = ground(scan, phrase, anatomy=anatomy, encoding=encoding)
        peak = "nowhere" if heat.peak_ras is None else f"at {heat.peak_ras} mm RAS"
        print(f"{phrase!r}: {heat.verdict}, peak {heat.peak:.2f} {peak}. {heat.reason}")
        print(f"  {heat.gate.words}")

    table = score(scan, anatomy=anatomy, encoding=encoding)
    judged = [row for row in table.rows if not row.support]
    for row in sorted(judged, key=lambda row: -row.margin)[:5]:
        print(f"  {row.organ}: {row.finding}, margin {row.margin:.2f}")


if __name__ == "__main__":
    ct, *rest = [*sys.argv[1:], *([] if sys.argv[1:] else [str(sample_folder() / "ct.nii.gz")])]
    main(ct, tuple(rest) or PHRASES)
