"""The file of a user's own words: written whole or not at all."""

import numpy as np
import pytest

from napari_ctvlp.core.vocabulary import in_use, use
from napari_ctvlp.core.vocabulary.own import read
from napari_ctvlp.engine.archived import embed
from napari_ctvlp.engine.evidence.probe import Probe
from napari_ctvlp.engine.own_vocabulary import save
from napari_ctvlp.errors import InputRefused


@pytest.mark.parametrize("words", ['["blob", "\ud800"]', "[]", '["cavity"]'])
def test_words_that_cannot_be_kept_change_nothing(words, tmp_path, monkeypatch):
    monkeypatch.setenv("CTVLP_CONFIG", str(tmp_path))
    with pytest.raises(InputRefused):
        save(f'[[finding]]\nname = "nodule"\nwords = {words}\n')
    assert not list(tmp_path.iterdir())
    assert in_use() == {}


def test_a_word_of_ones_own_is_asked_alike_by_answers_stores_and_checks():
    use(read('[[finding]]\nname = "nodule"\nwords = ["nummular focus"]\n'))
    try:
        found = [embed(f"{word} in the left lung") for word in ("nodule", "nummular focus")]
        checked = [Probe.of(f"{word} in the left lung") for word in ("nodule", "nummular focus")]
        np.testing.assert_array_equal(*found)
        np.testing.assert_array_equal(*(one.vector.vector for one in checked))
    finally:
        use({})
