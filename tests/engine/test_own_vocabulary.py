"""The file of a user's own words: written whole or not at all."""

import pytest

from napari_ctvlp.core.vocabulary import in_use
from napari_ctvlp.engine.own_vocabulary import save
from napari_ctvlp.errors import InputRefused


@pytest.mark.parametrize("words", ['["blob", "\ud800"]', "[]", '["cavity"]'])
def test_words_that_cannot_be_kept_change_nothing(words, tmp_path, monkeypatch):
    monkeypatch.setenv("CTVLP_CONFIG", str(tmp_path))
    with pytest.raises(InputRefused):
        save(f'[[finding]]\nname = "nodule"\nwords = {words}\n')
    assert not list(tmp_path.iterdir())
    assert in_use() == {}
