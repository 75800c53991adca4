"""What ``napari.yaml`` points at. Only qtpy and numpy are imported until one of these runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from napari_ctvlp.core.scan import Scan
    from napari_ctvlp.ui.docks.radiograph import RadiographDock

LayerData = tuple[Any, dict[str, Any], str]
SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")
#: A folder that holds one of these belongs to another reader.
_OTHERS = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg", ".zarray", ".zgroup", ".zattrs"})


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return :func:`read_ct` when ``path`` may be a CT, without opening it."""
    target = _target(path)
    if target is None:
        return None
    if target.is_dir():
        names = (entry.suffix.lower() or entry.name for entry in target.iterdir())
        return None if any(name in _OTHERS for name in names) else read_ct
    return read_ct if target.name.lower().endswith(SUFFIXES) else None


def read_ct(path: str | Sequence[str]) -> list[LayerData]:
    """Read a CT as layer data: mm, named axes, source kept for saving.

    Raises
    ------
    InputRefused
        With what was expected, what came and what to do; the viewer stays as it is.
    """
    from napari.utils.notifications import show_info

    from napari_ctvlp.engine.verbs import open_scan

    target = _target(path)
    scan = open_scan(target if target is not None else Path(str(path)))
    for message in (*scan.meta.warnings, *scan.meta.notices):
        show_info(message.message)
    return [_layer_data(scan)]


def chest_ct() -> list[LayerData]:
    """Return the chest CT that ships with the package (LIDC-IDRI-0001, CC BY 3.0)."""
    from napari_ctvlp.core.resources import sample_folder

    return read_ct(str(sample_folder() / "ct.nii.gz"))


def procedural_phantom() -> list[LayerData]:
    """Return a small chest made of formulas; it needs no file."""
    from napari_ctvlp.core.phantom import phantom

    return [_layer_data(phantom())]


def reading_room() -> None:
    """Lay out every dock and view on the current viewer and start the jobs on its CT."""
    from napari_ctvlp.ui.arrange import lay_out
    from napari_ctvlp.ui.room import room_of

    viewer = _viewer()
    lay_out(viewer)
    room_of(viewer).start()


def run_dock() -> QWidget:
    """Return the dock that opens a CT and runs the jobs on it."""
    return _dock("Reading room")


def organs_dock() -> QWidget:
    """Return the table of organs."""
    return _dock("Organs")


def phrases_dock() -> QWidget:
    """Return the dock that takes phrases."""
    return _dock("Phrases")


def answers_dock() -> QWidget:
    """Return the list of every phrase asked of the scan."""
    return _dock("Answers")


def attention_dock() -> QWidget:
    """Return the dock that asks where a place, an organ or a phrase looks."""
    return _dock("Attention")


def checks_dock() -> QWidget:
    """Return the dock that checks the map of a phrase."""
    return _dock("Checks")


def findings_dock() -> QWidget:
    """Return the table of findings."""
    return _dock("Findings")


def views_dock() -> QWidget:
    """Return the linked coronal and sagittal views."""
    return _dock("Views")


def windows_dock() -> QWidget:
    """Return level, width, histogram and the user's own windows."""
    return _dock("Windows")


def measure_dock() -> QWidget:
    """Return the table of distances and regions."""
    return _dock("Measure")


def models_dock() -> QWidget:
    """Return the weights manager."""
    return _dock("Models")


def solid_dock() -> QWidget:
    """Return the 3D view."""
    return _dock("3D")


def studies_dock() -> QWidget:
    """Return the list of studies and series."""
    return _dock("Studies")


def passport_dock() -> QWidget:
    """Return the geometry passport."""
    return _dock("Passport")


def key_images_dock() -> QWidget:
    """Return the key images."""
    return _dock("Key images")


def export_dock() -> QWidget:
    """Return the dock that saves results and sessions."""
    return _dock("Export")


def compare_dock() -> QWidget:
    """Return the dock of a second study."""
    return _dock("Compare")


def cohort_dock() -> QWidget:
    """Return the table of a store."""
    return _dock("Cohort")


def evaluate_dock() -> QWidget:
    """Return the dock that measures a model on the user's own folder."""
    return _dock("Evaluate")


def report_dock() -> QWidget:
    """Return the dock that checks a report and drafts one."""
    return _dock("Report")


def pieces_dock() -> QWidget:
    """Return the dock that cuts a map into measured pieces."""
    return _dock("Pieces")


def alike_dock() -> QWidget:
    """Return the dock that shows what resembles the place under the crosshair."""
    return _dock("Places alike")


def key_image() -> None:
    """Bookmark what the window shows as a key image."""
    from napari_ctvlp.ui.notebook import notebook_of
    from napari_ctvlp.ui.room import room_of

    notebook_of(room_of(_viewer())).mark()


def copy_finding() -> None:
    """Put the answer to the last phrase on the clipboard, as text for a report."""
    from napari_ctvlp.ui.notebook import copy_finding as copy
    from napari_ctvlp.ui.room import room_of

    copy(room_of(_viewer()))


def open_radiograph() -> None:
    """Ask for a radiograph; beside a CT it gets a window of its own."""
    import napari

    viewer = _viewer()
    if viewer.layers:
        viewer = napari.Viewer(title="Radiograph")
    dock = _radiograph(viewer)
    viewer.window.add_dock_widget(dock, name="Radiograph", area="right")
    dock.open_button.click()


def radiograph_dock() -> QWidget:
    """Return the dock that opens a radiograph and searches it for a phrase."""
    return _radiograph(_viewer())


def _radiograph(viewer: Any) -> RadiographDock:
    from napari_ctvlp.ui.docks.radiograph import RadiographDock
    from napari_ctvlp.ui.jobs import shared_bridge

    return RadiographDock(viewer, shared_bridge())


def _dock(title: str) -> QWidget:
    from napari_ctvlp.ui.arrange import make_dock

    return make_dock(title, _viewer())


def __getattr__(name: str) -> Callable[[], None]:
    """Return the command ``do_NAME`` of the manifest: one of ``ui.desk.COMMANDS`` by its name."""
    if not name.startswith("do_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return partial(_do, name.removeprefix("do_"))


def _do(name: str) -> None:
    from napari_ctvlp.ui.room import room_of

    room_of(_viewer()).desk.run(name)


def _viewer() -> Any:
    """Return the viewer of the window the user works in."""
    import napari

    viewer = napari.current_viewer()
    if viewer is None:
        raise RuntimeError("no napari window is open")
    return viewer


def _target(path: str | Sequence[str]) -> Path | None:
    """Return the one file or folder that is meant; several DICOM files mean their folder."""
    if isinstance(path, str | Path):
        return Path(path)
    paths = [Path(one) for one in path]
    if len(paths) == 1:
        return paths[0]
    folders = {one.parent for one in paths}
    same = len(folders) == 1 and all(one.suffix.lower() == ".dcm" for one in paths)
    return folders.pop() if same else None


def _layer_data(scan: Scan) -> LayerData:
    from napari_ctvlp.ui.layers import ct_arguments, label_arguments

    if scan.meta.unit == "label":
        return scan.hu, label_arguments(scan), "labels"
    return scan.hu, ct_arguments(scan), "image"
