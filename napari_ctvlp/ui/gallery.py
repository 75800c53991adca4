"""Every answer to the open study: its colour, and the layers that show several of them."""

from __future__ import annotations

import colorsys
import weakref
from dataclasses import dataclass

import numpy as np
from napari.layers import Image, Layer
from psygnal import Signal

from napari_ctvlp.core.composite import Composite, difference
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.ui.drawn import DRAWN, Drawn, heat_state
from napari_ctvlp.ui.layers import NOUN, OVER, dress, heat_arguments, noun_of, placement
from napari_ctvlp.ui.palette import Colour, difference_colormap
from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Look, Study
from napari_ctvlp.ui.views.filling import Filling, filled_layer

#: Phrase and model.
Key = tuple[str, str]
#: Apart for the colour-blind (Okabe and Ito 2008, without black).
COLOURS: tuple[Colour, ...] = (
    (0.90, 0.62, 0.00), (0.34, 0.71, 0.91), (0.00, 0.62, 0.45), (0.94, 0.89, 0.26),
    (0.00, 0.45, 0.70), (0.84, 0.37, 0.00), (0.80, 0.47, 0.65),
)  # fmt: skip
TOGETHER, DIFFERENCE, OWN = "All phrases", "Difference: ", "Phrase: "
#: Lightness of the second and third time round the colours.
_ROUNDS = (0.0, 0.2, -0.18)


@dataclass
class Answer:
    """A phrase with its map, its colour, and how it is drawn.

    Attributes
    ----------
    heat : Heatmap
    colour : tuple of float
    shown : bool
        Drawn with the others.
    own : bool
        Drawn as a layer of its own instead.
    """

    heat: Heatmap
    colour: Colour
    shown: bool = True
    own: bool = False

    @property
    def key(self) -> Key:
        """What tells it from other answers."""
        return self.heat.phrase.text, self.heat.model


