"""Training of the small text tower: distilled from MiniLM, and taught what medicine keeps apart.

    python -m napari_ctvlp.training.text_tower --runs DIR --out weights/

Three terms. Distillation: general sentences, words and medical phrases lie where the teacher puts
them (cosine; teacher vectors are computed once and kept in the run's folder). Contrast: wordings
of one concept come together and concepts apart, a denied concept counting as one of its own
(supervised contrast after Khosla et al., NeurIPS 2020), with general sentences as strangers.
Sides: the left and the right version of a term stay a margin apart. One term in ten of each
concept is never read. The schedule, its weights and its sizes are our own choice.

Words start as the teacher's vector of the word alone, in its first principal components, so that
the untrained tower already is a bag of words.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models.precision import fast_bfloat16
from napari_ctvlp.models.text import TextTower
from napari_ctvlp.models.text_small import WEIGHTS, Network, SmallTower
from napari_ctvlp.training import rundir, text_corpus
from napari_ctvlp.training.text_lessons import Lessons, Plan, apart, contrast, corpus
from napari_ctvlp.training.text_teacher import Teacher

RATE, LEAST_RATE, WARM, DECAY, AVERAGE = 1.5e-3, 0.03, 60, 0.01, 0.995
DROPOUT = 0.1
#: Weights of contrast and sides beside distillation.
CONTRAST, SIDES = 0.15, 0.5
#: A general text is a stranger to a batch when the teacher finds it less alike than this cosine.
STRANGE = 0.4


class Training:
    """A run: network, running average, optimiser; saved and taken up again.

    Parameters
    ----------
    plan : Plan
    lessons : Lessons
    tokenizer : Tokenizer
    teacher : Teacher
        Holds the vectors of everything the lessons draw.
    """

    def __init__(
        self, plan: Plan, lessons: Lessons, tokenizer: Tokenizer, teacher: Teacher
    ) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.lessons, self.teacher, self.done = plan, lessons, teacher, 0
        shape = (tokenizer.get_vocab_size(), plan.width, plan.layers)
        self.student = SmallTower(tokenizer, Network(*shape, dropout=DROPOUT))
        start(self.student, teacher)
        self.average = Network(*shape).eval().requires_grad_(False)
        self.average.load_state_dict(self.student.network.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.student.network.parameters(), RATE, betas=(0.9, 0.98), weight_decay=DECAY
        )

    def step(self) -> dict[str, float]:
        """Learn from one batch; returns the parts of its loss."""
        torch.manual_seed(self.plan.seed * 1_000_003 + self.done)
        for group in self.optimiser.param_groups:
            group["lr"] = RATE * pace(self.done, self.plan.steps)
        parts = self._losses()
        loss = parts["general"] + parts["medical"]
        loss = loss + CONTRAST * parts["contrast"] + SIDES * parts["sides"]
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.student.network.parameters(), 1.0)
        self.optimiser.step()
        self.done += 1
        keep = min(AVERAGE, (self.done + 1) / (self.done + 10))
        with torch.no_grad():
            for old, new in zip(
                self.average.parameters(), self.student.network.parameters(), strict=True
            ):
                old.lerp_(new, 1 - keep)
        return {name: float(value.detach()) for name, value in parts.items()}

    def _losses(self) -> dict[str, torch.Tensor]:
        texts, drawn = self.lessons.general(self.done), self.lessons.medical(self.done)
        near = self._vectors(texts)
        vectors = self._vectors([w.text for w in drawn])
        # The teacher hardly hears a denial, so that it is not followed there.
        asserted = torch.tensor([not w.denied for w in drawn])
        known = torch.tensor([w.concept >= 0 for w in drawn])
        labels = torch.tensor([2 * w.concept + w.denied for w in drawn])
        wanted = self.teacher.vectors([w.text for w in drawn])
        aim = self.teacher.vectors(texts)
        strange = (aim @ wanted.T).amax(1) < STRANGE
        return {
            "general": 1 - (near * aim).sum(1).mean(),
            "medical": 1 - (vectors * wanted).sum(1)[asserted].mean(),
            "contrast": contrast(vectors[known], labels[known], near[strange]),
            "sides": apart(vectors, drawn),
        }

    def _vectors(self, texts: Sequence[str]) -> torch.Tensor:
        self.student.network.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
            out: torch.Tensor = self.student.network(*padded(self.student, texts))
        return out.float()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {
            "done": self.done,
            "student": self.student.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.done = int(state["done"])
        self.student.network.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])

    def tower(self) -> SmallTower:
        """Return the tower of the running average, which is what ships."""
        return SmallTower(self.student.tokenizer, self.average)


def pace(step: int, steps: int) -> float:
    """Share of the full rate: a linear start, then a cosine to three per cent."""
    if step < WARM:
        return (step + 1) / WARM
    share = min(1.0, (step - WARM) / max(1, steps - WARM))
    return LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + float(np.cos(np.pi * share)))


def padded(tower: SmallTower, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and their mask, shape (n, longest)."""
    rows = [torch.tensor(tower.ids(text)) for text in texts]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]


