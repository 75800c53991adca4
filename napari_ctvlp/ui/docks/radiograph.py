"""The radiograph dock: opens an X-ray picture and shows where it resembles a phrase."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from qtpy.QtWidgets import QFileDialog, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_ctvlp.core.radiograph import Radiograph, RadiographMap
from napari_ctvlp.errors import CtvlpError
from napari_ctvlp.ui.docks.bar import JobBar
from napari_ctvlp.ui.layers import NOUN, UNITS
from napari_ctvlp.ui.palette import heat_colormap
from napari_ctvlp.ui.panel import wrap

if TYPE_CHECKING:
    from napari import Viewer

    from napari_ctvlp.ui.jobs import Bridge

NO_PRIOR = "Compare with an earlier one..."
_FILES = "Radiographs (*.dcm *.png *.jpg *.jpeg);;All files (*)"


class RadiographDock(QWidget):
    """Asks for a picture and a phrase.

    Parameters
    ----------
    viewer : Viewer
        One without a CT: a picture of shadows has no place in a volume.
    bridge : Bridge
        To the compute process.
    """

    def __init__(self, viewer: Viewer, bridge: Bridge) -> None:
        super().__init__()
        self.viewer, self.bridge = viewer, bridge
        self.radiograph: Radiograph | None = None
        self.prior: Radiograph | None = None
        self._number = 0
        self.open_button = QPushButton("Open radiograph...")
        self.prior_button = QPushButton(NO_PRIOR)
        self.edit = QLineEdit()
        self.edit.setPlaceholderText("left pleural effusion")
        self.bar, self.answer = JobBar(), QLabel()
        wrap(self.answer)
        self.bar.hide()
        layout = QVBoxLayout(self)
        for widget in (self.open_button, self.prior_button, self.edit, self.bar, self.answer):
            layout.addWidget(widget)
        layout.addStretch()
        self.open_button.setToolTip("A DX or CR file, or a PNG or JPEG of a radiograph")
        self.prior_button.setToolTip(
            "A picture of the same patient from before, which the model compares with; "
            "press again to leave it out"
        )
        self.edit.setToolTip("What to look for; Enter asks")
        self.open_button.clicked.connect(self._choose)
        self.prior_button.clicked.connect(self._choose_prior)
        self.edit.returnPressed.connect(self._ask)
        bridge.progressed.connect(self._progress)
        bridge.finished.connect(self._done)
        bridge.failed.connect(self._failed)

    def open(self, path: Path | str) -> None:
        """Show a radiograph in place of the last one; what is none changes nothing but words."""
        from napari_ctvlp.io.radiograph import read_radiograph

        try:
            radiograph = read_radiograph(path)
        except CtvlpError as error:
            self.answer.setText(str(error))
            return
        self._number = 0
        self.compare(None)
        self._drop((Radiograph, RadiographMap))
        self.radiograph = radiograph
        self.viewer.add_layer(picture_layer(radiograph))
        self.viewer.reset_view()
        self.answer.setText(" ".join(message.message for message in radiograph.warnings))

    def compare(self, path: Path | str | None) -> None:
        """Take an earlier picture to compare with; None leaves it out."""
        from napari_ctvlp.io.radiograph import read_radiograph

        try:
            self.prior = read_radiograph(path) if path is not None else None
        except CtvlpError as error:
            self.answer.setText(str(error))
            return
        earlier = self.prior
        self.prior_button.setText(
            f"Earlier: {earlier.series or 'picture'}" if earlier else NO_PRIOR
        )

    def _choose_prior(self, checked: bool = False) -> None:
        if self.prior is not None:
            self.compare(None)
            return
        name, _ = QFileDialog.getOpenFileName(self, "Earlier radiograph", "", _FILES)
        if name:
            self.compare(name)

    def _choose(self, checked: bool = False) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open radiograph", "", _FILES)
        if name:
            self.open(name)

    def _ask(self) -> None:
        if self.radiograph is None:
            self.answer.setText("Open a radiograph first.")
        elif self.edit.text().strip():
            self.bar.show()
            self._number = self.bridge.submit(
                "ground_radiograph", radiograph=self.radiograph, phrase=self.edit.text(),
                prior=self.prior,
            )  # fmt: skip

    def _progress(self, number: int, share: float, stage: str) -> None:
        if number == self._number:
            self.bar.show_share(share, stage)

    def _done(self, number: int, result: object) -> None:
        if number != self._number or self.radiograph is None:
            return
        if isinstance(result, RadiographMap) and result.radiograph == self.radiograph.digest:
            self.bar.hide()
            self._drop((RadiographMap,))
            self.viewer.add_layer(map_layer(result, self.radiograph))
            self.answer.setText(map_words(result))

    def _failed(self, number: int, error: CtvlpError) -> None:
        if number == self._number:
            self.bar.hide()
            self.answer.setText(str(error))

    def _drop(self, kinds: tuple[type, ...]) -> None:
        """Take the layers of these nouns away."""
        for layer in [
            one for one in self.viewer.layers if isinstance(one.metadata.get(NOUN), kinds)
        ]:
            self.viewer.layers.remove(layer)


def picture_layer(radiograph: Radiograph) -> Image:
    """Return the image layer of a radiograph, in mm where its pixels have a size."""
    pixels = radiograph.pixels
    low, high = radiograph.window or (float(pixels.min()), float(pixels.max()))
    return Image(
        pixels,
        name=radiograph.series or "Radiograph",
        colormap="gray",
        contrast_limits=(low, max(high, low + 1)),
        metadata={NOUN: radiograph},
        **_place(radiograph),
    )


def map_layer(found: RadiographMap, radiograph: Radiograph) -> Image:
    """Return the layer of a map: transparent at 0 and below, full at the peak."""
    peak = found.peak
    return Image(
        np.nan_to_num(found.values),
        name=f"Heat: {found.phrase.text}",
        colormap=heat_colormap("inferno"),
        contrast_limits=(0.0, peak if peak > 0 else 1.0),
        blending="translucent",
        opacity=0.55,
        metadata={NOUN: found},
        **_place(radiograph),
    )


def map_words(found: RadiographMap) -> str:
    """Return the answer in words; a cosine without a threshold asserts nothing."""
    row, column = found.peak_index
    compared = "Compared with the earlier picture. " if found.prior else ""
    return compared + (
        f"Highest cosine {found.peak:.3f} in row {row}, column {column}; the whole picture "
        f"{found.score:.3f}. No threshold is known for this model: whether it is there cannot "
        "be told from this."
    )


def _place(radiograph: Radiograph) -> dict[str, tuple[float, float] | tuple[str, ...]]:
    if radiograph.spacing is None:
        return {}
    return {"scale": radiograph.spacing, "units": UNITS[:2]}
