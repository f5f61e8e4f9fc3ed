"""Where compiled code is kept between processes, and what is said when there is something to compile.

numba keeps machine code in ``__pycache__`` beside the sources, or in the user's cache folder where those cannot be written; where
neither can, it raises while a module is imported. ``prepare`` finds a place before that, and drops code of other sources.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_VARIABLE = "NUMBA_CACHE_DIR"
COMPILED = ("data", "engine", "envs", "kernels")
_STAMP = "compiled_from"  # name of the file that says of which sources the code is
_SHOWN = 6  # functions that are named


def prepare(package: Path) -> None:
    """See to it that there is a place for compiled code, and that what is there was compiled from these sources.

    Where neither beside the sources nor in the user's folder code can be kept, numba is given a folder among the temporary
    files. Call it before the first compiled function is made. It warns when it chooses a place.

    Args:
        package: Folder of the package, with compiled functions in ``COMPILED``.
    """
    package = Path(os.path.abspath(package))  # as numba names the places of its files
    wanted = os.environ.get(_VARIABLE, "")
    if wanted and _writable(Path(wanted)) and _drop_stale(package, Path(wanted)):
        return
    beside = package / "kernels" / "__pycache__"
    found = _usable(package) and _drop_stale(package, None)
    if not found and not _writable(beside):  # numba takes it if it can, and could not read what is there
        found = _writable(_users_folder()) and _drop_stale(package, _users_folder())
    if found:
        if wanted:
            warnings.warn(f"{_VARIABLE} = {wanted} cannot be written: compiled code is kept elsewhere", stacklevel=3)
        return
    folder = _temporary()
    os.environ[_VARIABLE] = str(folder)
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = str(folder)
    _drop_stale(package, folder)
    warnings.warn(
        f"neither {package} nor {_users_folder()} can be written: compiled code is kept in {folder}; "
        f"name a better place with {_VARIABLE}",
        stacklevel=3,
    )


def _drop_stale(package: Path, root: Path | None) -> bool:
    """Delete code that was compiled from other sources, in a folder of numba's, or beside the sources.

    numba knows code again by the text of the function's own file. A function that it calls, in another file, may have changed
    meanwhile: with an upgrade, or in an editor. Returns whether nothing stale is left.
    """
    folders = [path for name in COMPILED for path in (package / name, *(package / name).rglob("*")) if path.is_dir()]
    folders = sorted(path for path in folders if path.name != "__pycache__")
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.glob("*.py")):
            digest.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes())
    found = digest.hexdigest()
    stamp = package / "kernels" / "__pycache__" / _STAMP
    if root is not None:
        stamp = root / f"{_STAMP}_{hashlib.sha1(str(package).encode()).hexdigest()}"
    with contextlib.suppress(OSError):
        if stamp.read_text(encoding="ascii") == found:
            return True
    try:
        for folder in folders:
            kept = folder / "__pycache__"
            if root is not None:  # where numba keeps it
                kept = root / f"{folder.name}_{hashlib.sha1(str(folder).encode()).hexdigest()}"
            for path in kept.glob("*.nb[ic]"):
                path.unlink(missing_ok=True)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        part = stamp.with_name(f"{stamp.name}.{os.getpid()}")
        part.write_text(found, encoding="ascii")
        part.replace(stamp)
    except OSError:
        return False
    return True


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


def _usable(package: Path) -> bool:
    """Return whether code can be kept beside the sources: what is there already, maybe another user's, must be readable, too."""
    if not _writable(package / "kernels" / "__pycache__"):
        return False
    for kept in (path for name in COMPILED for path in (package / name).rglob("__pycache__/*.nb[ic]")):
        try:
            kept.open("rb").close()
        except OSError:
            return False
    return True


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