def start(tower: SmallTower, teacher: Teacher) -> None:
    """Begin as a bag of words: the teacher's vector of each word alone."""
    network, tokenizer = tower.network, tower.tokenizer
    ranked = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    names = [name.removeprefix("##") for name, _ in ranked]
    teacher.learn(names)
    vectors = teacher.vectors(names)
    middle = vectors.mean(0)
    basis = torch.linalg.svd(vectors - middle, full_matrices=False).Vh[
        : network.words.embedding_dim
    ]
    width = min(len(basis), network.words.embedding_dim)
    with torch.no_grad():
        network.words.weight.zero_()
        network.words.weight[:, :width] = 4 * (vectors - middle) @ basis[:width].T
        network.words.weight[:3] = 0
        network.out.weight.zero_()
        network.out.weight[:, :width] = basis[:width].T
        network.out.bias.copy_(middle)
        network.places.weight.mul_(0.02)
        for name, weight in network.named_parameters():
            if name.endswith(("seen.weight", "narrow.weight")):
                weight.mul_(0.2)


def prepare(runs: Path, plan: Plan, folders: Sequence[Path], minilm: TextTower) -> Training:
    """Gather texts, vocabulary and teacher vectors, and take up a run that was begun.

    Raises
    ------
    InputRefused
        If the run was begun with other sizes; only the number of steps may grow.
    """
    runs.mkdir(parents=True, exist_ok=True)
    _same(runs / "plan.json", plan)
    teacher = Teacher(minilm, runs)
    words = teacher.words()[: plan.words]
    texts = corpus(plan, words, folders)
    path = runs / "tokenizer.json"
    if not path.exists():
        counted = [(word, 1 + 20000 // (200 + n)) for n, word in enumerate(words)]
        counted += [(t, 30) for t in {w.term for w in texts.medical}]
        counted += [(w.text, 1) for w in texts.said] + [(text, 1) for text in texts.general[::3]]
        text_corpus.vocabulary(counted, plan.vocabulary).save(str(path))
    teacher.learn(texts.texts)
    training = Training(plan, Lessons(texts, plan), Tokenizer.from_file(str(path)), teacher)
    if rundir.checkpoints(runs):
        training.restore(rundir.newest(runs))
    return training


def run(training: Training, runs: Path, every: int = 50) -> SmallTower:
    """Train to the plan's end with checkpoints and a log; returns the tower."""
    begun, sums = time.process_time(), dict[str, float]()
    while training.done < training.plan.steps:
        for name, value in training.step().items():
            sums[name] = sums.get(name, 0.0) + value / every
        if training.done % every == 0 or training.done == training.plan.steps:
            rundir.save(training.state(), runs)
            row = {name: round(value, 4) for name, value in sums.items()}
            line = {"step": training.done, "seconds": round(time.process_time() - begun), **row}
            with (runs / rundir.LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            sums = {}
    return training.tower()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train or go on, then write the weights."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder of the run")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    for field in fields(Plan):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    chosen = vars(parser.parse_args(arguments))
    runs, out = chosen.pop("runs"), chosen.pop("out")
    torch.set_num_threads(1)
    plan = Plan(**chosen)
    training = prepare(runs, plan, text_corpus.installed(), TextTower.load())
    tower = run(training, runs)
    about = {"plan": json.dumps(asdict(plan)), "held_out": json.dumps(training.lessons.texts.left)}
    tower.write(out / WEIGHTS, about)


def _same(path: Path, plan: Plan) -> None:
    """Write the plan of a new run; refuse another plan for an old one."""
    now = asdict(plan)
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else now
    wrong = [f"{k} was {before[k]}, is {v}" for k, v in now.items() if before[k] != v]
    if [text for text in wrong if not text.startswith("steps ")]:
        raise InputRefused(
            "another-plan",
            f"the plan in {path}.",
            f"The run was begun with another one: {'; '.join(wrong)}.",
            "Use the same sizes, or another folder for the run.",
        )
    path.write_text(json.dumps(now), encoding="utf-8")


if __name__ == "__main__":
    main()
