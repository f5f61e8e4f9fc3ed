"""Where compiled code is kept between processes, how wide its registers are, and what is said when there is something to compile.

numba keeps machine code in ``__pycache__`` beside the sources, or in the user's cache folder where those cannot be written; where
neither can, it raises while a module is imported. ``prepare`` finds a place before that. numba also knows code again by the text
of the function's own file, though one that it calls may have changed in another file: with an upgrade, or in an editor. So the
names of files with our code tell from which sources it is: from all of them, as they were when the process began that compiled
it; what it compiles after an edit is not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

_VARIABLE = "NUMBA_CACHE_DIR"
COMPILED = ("data", "engine", "envs", "kernels")
_CACHING = "numba.core.caching"
_SHOWN = 6  # functions that are named
_marks: dict[str, str] = {}  # of packages, by their folders


def prepare(package: Path) -> None:
    """See to it that there is a place for compiled code, and that code of other sources is not taken for that of these.

    Where neither beside the sources nor in the user's folder code can be kept, numba is given a folder among the temporary
    files. Call it before the first compiled function is made. It warns when it chooses a place.

    Args:
        package: Folder of the package, with compiled functions in ``COMPILED``.
    """
    package = Path(os.path.abspath(package))  # as numba names the places of its files
    mark = mark_of(package)
    if not _marks:
        _adapt_numba()
    _marks[f"{package}{os.sep}"] = mark
    wanted = os.environ.get(_VARIABLE, "")
    if wanted and _writable(Path(wanted)):
        _fit(package, mark, Path(wanted))
        return
    found = _fit(package, mark, None)
    if not found and not _writable(package / "kernels" / "__pycache__"):  # numba takes it if it can, whatever is there
        found = _fit(package, mark, _users_folder())
    if found:
        if wanted:
            warnings.warn(f"{_VARIABLE} = {wanted} cannot be written: compiled code is kept elsewhere", stacklevel=3)
        return
    folder = _temporary()
    os.environ[_VARIABLE] = str(folder)
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = str(folder)
    _fit(package, mark, folder)
    warnings.warn(
        f"neither {package} nor {_users_folder()} can be written: compiled code is kept in {folder}; "
        f"name a better place with {_VARIABLE}",
        stacklevel=3,
    )


def mark_of(package: Path) -> str:
    """Return what the names of files with compiled code of a package contain: a digest of the sources as they are now."""
    digest = hashlib.sha256()
    for path in (path for folder in _folders(package) for path in sorted(folder.glob("*.py"))):
        digest.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes())
    return f"-{digest.hexdigest()[:16]}"


def _folders(package: Path) -> list[Path]:
    """Return the folders with compiled functions."""
    found = [path for name in COMPILED for path in (package / name, *(package / name).rglob("*")) if path.is_dir()]
    return sorted(path for path in found if path.name != "__pycache__")


def _fit(package: Path, mark: str, root: Path | None) -> bool:
    """Return whether code can be kept in a folder of numba's, or beside the sources, and delete what is of other sources there.

    What is there of these sources, maybe another user's, must be readable, too.
    """
    if not _writable(root or package / "kernels" / "__pycache__"):
        return False
    for folder in _folders(package):
        hashed = hashlib.sha1(str(folder).encode()).hexdigest()
        kept = root / f"{folder.name}_{hashed}" if root else folder / "__pycache__"  # as numba does
        for path in kept.glob("*.nb[ic]"):
            if mark not in path.name:  # only a process that still runs other sources would ask for it
                with contextlib.suppress(OSError):
                    path.unlink()
            elif not os.access(path, os.R_OK):
                return False
    return True


def _adapt_numba() -> None:
    """Let numba mark files and use wide registers; now, or as soon as it is imported."""
    if _CACHING not in sys.modules:
        sys.meta_path.insert(0, _OnImport())
        return
    _mark_names()
    _use_wide_registers(sys.modules["numba.core.config"])


def _mark_names() -> None:
    """Let numba put marks into the names of files."""
    numba = sys.modules[_CACHING]

    def package_of(cache: Any) -> str:
        file = os.path.abspath(getattr(cache.locator, "_py_file", ""))
        return next((package for package in _marks if file.startswith(package)), "")

    def marked(plain: Callable[..., str]) -> Callable[..., str]:
        return lambda cache, *names: f"{plain(cache, *names)}{_marks.get(package_of(cache), '')}"

    def unless_edited(plain: Callable[..., bool]) -> Callable[..., bool]:
        def cachable(
            cache: Any, code: Any
        ) -> bool:  # an edit before a module was imported is in the code, not in the mark
            package = package_of(cache)
            return plain(cache, code) and (not package or mark_of(Path(package)) == _marks[package])

        return cachable

    numba.CacheImpl.get_filename_base = marked(numba.CacheImpl.get_filename_base)
    for kind in (numba.CompileResultCacheImpl, numba.CodeLibraryCacheImpl):
        kind.check_cachable = unless_edited(kind.check_cachable)


def _use_wide_registers(config: Any) -> None:
    """Let numba use the widest registers, unless the user has told it what the processor has (NUMBA_CPU_FEATURES)."""
    if config.CPU_FEATURES is None and config.ENABLE_AVX:
        from llvmlite import binding

        with contextlib.suppress(RuntimeError):  # LLVM does not know this processor, and numba names no features either
            config.CPU_FEATURES = widened(binding.get_host_cpu_features().flatten())


def widened(features: str) -> str | None:
    """Return a processor's features with registers of 512 bits where they pay, None if what numba does is right.

    LLVM takes no more than 256 bits on Intel's processors with AVX-512, because the first of them lowered their clock for more.
    On a Xeon with bfloat16 PPO on CartPole is 7 % faster with all 512, and nothing that was tried is slower. It holds for all
    that numba compiles in this process.

    >>> widened("+avx512f,+avx512bf16"), widened("+avx512f,-avx512bf16")
    ('+avx512f,+avx512bf16,-prefer-256-bit', None)
    """
    return f"{features},-prefer-256-bit" if "+avx512bf16" in features.split(",") else None


class _OnImport(MetaPathFinder):
    """Calls ``_adapt_numba`` when ``numba.core.caching`` has been loaded, which is before any function is compiled."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return how to load that module as ever, and then call; None for any other."""
        if name != _CACHING:
            return None
        sys.meta_path.remove(self)
        spec: Any = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_mark(module: Any) -> None:
            load(module)
            _adapt_numba()

        spec.loader.exec_module = load_and_mark
        return spec


