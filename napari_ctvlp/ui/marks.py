"""Words on a canvas, drawn by Qt into one small picture and shown by one quad.

napari's own text is a visual for the letters and two for the box behind them, and moves itself
after each change, which paints the canvas a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QImage, QPainter
from vispy.gloo import Texture2D, VertexBuffer
from vispy.scene.visuals import create_visual_node
from vispy.visuals import Visual

#: Pixels of a point at the 96 dpi that napari counts with.
_PX = 96 / 72
#: Left free around words, and the least width of the box behind several letters, pixels: words
#: that change as a slice is scrolled keep their size.
_AROUND, _LEAST = 4.0, 100.0
_VERTEX = """
attribute vec2 a_position;
attribute vec2 a_place;
varying vec2 v_place;
void main() { v_place = a_place; gl_Position = $transform(vec4(a_position, 0.0, 1.0)); }
"""
_FRAGMENT = """
uniform sampler2D u_picture;
varying vec2 v_place;
void main() { gl_FragColor = texture2D(u_picture, v_place); }
"""
_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 0], [1, 1], [0, 1]], np.float32)
Rgba = Sequence[float]


@dataclass(frozen=True, eq=False)
class Sheet:
    """A picture somewhere in a view's plane.

    Attributes
    ----------
    picture : ndarray, shape (row, column, 4), uint8
        Colours times alpha, alpha.
    low, high : ndarray, shape (2,), float32
        Its corners (x, y) in world mm, at the edges of the first and the last pixel.
    """

    picture: NDArray[np.uint8]
    low: NDArray[np.float32]
    high: NDArray[np.float32]


class PictureVisual(Visual):  # type: ignore[misc]
    """One quad with a picture on it, from the origin on."""

    def __init__(self, interpolation: str = "nearest") -> None:
        super().__init__(_VERTEX, _FRAGMENT)
        self._picture = Texture2D(np.zeros((1, 1, 4), np.uint8), interpolation=interpolation)
        self._corners = VertexBuffer(_CORNERS)
        self.shared_program["a_position"] = self._corners
        self.shared_program["a_place"] = VertexBuffer(_CORNERS)
        self.shared_program["u_picture"] = self._picture
        self._draw_mode = "triangles"
        self.set_gl_state("translucent", depth_test=False, cull_face=False)
        self.freeze()

    def show(self, picture: NDArray[np.uint8], ratio: float) -> None:
        """Show a picture, shape (row, column, 4), ``ratio`` of its pixels to one of the canvas."""
        self._picture.set_data(picture)
        size = np.array(picture.shape[1::-1], np.float32) / np.float32(ratio)
        self._corners.set_data(_CORNERS * size)
        self.update()

    def lay(self, sheet: Sheet) -> None:
        """Show a picture of colours times alpha at its own place."""
        self.set_gl_state(
            blend=True, blend_func=("one", "one_minus_src_alpha"), depth_test=False, cull_face=False
        )
        self._picture.set_data(sheet.picture)
        self._corners.set_data(sheet.low + _CORNERS * (sheet.high - sheet.low))
        self.update()

    def _prepare_transforms(self, view: Any) -> None:
        view.view_program.vert["transform"] = view.transforms.get_transform()

    def _prepare_draw(self, view: Any) -> None:
        """Nothing is left to do."""

    def _compute_bounds(self, axis: int, view: Any) -> None:
        """Have no bounds: it is not part of the scene."""


Picture = create_visual_node(PictureVisual)


def written(
    text: str, points: float, colour: Rgba, box: Rgba | None, family: str, ratio: float
) -> NDArray[np.uint8]:
    """Return words as a picture with a box behind them.

    Parameters
    ----------
    text : str
        May have several lines.
    points : float
        Size of the font.
    colour, box : sequence of float
        RGBA, 0..1; no box for None.
    family : str
        Of the font.
    ratio : float
        Pixels of the screen to one of the canvas.

    Returns
    -------
    ndarray of uint8, shape (row, column, 4)
    """
    font = QFont(family)
    font.setPixelSize(max(1, round(points * _PX)))
    metrics, lines = QFontMetricsF(font), text.split("\n")
    wide = max(metrics.horizontalAdvance(line) for line in lines) + 2 * _AROUND
    if len(text) > 1:
        wide = max(wide, _LEAST)
    high = metrics.height() * len(lines) + _AROUND
    size = round(wide * ratio), round(high * ratio)
    image = QImage(*size, QImage.Format.Format_RGBA8888)
    image.setDevicePixelRatio(ratio)
    image.fill(Qt.GlobalColor.transparent if box is None else QColor.fromRgbF(*map(float, box)))
    painter = QPainter(image)
    painter.setFont(font)
    painter.setPen(QColor.fromRgbF(*map(float, colour)))
    inside = QRectF(_AROUND, _AROUND / 2, wide - 2 * _AROUND, high - _AROUND)
    across = Qt.AlignmentFlag.AlignLeft if len(text) > 1 else Qt.AlignmentFlag.AlignHCenter
    painter.drawText(inside, int(across | Qt.AlignmentFlag.AlignTop), text)
    painter.end()
    pixels = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), -1, 4)
    return pixels[:, : image.width()].copy()
