"""What everybody must be able to read and reach: tooltips, keyboard, contrast, nothing cut off."""

from __future__ import annotations

import re

import numpy as np
import pytest
from napari.utils.theme import get_theme
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QDockWidget,
    QLabel,
    QLineEdit,
    QScrollArea,
    QSlider,
    QTabBar,
    QToolBar,
    QWidget,
)

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.ui.arrange import DOCKS, TABS, TITLES, lay_out, make_dock, raise_dock
from napari_ctvlp.ui.docks.attention_parts import weighed_words
from napari_ctvlp.ui.docks.findings_table import faded
from napari_ctvlp.ui.docks.matrix import colour_of, ink_on
from napari_ctvlp.ui.room import room_of

CONTROLS = (QAbstractButton, QAbstractSpinBox, QAbstractItemView, QComboBox, QLineEdit, QSlider)
LEAST = 4.5


def lungs(scan):
    """Label two halves of a scan, so that tables have rows."""
    labels = np.zeros(scan.shape, np.uint8)
    labels[:, :, : scan.shape[2] // 2], labels[:, :, scan.shape[2] // 2 :] = 2, 1
    names = [(1, "lung_left"), (2, "lung_right")]
    return anatomy_from_labels(labels, scan, names, source="test", reliability="Two halves.")


@pytest.fixture
def laid_out(viewer, chest, wait, qtbot):
    """Return a viewer with every dock of ours, filled, at 1280 x 800."""
    viewer.window.set_geometry(0, 0, 1280, 800)
    widgets = lay_out(viewer)
    room = room_of(viewer)
    room.add_scan(chest)
    room.session.study.put("anatomy", lungs(chest))
    room.session.cancel()
    wait(lambda: len(widgets["Views"].canvases) == 2)
    return viewer, widgets


def ours(viewer, widgets):
    """Return the docks and bars that are not napari's own."""
    main = widgets["Views"].window()
    return [*widgets.values(), *main.findChildren(QToolBar)]


def controls(root):
    """Return what a user handles under a widget, canvases and parts of other controls left out."""
    found = [one for kind in CONTROLS for one in root.findChildren(kind)]
    whole = [one for one in found if not part_of_a_control(one)]
    return [
        one for one in whole if not under_canvas(one) and not one.objectName().startswith("qt_")
    ]


def part_of_a_control(widget):
    """Tell whether a widget belongs to another one: the list of a combo box, arrows of tabs."""
    while (widget := widget.parent()) is not None:
        if isinstance(widget, (*CONTROLS, QTabBar)):
            return True
    return False


def under_canvas(widget):
    while widget is not None:
        if type(widget).__name__ in ("QtViewer", "QtDims"):
            return True
        widget = widget.parent()
    return False


def words_of(widget):
    """Return a control's tooltip, or that of the form it belongs to."""
    parent = widget.parent()
    return widget.toolTip() or (parent.toolTip() if parent is not None else "")


def luminance(rgb):
    """Return relative luminance as WCAG 2 defines it."""
    share = np.asarray(rgb, float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def contrast(widget):
    """Return the contrast of what is written on a widget, from its pixels."""
    image = widget.window().grab(widget.rect().translated(widget.mapTo(widget.window(), QPoint())))
    raw = image.toImage().convertToFormat(image.toImage().Format.Format_RGB888)
    pixels = np.frombuffer(raw.constBits(), np.uint8).reshape(raw.height(), raw.bytesPerLine())
    rgb = pixels[:, : raw.width() * 3].reshape(-1, 3)
    colours, counts = np.unique(rgb, axis=0, return_counts=True)
    ground = luminance(colours[np.argmax(counts)])
    often = luminance(colours[counts >= 2])
    ratios = (np.maximum(often, ground) + 0.05) / (np.minimum(often, ground) + 0.05)
    return float(ratios.max())


def written(root):
    """Return the visible, enabled labels and buttons with words on them."""
    kinds = (QLabel, QAbstractButton)
    found = [one for kind in kinds for one in root.findChildren(kind)]
    shown = [
        one for one in found if one.isEnabled() and not under_canvas(one) and one.text().strip()
    ]
    return [one for one in shown if not one.visibleRegion().isEmpty()]


def cut(widget):
    """Tell whether a label or button has less room than its words need."""
    if isinstance(widget, QLabel) and widget.wordWrap():
        return widget.heightForWidth(widget.width()) > widget.height() + 1
    return widget.sizeHint().width() > widget.width() + 1 and widget.text().strip() != ""


def widest(main):
    """Say which widgets want the most width, for when a window does not fit its screen."""
    wants = [(one.minimumSizeHint().width(), one) for one in main.findChildren(QWidget)]
    wants.sort(key=lambda pair: -pair[0])
    return [
        (width, type(one).__name__, one.objectName(), getattr(one, "text", str)()[:60])
        for width, one in wants[:20]
    ]


def test_controls_explain_themselves_and_are_reached_by_keyboard(laid_out, qtbot):
    viewer, widgets = laid_out
    bare, deaf = [], []
    others = [make_dock(title, viewer) for title in DOCKS if title not in TITLES]
    for dock in others:
        qtbot.addWidget(dock)
    for root in (*ours(viewer, widgets), *others):
        for one in controls(root):
            name = f"{type(root).__name__}: {type(one).__name__} {getattr(one, 'text', str)()!r}"
            if not words_of(one):
                bare.append(name)
            if not one.focusPolicy() & Qt.FocusPolicy.TabFocus:
                deaf.append(name)
    assert not bare, "no tooltip"
    assert not deaf, "no keyboard path"


def test_words_stand_out_and_nothing_is_cut(laid_out, paint, wait):
    viewer, widgets = laid_out
    main = widgets["Views"].window()
    for size in ((1280, 800), (1920, 1080)):
        viewer.window.set_geometry(0, 0, *size)
        lay_out(viewer)
        paint(0.5)
        assert (main.width(), main.height()) == size, widest(main)
        for title in TITLES:
            raise_dock(widgets[title])
            paint(0.05)
            for area in widgets[title].findChildren(QScrollArea):
                if type(area).__name__ == "_Column":
                    assert area.widget().width() <= area.viewport().width(), title
        roots = ours(viewer, widgets)
        assert not [one.text() for root in roots for one in written(root) if cut(one)], size
        bars = [one for bar in main.findChildren(QToolBar) for one in written(bar)]
        right = max(one.mapTo(main, QPoint(one.width(), 0)).x() for one in bars)
        assert right <= main.width()
    for theme in ("light", "dark"):
        viewer.theme = theme
        paint(0.3)
        poor = []
        for title in TITLES:
            raise_dock(widgets[title])
            paint(0.05)
            poor += [
                (theme, title, one.text()[:30], round(contrast(one), 2))
                for one in written(widgets[title])
                if contrast(one) < LEAST
            ]
        poor += [
            (theme, bar.objectName(), one.text(), round(contrast(one), 2))
            for bar in main.findChildren(QToolBar)
            for one in written(bar)
            if contrast(one) < LEAST
        ]
        assert not poor


def test_words_over_the_picture_stand_out_whatever_lies_under_them(viewer, laid_out):
    for model in laid_out[1]["Views"].models.values():
        for name, overlay in model.canvas.overlays.items():
            if not str(name).startswith("ctvlp"):
                continue
            share = float(overlay.box_color[3])
            for tissue in (0.0, 1.0):
                box = 255 * np.asarray(overlay.box_color[:3])
                under = (1 - share) * tissue * np.full(3, 255) + share * box
                text = luminance(np.asarray(overlay.color[:3]) * 255)
                ratio = (text + 0.05) / (luminance(under) + 0.05)
                assert max(ratio, 1 / ratio) >= LEAST, (name, tissue)


def ratio(one, other):
    """Return the contrast of two colours."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_letters_on_colours_and_faint_ones_stand_out():
    for share in np.linspace(-1, 1, 201):
        letter, ground = ink_on(share).getRgb()[:3], colour_of(share).getRgb()[:3]
        assert ratio(letter, ground) >= LEAST, share
    shown = weighed_words((("strong", 2.0), ("less", -2.0), ("weak", 0.1)))
    for ground in re.findall("background-color: #(.{6}); color: black", shown):
        assert ratio((0, 0, 0), tuple(bytes.fromhex(ground))) >= LEAST
    for name in ("light", "dark"):
        theme = get_theme(name)
        ink = QColor(*theme.text.as_rgb_tuple()[:3])
        share = faded(ink).alphaF()
        for ground in (theme.foreground, theme.primary):  # rows, titles
            under = np.array(ground.as_rgb_tuple()[:3])
            seen = under + share * (np.array(ink.getRgb()[:3]) - under)
            assert ratio(seen, under) >= LEAST, (name, ground)


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)])
def test_docks_of_one_place_show_whole_names_on_their_tabs(laid_out, paint, size):
    viewer, widgets = laid_out
    viewer.window.set_geometry(0, 0, *size)
    lay_out(viewer)
    paint(0.6)
    main = widgets["Views"].window()
    docks = {one.windowTitle() for one in main.findChildren(QDockWidget)}
    assert {TABS.get(title, title) for title in TITLES} <= docks
    bars = [bar for bar in main.findChildren(QTabBar) if bar.parent() is main and bar.isVisible()]
    shown = [bar.tabText(n) for bar in bars for n in range(bar.count())]
    assert len(shown) == len(TITLES)
    for bar in bars:
        assert bar.elideMode() == Qt.TextElideMode.ElideNone
        names = [bar.tabText(n) for n in range(bar.count())]
        assert bar.tabRect(0).left() >= 0, f"{names} are scrolled"
        assert bar.tabRect(bar.count() - 1).right() <= bar.width(), f"{names} need scrolling"