def _users_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "numba"


def _writable(folder: Path) -> bool:
    """Return whether files can be made in a folder, or it can be made; by trying, since rights do not tell everywhere."""
    if str(folder).startswith("~"):  # there is no home
        return False
    while (
        not os.path.exists(folder) and folder != folder.parent
    ):  # unlike Path.exists it bears what may not be looked at
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _temporary() -> Path:
    """Return a folder of this user's; what others could have written is not used, for compiled code is run."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    folder = Path(tempfile.gettempdir()) / f"cumulant-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        known = folder.lstat()
        own = not hasattr(os, "getuid") or (known.st_uid == os.getuid() and stat.S_IMODE(known.st_mode) & 0o022 == 0)
        if stat.S_ISDIR(known.st_mode) and own and _writable(folder):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="cumulant-"))


@contextmanager
def saying(say: Callable[[str], None] | None) -> Iterator[Callable[[], None]]:
    """Say what is compiled inside, and how long it took; nothing if everything was found compiled.

    Args:
        say: Called with a line when compiling begins, and with another one at the end; None for nobody.

    Yields:
        What says the second line at once, if there is something to say: call it when the first results are there.
    """
    if say is None or "numba" not in sys.modules:
        yield lambda: None
        return
    from numba.core import event
    from numba.core.caching import NullCache

    class Watch(event.Listener):
        depth, began, name, kept = 0, 0.0, "", True

        def __init__(self) -> None:
            self.seconds: dict[str, float] = {}  # by function, of those that will be found and of those that will not
            self.each_time: dict[str, float] = {}

        def on_start(self, event: Any) -> None:
            if self.depth == 0:
                dispatcher = event.data["dispatcher"]
                self.kept = not isinstance(dispatcher._cache, NullCache)
                self.name = dispatcher.py_func.__name__.lstrip("_")
                if self.kept and not self.seconds:
                    say("compiling for this processor, the first time only")
                if not self.kept and not self.each_time:
                    say(f"compiling {self.name}, which is not kept")
                self.began = time.perf_counter()
            self.depth += 1

        def on_end(self, event: Any) -> None:
            self.depth -= 1
            if self.depth == 0:
                names = self.seconds if self.kept else self.each_time
                names[self.name] = names.get(self.name, 0.0) + time.perf_counter() - self.began

        def tell(self) -> None:
            if self.seconds:
                say(f"compiled {_told(self.seconds)}; the next run finds them")
            if self.each_time:
                say(f"compiled {_told(self.each_time)}, as every run will: cache=True in its njit would keep it")
            self.seconds, self.each_time = {}, {}

    watch = Watch()
    with event.install_listener("numba:compile", watch):
        try:
            yield watch.tell
        finally:
            watch.tell()


def _told(seconds: dict[str, float]) -> str:
    names, more = list(seconds), f" and {len(seconds) - _SHOWN} more" if len(seconds) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more} in {sum(seconds.values()):.1f} s"
