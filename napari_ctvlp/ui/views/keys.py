"""Keys of every view: window presets and blinking overlays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from napari.components import ViewerModel

from napari_ctvlp.ui.layers import WINDOWS

#: Hides every overlay and shows it again.
BLINK = "B"
#: Bare digits belong to layer modes.
PRESETS = {f"Alt-{number}": name for number, name in enumerate(WINDOWS, start=1)}


class Keys:
    """Bindings of one view, bound on the instance.

    Parameters
    ----------
    model : ViewerModel
    on_blink : callable
        Called without arguments.
    on_preset : callable
        Called with a name of ``WINDOWS``.
    """

    def __init__(
        self,
        model: ViewerModel,
        on_blink: Callable[[], None],
        on_preset: Callable[[str], None],
    ) -> None:
        self.model = model
        model.bind_key(BLINK, lambda _: on_blink(), overwrite=True)
        for key, name in PRESETS.items():
            model.bind_key(key, partial(_preset, on_preset, name), overwrite=True)

    def close(self) -> None:
        """Take the bindings back."""
        for key in (BLINK, *PRESETS):
            self.model.bind_key(key, None, overwrite=True)


def _preset(on_preset: Callable[[str], None], name: str, _: ViewerModel) -> None:
    on_preset(name)
