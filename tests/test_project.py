"""The project around the packages: pins, links, empty packages, make's first words, and skips that CI refuses."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")


def tracked(*patterns: str) -> list[Path]:
    """Return the files of the clone that git tracks, or would track."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


PAGES = sorted(page.relative_to(ROOT) for page in tracked("*.md"))


def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(text) for group in groups for text in group]


def test_package_files_are_empty_but_the_librarys() -> None:
    filled = [str(path.relative_to(ROOT)) for path in tracked("*__init__.py") if path.stat().st_size]
    assert filled == ["analysis/stats/__init__.py"]


def test_every_pin_is_exact_and_names_no_host() -> None:
    for pin in pins():
        assert [spec.operator for spec in pin.specifier] == ["=="], pin
        assert pin.url is None
    assert "://" not in (ROOT / "constraints.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_has_one_pin_that_satisfies_it(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    found: dict[str, str] = {}
    for pin in pins():
        if pin.marker is None or pin.marker.evaluate(environment):
            name = canonicalize_name(pin.name)
            assert name not in found, f"{pin.name} is pinned twice on Python {python}"
            found[name] = next(iter(pin.specifier)).version
    needed = [
        requirement for requirement in declared() if not requirement.marker or requirement.marker.evaluate(environment)
    ]
    for requirement in needed:
        assert requirement.specifier.contains(found[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_local_links_of_a_page_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (ROOT / page.parent / target).exists()] == []


@pytest.mark.parametrize("package", ["harness", "analysis"])
def test_login_node_packages_import_neither_jax_nor_an_environment(package: str) -> None:
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in tracked(f"{package}/*.py")]
    modules = [name for name in names if not name.endswith(("__init__", "__main__"))]
    heavy = "{'jax', 'optax', 'equinox', 'gymnasium', 'ale_py', 'metaworld', 'mujoco', 'cv2'}"
    code = f"import sys, {', '.join(modules) or 'os'}; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_every_command_is_documented() -> None:
    pages = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    programs = tracked("agent/*.py", "harness/*.py", "analysis/*.py", "tests/*__main__.py")
    runnable = [path for path in programs if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__") for path in runnable]
    assert [name for name in names if f"python -m {name}" not in pages] == []


def test_every_test_that_the_events_table_names_exists() -> None:
    table = (ROOT / "harness" / "README.md").read_text(encoding="utf-8").split("## Events on a cluster")[1]
    named = re.findall(r"`(test_\w+)[`…]", table)
    sources = "".join(path.read_text(encoding="utf-8") for path in tracked("tests/*.py"))
    assert len(named) > 20
    assert [name for name in named if f"def {name}" not in sources] == []


def make(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make on a bare copy of what make itself reads."""
    program = shutil.which("make")
    assert program is not None
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    # The make that runs these tests hands its own variables down (`make test PYTHON=python3.12`).
    ours = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "PYTHON", "EXTRAS", "PYTEST"}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run([program, *words], cwd=tmp_path, env=inherited | environment, capture_output=True, text=True)


def fake_python(tmp_path: Path, version: str, *, venv: bool) -> Path:
    path = tmp_path / f"python{version}"
    path.write_text(f'#!/bin/sh\ncase "$2" in *venv*) exit {0 if venv else 1} ;; *) echo {version} ;; esac\n')
    path.chmod(0o755)
    return path


def test_make_without_a_python_says_what_to_install(tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    done = make(tmp_path, "demo", PATH=str(empty))
    first, *rest = done.stderr.splitlines()
    assert done.returncode == 2
    assert first.startswith("make: no Python 3.11, 3.12 or 3.13 found; run 'apt-get install -y python3 python3-venv'")
    assert len(rest) == 1  # make's own closing line


def test_make_names_a_python_that_does_not_start(tmp_path: Path) -> None:
    done = make(tmp_path, "demo", "PYTHON=/nowhere/python3")
    assert done.stderr.startswith("make: /nowhere/python3 does not start; run ")


def test_make_names_a_python_that_is_too_old(tmp_path: Path) -> None:
    done = make(tmp_path, "test", f"PYTHON={fake_python(tmp_path, '3.9', venv=True)}")
    assert "is Python 3.9, not 3.11, 3.12 or 3.13" in done.stderr.splitlines()[0]
    assert "make test PYTHON=/path/to/python3" in done.stderr.splitlines()[0]


def test_make_names_a_python_without_venv(tmp_path: Path) -> None:
    done = make(tmp_path, "demo", f"PYTHON={fake_python(tmp_path, '3.12', venv=False)}")
    assert "has no venv module; run 'apt-get install -y python3 python3-venv'" in done.stderr.splitlines()[0]
    assert not (tmp_path / ".venv").exists()


def test_make_help_names_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    match = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert match is not None
    help_text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(match[1].split()) - set(re.findall(r"^make ([\w-]+)", help_text, re.MULTILINE)) == {"help"}


SKIPPING = """
import pytest

@pytest.mark.gl
def test_one():
    pytest.skip("no OpenGL here")

@pytest.mark.gl
@pytest.mark.skipif(True, reason="no OpenGL here either")
def test_two(): ...

def test_three():
    pytest.skip("not of a required kind")
"""
MODULE = 'import pytest\npytestmark = pytest.mark.gl\npytest.skip("none", allow_module_level=True)\n'


def outcome(tmp_path: Path, body: str, required: str) -> tuple[int, str]:
    """Return the exit code, and the closing line and errors, of pytest on one file under the project's conftest."""
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    (tmp_path / "tests" / "test_skips.py").write_text(body)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {"PATH": "/usr/bin:/bin", "HARMONY_BENCH_REQUIRE": required}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout.strip().split("\n")[-1] + done.stderr


@pytest.mark.parametrize(
    ("body", "required", "code", "closing"),
    [
        (SKIPPING, "", 0, "3 skipped"),
        (SKIPPING, "gl", 1, "1 failed, 1 skipped, 1 error"),
        (SKIPPING, "chromium", 0, "3 skipped"),
        (MODULE, "", 5, "1 skipped"),
        (MODULE, "gl", 2, "1 error"),
        (SKIPPING, "glx", 4, "unknown kind 'glx'"),
    ],
)
def test_a_required_kind_may_not_skip(tmp_path: Path, body: str, required: str, code: int, closing: str) -> None:
    returned, line = outcome(tmp_path, body, required)
    assert (returned, closing in line) == (code, True), line


@pytest.mark.slow
def test_a_wheel_carries_its_data_and_works_anywhere(tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    source = tmp_path / "source"
    for path in tracked():
        (source / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, source / path.relative_to(ROOT))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(source)]
    subprocess.run(pip, check=True, capture_output=True)
    shutil.rmtree(source)
    assert all((site / name / "py.typed").is_file() for name in ("agent", "harness", "analysis"))
    environment = {**os.environ, "PYTHONPATH": str(site)}
    for words in (["harness.launch", "grid=demo", "--dry-run"], ["analysis.report", "out=report"]):
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=elsewhere, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert (elsewhere / "report" / "index.html").is_file()


def test_the_citation_names_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"\nversion: {project['version']}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
