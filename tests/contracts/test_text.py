"""What may not stand in the repository: paths of one machine, addresses of package indexes."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {
    "a path of somebody's machine": r"(?<![\w.~<>{}*])/(work|root|home|Users)/\w",
    "a package index": r"\b(pypi|pythonhosted|anaconda)[.](org|com)|download[.]pytorch",
    "a merge left unfinished": r"^(<{7}|>{7}) ",
}


def texts():
    """Yield each tracked text file, by git's list."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        data = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b"\0"
        if b"\0" not in data[:4096]:
            yield name, data.decode("utf-8")


def test_forbidden_text():
    found = [
        f"{name}: {what}: {match.group()!r}"
        for name, text in texts()
        for what, pattern in FORBIDDEN.items()
        for match in re.finditer(pattern, text, re.MULTILINE)
    ]
    assert not found


def test_no_scan_or_checkpoint_but_the_sample():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    heavy = [n for n in tracked if n.endswith((".nii", ".nii.gz", ".dcm", ".pt", ".pth", ".ckpt"))]
    outside = [n for n in heavy if not n.startswith("examples/data/")]
    large = [n for n in outside if (ROOT / n).is_file() and (ROOT / n).stat().st_size > 200_000]
    assert not large


def test_decisions_are_numbered_once():
    numbers = [p.name[:4] for p in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert all(n.isdigit() for n in numbers)
    assert len(numbers) == len(set(numbers))


def test_links_of_the_readme_exist():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8"))
        assert not [link for link in links if not (ROOT / link).exists()]
