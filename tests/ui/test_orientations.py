"""However a file stores its axes, the same world plane is the same picture, letters included."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_ctvlp.core.geometry import oriented_affine, transform
from napari_ctvlp.core.phantom import chest_hu
from napari_ctvlp.engine.opening import open_scan
from napari_ctvlp.ui.arrange import make_dock
from napari_ctvlp.ui.desk import ORDERS
from napari_ctvlp.ui.room import room_of

#: Letters of an axis, whichever way it goes.
UNSIGNED = str.maketrans("LPI", "RAS")


@pytest.fixture
def room(viewer, wait, turn_once):
    """Return the room of a visible viewer whose one canvas has letters, scale bar, crosshair."""
    viewer.window.set_geometry(0, 0, 700, 600)
    made = room_of(viewer)
    made.views = make_dock("Views", viewer)
    viewer.window.add_dock_widget(made.views, name="Views", area="right")
    made.desk.set_layout("one")
    made.turn_once = turn_once
    wait(lambda: made.views.link is not None)
    return made


def pictures(room, path):
    """Return the canvas of each plane through the middle of the scan in a file."""
    scan = open_scan(path)
    for layer in list(room.viewer.layers):
        room.viewer.layers.remove(layer)
    room.add_scan(scan).contrast_limits = (-1000.0, 1000.0)
    r, a, s = transform(scan.affine, (np.array(scan.shape) - 1) // 2).tolist()
    room.session.look_at((r, a, s))
    found = {}
    for plane in ORDERS:
        room.desk.set_plane(plane)
        room.views.flush()
        for _ in range(3):
            room.turn_once()
        found[plane] = room.viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    return found


def differing(one, other):
    """Return the share of pixels that differ by more than rounding."""
    return float((np.abs(one - other).max(axis=-1) > 6).mean())


def compare(room, paths):
    """Compare every file with the first; the planes must differ among themselves."""
    first = pictures(room, paths[0])
    first = pictures(room, paths[0])
    assert differing(first["axial"], first["coronal"]) > 0.02
    assert differing(first["coronal"], first["sagittal"]) > 0.02
    mirrored = first["axial"][:, ::-1]
    assert differing(first["axial"], mirrored) > 0.02, "a swapped side would be seen"
    wrong = {}
    for path in paths[1:]:
        shown = pictures(room, path)
        for plane, image in shown.items():
            share = differing(first[plane], image)
            if share > 0.001:
                wrong[f"{path.name} {plane}"] = share
    assert not wrong


def test_six_orientations_of_the_phantom_are_one_picture(room, tmp_path):
    steps, counts = {"R": 6.0, "A": 5.0, "S": 7.0}, {"R": 45, "A": 41, "S": 35}
    paths = []
    for code in ("IPL", "RAS", "LSA", "PIR", "SLP", "ALI"):
        rows = ["R" if c in "RL" else "A" if c in "AP" else "S" for c in code]
        shape = tuple(counts[row] for row in rows)
        affine = oriented_affine(code, shape, [steps[row] for row in rows])
        paths.append(Path(tmp_path) / f"{code}.nii.gz")
        nib.save(nib.Nifti1Image(chest_hu(shape, affine), affine), paths[-1])
    compare(room, paths)


@pytest.fixture
def stored_48_ways(shared):
    """Return the files of one scan, one for each order and direction of its axes."""
    paths = sorted((shared / "data" / "edge_cases" / "nifti" / "orientation-48").glob("*.nii*"))
    assert len(paths) == 48
    return paths


@pytest.mark.shared
def test_orientations_of_a_file_are_one_picture(room, stored_48_ways):
    """Every fifth of them: all six orders of the axes, each flipped in another way."""
    chosen = stored_48_ways[::5]
    assert len({path.name[:3].translate(UNSIGNED) for path in chosen}) == 6
    compare(room, chosen)


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.timeout(900)
def test_all_48_orientations_are_one_picture(room, stored_48_ways):
    compare(room, stored_48_ways)
