"""What a run bears from environments that raise, hang, or give what is no number: how many faults, and how long a call may take.

An environment at fault is made anew and the run goes on, up to a limit. A call that hangs is interrupted where that is possible:
in the main thread of a process on Linux or macOS. Elsewhere there is no limit of time.
"""

from __future__ import annotations

import signal
import threading
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType

from cumulant.errors import ConfigError, EnvironmentFault

TICKS = 4  # looks at a call before it counts as hanging: it is interrupted after 1 to 1.25 times the limit


@dataclass(frozen=True)
class FaultLimits:
    """What is borne.

    Args:
        max_faults: Faults of the environments of one training (or one evaluation) after which it ends; 0 to end at the first.
        env_timeout: Seconds that one call of an environment may take; 0 for any time.
    """

    max_faults: int = 10
    env_timeout: float = 60.0

    def __post_init__(self) -> None:
        if not self.max_faults >= 0:  # nor what is no number
            raise ConfigError(f"max_faults = {self.max_faults}: it must be at least 0")
        if not 0.0 <= self.env_timeout < float("inf"):
            raise ConfigError(f"env_timeout = {self.env_timeout}: it must be seconds, or 0 for any time")


_limits: ContextVar[FaultLimits | None] = ContextVar("fault_limits", default=None)


def fault_limits() -> FaultLimits:
    """Return the limits that hold here."""
    return _limits.get() or FaultLimits()


@contextmanager
def limiting_faults(max_faults: int, env_timeout: float) -> Iterator[None]:
    """Set the limits of all vector environments that are made inside; see ``FaultLimits``.

    Raises:
        ConfigError: If one is refused.

    >>> with limiting_faults(3, 1.5):
    ...     fault_limits()
    FaultLimits(max_faults=3, env_timeout=1.5)
    """
    token = _limits.set(FaultLimits(max_faults, env_timeout))
    try:
        yield
    finally:
        _limits.reset(token)


class Wrong(Exception):
    """What an environment gave is not of its kind; the message goes on from "environment ...": "gave the reward nan"."""


class Hang(BaseException):
    """A call took too long. No ``Exception``, so that an environment that catches all of those does not catch this."""


def bear(count: int, most: int, said: str, goes_on: str, cause: BaseException | None = None) -> None:
    """Warn of a fault that is borne.

    Args:
        count: How many there were, this one included.
        most: How many are borne.
        said: What was wrong, and where.
        goes_on: What becomes of it.
        cause: What was raised, if anything was.

    Raises:
        EnvironmentFault: If it is one too many.
    """
    if count > most:
        raise EnvironmentFault(
            f"{said}; it is fault {count} of this run, and max_faults = {most}: mend the environment, or bear more (--max-faults)"
        ) from cause
    warnings.warn(f"{said}; {goes_on} (fault {count}, {most} are borne)", stacklevel=5)


class Watchdog:
    """Interrupts a call in the main thread by raising ``Hang`` in it.

    A timer signal for each call would cost more than a fast environment's step, and belongs to whoever set it before. Here a
    second thread looks now and then whether the count of calls still moves, and sends a signal only when it does not. A context
    manager, inside which the calls are counted: add 1 to ``calls`` before each and 1 after it, so that odd is inside.

    Args:
        seconds: How long a call may take; 0 for any time.
    """

    def __init__(self, seconds: float) -> None:
        self.calls = 0
        self._thread = 0  # that makes calls now; 0 for none
        self._stop = threading.Event()
        self._able = seconds > 0.0 and _listening()
        if self._able:
            weakref.finalize(self, self._stop.set)
            guard = threading.Thread(
                target=_guard, args=(weakref.ref(self), seconds / TICKS, self._stop), daemon=True, name="env_timeout"
            )
            guard.start()

    def __enter__(self) -> None:
        self._thread = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._thread = 0
        self.calls += self.calls % 2  # a call that raised is over

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()

    def inside(self) -> int:
        """Return the number of the call that the main thread is in; 0 if it is in none."""
        if self._thread != threading.main_thread().ident or self.calls % 2 == 0:
            return 0
        return self.calls


_suspect: tuple[weakref.ref[Watchdog], int] | None = None


def _listening() -> bool:
    """Listen for the signal, and return whether that is possible."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_kill"):
        return False
    handler = signal.getsignal(signal.SIGVTALRM)
    if handler is _interrupt:
        return True
    if handler is not signal.SIG_DFL:  # somebody else's
        return False
    signal.signal(signal.SIGVTALRM, _interrupt)
    return True


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise in the main thread, unless the call that hung has returned meanwhile."""
    if _suspect is None:
        return
    watchdog = _suspect[0]()
    if watchdog is not None and watchdog.inside() == _suspect[1]:
        raise Hang


def _guard(reference: weakref.ref[Watchdog], tick: float, stop: threading.Event) -> None:
    global _suspect
    seen, ticks = 0, 0
    while not stop.wait(tick):
        watchdog = reference()
        if watchdog is None:
            return
        inside = watchdog.inside()
        ticks = ticks + 1 if inside and inside == seen else 0
        seen = inside
        if ticks >= TICKS:
            _suspect, ticks = (reference, inside), 0
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGVTALRM)
        del watchdog  # or it would live as long as this thread waits
