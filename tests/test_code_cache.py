"""Where compiled code is kept when the usual places cannot be written, and what is said when there is something to compile."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import pytest

import cumulant
from cumulant.code_cache import mark_of, prepare, saying, widened


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No place that can be written but the folder of temporary files; returned with where the package would be."""
    file = tmp_path / "file"  # below a file nothing can be made, not even by root
    file.touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(file / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    return tmp_path, file


def test_without_a_place_there_is_one_among_the_temporary_files(nowhere):
    temporary, package = nowhere
    with pytest.warns(UserWarning, match="can be written: compiled code is kept in .*NUMBA_CACHE_DIR"):
        prepare(package)
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert folder.parent == temporary
    assert folder.stat().st_mode & 0o777 == 0o700
    assert str(folder) == numba.config.CACHE_DIR
    prepare(package)  # and all is well


def test_what_others_could_have_written_is_not_run(nowhere):
    temporary, package = nowhere
    (temporary / f"cumulant-{os.getuid()}").mkdir()
    (temporary / f"cumulant-{os.getuid()}").chmod(0o777)
    with pytest.warns(UserWarning, match="compiled code is kept in"):
        prepare(package)
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert folder.name != f"cumulant-{os.getuid()}"
    assert folder.is_dir()


@pytest.mark.parametrize("home", ["", "missing"])
def test_usual_places_are_left_to_numba(nowhere, monkeypatch, home):
    temporary, package = nowhere
    prepare(temporary)  # beside the sources
    monkeypatch.setenv("XDG_CACHE_HOME", str(temporary / home))
    prepare(package)  # of the user
    assert os.environ["NUMBA_CACHE_DIR"] == ""


def test_a_named_place_that_cannot_be_written_is_reported(nowhere, monkeypatch):
    temporary, package = nowhere
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(package))
    with pytest.warns(UserWarning, match=r"NUMBA_CACHE_DIR = .* cannot be written: compiled code is kept elsewhere"):
        prepare(temporary)
    assert os.environ["NUMBA_CACHE_DIR"] == str(package)


@pytest.mark.parametrize("part", ["kernels", "envs/warfarin"])
def test_what_another_user_keeps_to_himself_is_not_relied_on(nowhere, part):
    """A link to nowhere can be read by nobody: even root, who runs tests in containers, is refused."""
    temporary, _ = nowhere
    folder = temporary / "package" / part / "__pycache__"
    folder.mkdir(parents=True)
    prepare(temporary / "package")
    assert os.environ["NUMBA_CACHE_DIR"] == ""
    (folder / f"theirs{mark_of(temporary / 'package')}.py311.nbi").symlink_to(temporary / "none")
    with pytest.warns(UserWarning, match="compiled code is kept in"):
        prepare(temporary / "package")
    assert Path(os.environ["NUMBA_CACHE_DIR"]).is_dir()


KERNEL = """
from numba import njit
from {package}.envs.constant import constant

@njit(cache=True)
def kernel():
    return constant()
"""
CONSTANT = """
from numba import njit

@njit
def constant():
    return {value}
"""


