"""Prompts become vectors by a tower with its tokenizer, or from a table made before."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.encoders.prompts import Prompts, read_vectors, wordpiece, write_vectors


def test_each_text_is_run_once_and_a_pair_is_a_difference():
    seen = []

    def run(texts):
        seen.extend(texts)
        return np.array([[len(text), 1.0] for text in texts], np.float32)

    prompts = Prompts(run, positive="{}.", negative="Not {}.")
    (first,) = prompts.pairs(["effusion."])
    prompts.pairs(["effusion"] * 100)
    assert seen == ["effusion.", "Not effusion."]
    assert first.vector.tolist() == [-4.0, 0.0]
    assert prompts.pairs([]) == []


def test_without_a_tokenizer_known_texts_work_and_others_say_why(tmp_path):
    path = tmp_path / "text-vectors.safetensors"
    write_vectors(path, ["Emphysema.", "Not Emphysema."], np.eye(2, dtype=np.float32))
    prompts = Prompts(
        None, read_vectors(path), "vocab.txt is missing.", positive="{}.", negative="Not {}."
    )
    assert prompts.pairs(["emphysema"])[0].vector.tolist() == [1.0, -1.0]
    with pytest.raises(ModelRefused, match=r"'nodule\.' has none.*vocab\.txt is missing"):
        prompts.pairs(["nodule"])


def test_a_damaged_table_is_refused_and_a_missing_one_is_empty(tmp_path):
    path = tmp_path / "text-vectors.safetensors"
    assert read_vectors(path) == {}
    path.write_bytes(b"no tensors")
    with pytest.raises(ModelRefused, match=r"text-vectors\.safetensors cannot be used"):
        read_vectors(path)


def test_wordpiece_marks_pads_and_cuts(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "lung", "no", "##dule", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    ids, mask = wordpiece(tmp_path / "vocab.txt", 6)(["Lung nodule.", "lung", "lung " * 9])
    assert ids.tolist() == [[2, 5, 6, 7, 8, 3], [2, 5, 3, 0, 0, 0], [2, 5, 5, 5, 5, 3]]
    assert mask.sum(1).tolist() == [6, 3, 6]
    assert wordpiece(tmp_path / "none.txt", 6) is None