class Gallery:
    """The answers of the open study; emptied with every scan.

    Parameters
    ----------
    room : Room
        Held weakly.
    """

    added = Signal(object)
    changed = Signal()

    def __init__(self, room: Room) -> None:
        self._room = weakref.ref(room)
        self.answers: dict[Key, Answer] = {}
        self._picture: Composite | None = None
        self._filling = Filling(room.viewer, room.viewer)
        room.session.study_changed.connect(self._study)
        room.session.look_changed.connect(self._dress)
        self._study(room.session.study)

    def add(self, heat: Heatmap | None) -> None:
        """Take an answer in; one of the same model to the same phrase replaces it.

        What stands behind a row of the findings table (``within`` an organ) is no answer.
        """
        if heat is None or heat.within:
            return
        key = heat.phrase.text, heat.model
        known = self.answers.get(key)
        if known is not None and known.heat is heat:
            return
        if known is not None:
            known.heat = heat
            self.changed.emit()
            self.draw()
            return
        answer = Answer(heat, colour_of(len(self.answers)))
        self.answers[key] = answer
        self.added.emit(answer)
        self.draw(answer)

    def remove(self, answers: list[Answer]) -> None:
        """Take answers out, and what they were drawn with."""
        for answer in answers:
            self._show(_own_name(answer), None)
            del self.answers[answer.key]
        self.changed.emit()
        self.draw()

    def tick(self, answer: Answer, shown: bool, own: bool) -> None:
        """Say how an answer is drawn."""
        if (answer.shown, answer.own) != (shown, own):
            answer.shown, answer.own = shown, own
            self.draw()

    def draw_together(self, together: bool) -> None:
        """Draw the answers that are shown as one layer, or only the one in front."""
        room = self._room()
        if room is not None:
            room.session.together = together
            self.draw()

    def draw(self, new: Answer | None = None) -> None:
        """Draw what is ticked; an answer that only just came is added to what is drawn."""
        room = self._room()
        if room is None:
            return
        for answer in self.answers.values():
            if answer is not new:
                self._draw_own(answer)
        front = next((one for one in room.viewer.layers if isinstance(noun_of(one), Heatmap)), None)
        together = room.session.together
        if front is not None and front.visible == together:
            front.visible = not together
        mixed = [a for a in self.answers.values() if a.shown and not a.own]
        if not together or not mixed:
            self._picture = None
            self._show(TOGETHER, None)
            return
        picture = self._picture
        fresh = [new] if new is not None else []
        if new is None or picture is None:
            grid = mixed[0].heat
            picture = Composite(grid.values.shape, grid.affine, room.session.look.threshold)
            self._picture, fresh = picture, mixed
        for answer in fresh:
            if heat_state(answer.heat) == "asserted":
                picture.add(answer.heat, answer.colour)
        self._show_picture(picture, tuple(Drawn(a.heat, a.colour) for a in mixed))

    def subtract(self, first: Answer, second: Answer) -> str:
        """Show the first map minus the second and return how it is called.

        Empty, with nothing shown, where no place was searched for both.
        """
        values = difference(first.heat, second.heat)
        if not np.isfinite(values).any():
            return ""
        name = f"{DIFFERENCE}{named(first, second)} minus {named(second, first)}"
        layer = Image(
            np.nan_to_num(values), name=name, colormap=difference_colormap(), opacity=0.7,
            contrast_limits=(-1.0, 1.0), blending="translucent", interpolation2d="linear",
            **placement(first.heat.affine),
        )  # fmt: skip
        self._show(DIFFERENCE, layer)
        return name

    def _draw_own(self, answer: Answer) -> None:
        """Give an answer a layer of its own, or take it away."""
        room = self._room()
        assert room is not None  # noqa: S101 - draw has checked it
        known = self._layer(_own_name(answer))
        wanted = answer.own and answer.shown
        if known is not None and wanted and known.metadata[DRAWN][0].heat is answer.heat:
            return
        layer = None
        if wanted:
            arguments = heat_arguments(answer.heat, colour=answer.colour)
            arguments["name"] = _own_name(answer)
            del arguments["metadata"][NOUN]  # the one map in front is another layer
            layer = filled_layer(**arguments)
            dress(layer, room.session.look)
        if layer is not None or known is not None:
            self._show(_own_name(answer), layer)

    def _show_picture(self, picture: Composite, drawn: tuple[Drawn, ...]) -> None:
        layer, rgba = self._layer(TOGETHER), picture.rgba
        if isinstance(layer, Image) and layer.data.shape == rgba.shape:
            layer.metadata[DRAWN] = drawn
            layer.data = rgba
        else:
            self._show(TOGETHER, filled_layer(
                data=rgba, rgb=True, name=TOGETHER, opacity=0.6, blending="translucent",
                metadata={DRAWN: drawn}, **placement(picture.affine),
            ))  # fmt: skip

    def _layer(self, begins: str) -> Layer | None:
        room = self._room()
        layers = room.viewer.layers if room is not None else ()
        return next((one for one in layers if one.name.startswith(begins)), None)

    def _show(self, begins: str, layer: Image | None) -> None:
        """Take the layer of a name away and show another one in its place."""
        room, known = self._room(), self._layer(begins)
        if room is None:
            return
        if known is not None:
            room.viewer.layers.remove(known)
        if layer is not None:
            layer.metadata[OVER] = True
            selected = set(room.viewer.layers.selection)
            room.viewer.layers.append(layer)
            room.viewer.layers.selection = selected

    def _dress(self, look: Look) -> None:
        if self._picture is not None and self._picture.threshold != look.threshold:
            self.draw()
        for answer in self.answers.values():
            layer = self._layer(_own_name(answer)) if answer.own else None
            if isinstance(layer, Image):
                dress(layer, look)

    def _study(self, study: Study | None) -> None:
        """Begin anew with every scan."""
        self.answers.clear()
        self._picture = None
        self.changed.emit()
        if study is not None:
            study.heatmap_changed.connect(self.add)


def colour_of(place: int) -> Colour:
    """Return the colour of the answer at a place: 21 that differ, then they come again."""
    red, green, blue = COLOURS[place % len(COLOURS)]
    hue, light, full = colorsys.rgb_to_hls(red, green, blue)
    shift = _ROUNDS[place // len(COLOURS) % len(_ROUNDS)]
    return colorsys.hls_to_rgb(hue, float(np.clip(light + shift, 0.15, 0.9)), full)


def named(answer: Answer, other: Answer) -> str:
    """Return the words for an answer beside another one: its phrase, or its model as well."""
    text, model = answer.key
    return text if text != other.key[0] else f"{text} ({model})"


def _own_name(answer: Answer) -> str:
    return f"{OWN}{answer.heat.phrase.text} ({answer.heat.model})"


_GALLERIES: weakref.WeakKeyDictionary[Room, Gallery] = weakref.WeakKeyDictionary()


def gallery_of(room: Room) -> Gallery:
    """Return the one gallery of a room, made on first use."""
    if room not in _GALLERIES:
        _GALLERIES[room] = Gallery(room)
    return _GALLERIES[room]