class MadeUp:
    """A package with a kernel, and a function in another file that it calls and that gives a number."""

    def __init__(self, folder, named="", found_at=None):
        self.package, self.found_at = folder / "made_up", found_at or folder
        for name in ("kernels", "envs"):
            (self.package / name).mkdir(parents=True)
        (self.package / "__init__.py").write_text("from pathlib import Path\nfrom cumulant.code_cache import prepare\n"
                                                  "prepare(Path(__file__).parent)\n")  # fmt: skip
        (self.package / "kernels" / "kernel.py").write_text(KERNEL.format(package="made_up"))
        self.environment = os.environ | {
            "NUMBA_CACHE_DIR": named,
            "PYTHONPATH": str(Path(cumulant.__file__).parents[1]),
        }

    def edit(self, value):
        (self.package / "envs" / "constant.py").write_text(CONSTANT.format(value=value))

    def start(self, late=False):
        """A process that imports the kernel, or ``late`` its package only, and runs the kernel once it is told to."""
        load = "from made_up.kernels.kernel import kernel as k\n"
        code = (
            f"import sys; sys.path.insert(0, {str(self.found_at)!r})\n{'import made_up' if late else load}\n"
            f"print('ready', flush=True); input()\n{load}print(k(), *map(len, (k.stats.cache_hits, k.stats.cache_misses)))"
        )
        words = {"env": self.environment, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen([sys.executable, "-c", code], **words)
        assert process.stdout.readline() == "ready\n"
        return process

    def run(self, process=None):
        """What the kernel gives, how often its code was found and how often compiled."""
        return [int(word) for word in (process or self.start()).communicate("\n")[0].split()]

    def files(self):
        return sorted(self.package.rglob("*.nb[ic]"))


@pytest.mark.parametrize("place", ["beside the sources", "named", "named, reached in a roundabout way"])
def test_code_of_other_sources_is_not_run(tmp_path, place):
    """Numba by itself notices a change in the kernel's own file, and none in what the kernel calls."""
    found_at = tmp_path / "made_up" / ".." if "roundabout" in place else None
    made_up = MadeUp(tmp_path, str(tmp_path / "code") if place.startswith("named") else "", found_at)
    said = []
    for value in (1, 1, 2):
        made_up.edit(value)
        said.append(made_up.run())
    assert said == [[1, 0, 1], [1, 1, 0], [2, 0, 1]]  # compiled, found, compiled anew
    code = tmp_path / "code" if place.startswith("named") else made_up.package
    assert len(list(code.rglob("*.nbi"))) == len(list(code.rglob("*.nbc"))) == 1  # and the old one is gone


@pytest.mark.parametrize("new_one_first", [True, False])
def test_what_a_process_compiles_that_began_before_an_edit_is_not_run(tmp_path, new_one_first):
    made_up = MadeUp(tmp_path)
    made_up.edit(1)
    old = made_up.start()
    made_up.edit(2)
    new = made_up.start()
    said = [made_up.run(process) for process in ((new, old) if new_one_first else (old, new))]
    assert sorted(said) == [[1, 0, 1], [2, 0, 1]]
    assert made_up.run() == [2, 1, 0]


def test_what_is_imported_after_an_edit_is_not_kept_as_from_before(tmp_path):
    made_up = MadeUp(tmp_path)
    made_up.edit(1)
    early = made_up.start(late=True)
    made_up.edit(2)
    assert made_up.run(early) == [2, 0, 1]
    assert not made_up.files()
    made_up.edit(1)
    assert made_up.run() == [1, 0, 1]
    assert made_up.run() == [1, 1, 0]


def test_places_that_the_user_chooses_by_class_are_marked_too(tmp_path):
    made_up = MadeUp(tmp_path)
    made_up.environment["NUMBA_CACHE_LOCATOR_CLASSES"] = "InTreeCacheLocator"
    said = []
    for value in (1, 1, 2):
        made_up.edit(value)
        said.append(made_up.run())
    assert said == [[1, 0, 1], [1, 1, 0], [2, 0, 1]]


def test_code_of_others_is_kept_as_ever(tmp_path):
    """Of the user's own environments, say: names and stamps are numba's."""
    made_up = MadeUp(tmp_path)
    (tmp_path / "theirs.py").write_text("from numba import njit\n@njit(cache=True)\ndef f():\n    return 3\n")
    (made_up.package / "kernels" / "kernel.py").write_text("from theirs import f as kernel\n")
    said = []
    for value in (1, 2):
        made_up.edit(value)
        said.append(made_up.run())
    assert said == [[3, 0, 1], [3, 1, 0]]
    version = f"py{sys.version_info[0]}{sys.version_info[1]}"
    assert {path.name for path in tmp_path.rglob("*.nbi")} == {f"theirs.f-2.{version}.nbi"}


@pytest.mark.parametrize("kept", [True, False])
def test_compiling_is_said_once_with_its_time(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    @numba.njit
    def inner(x):
        return x + 1

    @numba.njit(cache=kept)
    def outer(x):
        return inner(x) * 2

    lines = []
    with saying(lines.append) as told:
        assert outer(1) == 4
        assert lines == [
            "compiling for this processor, the first time only" if kept else "compiling outer, which is not kept"
        ]
        told()
        assert outer(2) == 6
        told()
    assert len(lines) == 2
    assert lines[1].startswith("compiled outer in ")
    assert lines[1].endswith(
        " s; the next run finds them" if kept else " s, as every run will: cache=True in its njit would keep it"
    )
    with saying(None) as told:
        outer(1.0)
        told()


def test_the_second_process_finds_what_the_first_compiled(tmp_path):
    words = ["train", "q_learning", "FrozenLake-v1", "--total-steps", "300", "--json"]
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path / "code"),
        "PYTHONPATH": str(Path(cumulant.__file__).parents[1]),
    }
    said = []
    for name in ("first", "second"):
        done = subprocess.run(
            [sys.executable, "-m", "cumulant.cli.main", *words, "--out", str(tmp_path / name)],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        said.append(done.stderr)
        assert done.stdout.startswith("{")
        assert len(done.stdout.splitlines()) == 1
    assert "compiling for this processor, the first time only" in said[0]
    assert "compiled " in said[0]
    assert "compil" not in said[1].replace("engine: compiled", "")


@pytest.mark.parametrize("told", [None, "+avx2"])
def test_wide_registers_are_used_unless_the_user_has_named_features(told):
    """In a process of its own, because numba asks once; what this processor has, LLVM says."""
    code = "import cumulant, llvmlite.binding as b, cumulant.kernels.products, numba.core.config as c\n"
    code += "print(c.CPU_FEATURES); print(b.get_host_cpu_features().flatten())"
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CPU_FEATURES"}
    environment |= {"NUMBA_CPU_FEATURES": told} if told else {}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    asked, host = found.stdout.split()
    assert asked == (told or str(widened(host)))
    assert widened("+avx512f,+avx512bf16") == "+avx512f,+avx512bf16,-prefer-256-bit"
