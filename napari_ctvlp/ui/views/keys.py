"""Keys of every view, bound on the view itself; the list is ``ui.desk.COMMANDS``."""

from __future__ import annotations

from collections.abc import Callable

from napari.components import ViewerModel

from napari_ctvlp.ui.desk import COMMANDS, Desk


class Keys:
    """Bindings of one view.

    Parameters
    ----------
    model : ViewerModel
    desk : Desk
        Does what the keys ask for.
    """

    def __init__(self, model: ViewerModel, desk: Desk) -> None:
        self.model = model
        for command in COMMANDS:
            model.bind_key(command.key, _asking(desk, command.name), overwrite=True)

    def close(self) -> None:
        """Take the bindings back."""
        for command in COMMANDS:
            self.model.bind_key(command.key, None, overwrite=True)


def _asking(desk: Desk, name: str) -> Callable[[ViewerModel], None]:
    def ask(model: ViewerModel) -> None:
        desk.run(name, model)

    return ask
