"""The bar of view controls over the window, the readout under it, and the first-use hint."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QLabel,
    QMainWindow,
    QMessageBox,
    QSizePolicy,
    QToolBar,
    QToolButton,
    QWidget,
)

from napari_ctvlp.ui.choices import prefer, preference
from napari_ctvlp.ui.desk import BY_NAME, COMMANDS, SLABS, Desk
from napari_ctvlp.ui.windows import WINDOWS, level_width

HINT = (
    "Wheel: slices. Click, or drag the crosshair: move it. Left drag: pan. Right drag: window. "
    "Shift and wheel: zoom. H: hide overlays. F1: all keys."
)
#: napari draws tool buttons flat: what is chosen needs a mark of its own.
_STYLE = """
QToolButton { padding: 2px 5px; }
QToolButton:checked { border-bottom: 2px solid #3d8bfd; }
QToolButton:hover, QToolButton:focus { background: rgba(120, 140, 170, 90); }
"""


class ViewBar(QToolBar):
    """Windows, layouts, slab, measuring and overlays, on buttons.

    Parameters
    ----------
    desk : Desk
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__("CT views")
        self.setObjectName("ctvlp views")
        self.setMovable(False)
        self.setStyleSheet(_STYLE)
        self.desk = desk
        self.presets: dict[str, QToolButton] = {}
        self.layouts: dict[str, QToolButton] = {}
        for name, (low, high) in WINDOWS.items():
            level, width = level_width((low, high))
            button = self._button(name, f"window_{name.lower().replace(' ', '_')}")
            button.setToolTip(f"{button.toolTip()}: level {level:.0f}, width {width:.0f} HU")
            self.presets[name] = button
        self._button("Auto", "window_auto")
        self.addSeparator()
        for name, sign in (("one", "1"), ("three", "3"), ("four", "2x2")):
            self.layouts[name] = self._button(sign, f"layout_{name}")
            self.layouts[name].setCheckable(True)
        self.addSeparator()
        self.mode, self.thickness = self._slab()
        self.addSeparator()
        for text, name in (("Distance", "distance"), ("Region", "region"), ("Overlays", "blink"),
                           ("Cross", "crosshair"), ("Fit", "fit"), ("Keys", "keys")):  # fmt: skip
            self._button(text, name)
        desk.layout_changed.connect(self._laid_out)
        desk.slab_changed.connect(self._slabbed)
        desk.keys_wanted.connect(self.list_keys)
        self._laid_out(desk.layout)

    def close_down(self) -> None:
        """Let go of the desk."""
        self.desk.layout_changed.disconnect(self._laid_out, missing_ok=True)
        self.desk.slab_changed.disconnect(self._slabbed, missing_ok=True)
        self.desk.keys_wanted.disconnect(self.list_keys, missing_ok=True)

    def list_keys(self) -> None:
        """Show every command with its key."""
        box = QMessageBox(self)
        box.setWindowTitle("Keys of the CT reading room")
        box.setTextFormat(Qt.TextFormat.RichText)
        box.setText(keys_table())
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.open()

    def _button(self, text: str, name: str) -> QToolButton:
        command = BY_NAME[name]
        button = QToolButton()
        button.setText(text)
        button.setToolTip(f"{command.title} ({command.key})")
        button.setAccessibleName(command.title)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.clicked.connect(lambda _=False: self.desk.run(name))
        self.addWidget(button)
        return button

    def _slab(self) -> tuple[QComboBox, QDoubleSpinBox]:
        mode, thickness = QComboBox(), QDoubleSpinBox()
        for name, title in SLABS.items():
            mode.addItem(title, name)
        mode.setToolTip("How a slab is drawn (W)")
        thickness.setRange(1, 100)
        thickness.setDecimals(0)
        thickness.setSuffix(" mm")
        thickness.setValue(self.desk.slab[1])
        thickness.setToolTip("Thickness of the slab in every view (, and .)")
        thickness.setKeyboardTracking(False)
        mode.activated.connect(lambda _: self._ask_slab())
        thickness.valueChanged.connect(lambda _: self._ask_slab())
        self.addWidget(mode)
        self.addWidget(thickness)
        thickness.setEnabled(False)
        return mode, thickness

    def _ask_slab(self) -> None:
        self.desk.set_slab(str(self.mode.currentData()), self.thickness.value())

    def _slabbed(self, mode: str, mm: float) -> None:
        self.thickness.blockSignals(True)
        self.mode.setCurrentIndex(self.mode.findData(mode))
        self.thickness.setValue(mm)
        self.thickness.setEnabled(mode != "none")
        self.thickness.blockSignals(False)

    def _laid_out(self, name: str) -> None:
        for other, button in self.layouts.items():
            button.setChecked(other == name)


class ReadoutBar(QToolBar):
    """One line under the window: what is under the cursor."""

    def __init__(self) -> None:
        super().__init__("CT readout")
        self.setObjectName("ctvlp readout")
        self.setMovable(False)
        self.words = QLabel(" ")
        self.words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.words.setToolTip("Under the cursor: patient mm, voxel, HU, organ, heat")
        self.addWidget(self.words)


class Hint(QToolBar):
    """What a first-time user needs to know; a click dismisses it for good."""

    def __init__(self) -> None:
        super().__init__("CT hint")
        self.setObjectName("ctvlp hint")
        self.setMovable(False)
        self.setStyleSheet(_STYLE)
        words = QLabel(HINT)
        words.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.button = QToolButton()
        self.button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.button.setText("Got it")
        self.button.setToolTip("Do not show this again (Preferences bring it back)")
        self.button.clicked.connect(self.dismiss)
        self.addWidget(words)
        self.addWidget(self.button)

    def dismiss(self, checked: bool = False) -> None:
        """Hide it, and keep that choice."""
        prefer("reading", "hint", False)
        self.setVisible(False)

    @staticmethod
    def wanted() -> bool:
        """Return False once it was dismissed."""
        return bool(preference("reading", "hint", True))


def put_into(main: QMainWindow, *bars: QToolBar) -> None:
    """Put the readout under a window and the other bars over it, each in a row of its own."""
    for bar in bars:
        if isinstance(bar, ReadoutBar):
            main.addToolBar(Qt.ToolBarArea.BottomToolBarArea, bar)
        else:
            main.addToolBarBreak(Qt.ToolBarArea.TopToolBarArea)
            main.addToolBar(Qt.ToolBarArea.TopToolBarArea, bar)
        bar.show()


def take_out(bars: list[QToolBar]) -> None:
    """Take bars out of their window."""
    while bars:
        bar = bars.pop()
        if isinstance(bar, ViewBar):
            bar.close_down()
        parent: QWidget | None = bar.parentWidget()
        if isinstance(parent, QMainWindow):
            parent.removeToolBar(bar)
        bar.setParent(None)
        bar.deleteLater()


def keys_table() -> str:
    """Return every command and its key as a small table in rich text."""
    rows = "".join(f"<tr><td><b>{c.key}</b>&nbsp;</td><td>{c.title}</td></tr>" for c in COMMANDS)
    return f"<table>{rows}</table>"
