"""Sizes, annotations and documentation of the package, counted from its source."""

import ast
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = sorted((ROOT / "napari_ctvlp").rglob("*.py"))
SCRIPTS = [ROOT / "run.py", ROOT / "hatch_build.py"]

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path):
    """Yield (name for a message, node) of each function and method of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def public(tree):
    """Yield the module itself and each public class, function and method in it."""
    yield "module", tree
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                methods = [n for n in node.body if isinstance(n, Function)]
                yield from ((f"{node.name}.{n.name}", n) for n in methods if n.name[0] != "_")


def unannotated(node):
    """Name the parameters of a function that carry no annotation, and its missing return."""
    spec = node.args
    named = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg]
    bare = [a.arg for a in named if a and a.annotation is None and a.arg not in {"self", "cls"}]
    return bare + (["return"] if node.returns is None else [])


def test_function_lengths():
    lengths = {
        name: node.end_lineno - node.lineno + 1
        for path in PACKAGE + SCRIPTS
        for name, node in functions(path)
    }
    values = list(lengths.values())
    assert np.median(values) <= 12
    long = sorted(((n, name) for name, n in lengths.items() if n > 45), reverse=True)
    assert np.percentile(values, 95) <= 45, long
    assert max(values) <= 80, long


def test_file_lengths():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE + SCRIPTS
    }
    assert np.median([n for n in lengths.values() if n > 1]) <= 150
    assert not {name: n for name, n in lengths.items() if n > 400}


@pytest.mark.parametrize("path", PACKAGE + SCRIPTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_annotated_and_documented(path):
    bare = {name: gaps for name, node in functions(path) if (gaps := unannotated(node))}
    assert not bare
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not tree.body or not [n for n, node in public(tree) if not ast.get_docstring(node)]
