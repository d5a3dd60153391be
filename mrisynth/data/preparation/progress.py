"""How far a preparation is, and how long it will still take."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Event = Literal["started", "built", "reused", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a preparation.

    Attributes:
        subject: whom it concerns.
        event: started; or how it ended.
        done: subjects that have ended, this one included.
        total: subjects in all.
        seconds: since the preparation began.
        remaining: expected seconds to the end; None before the first subject was built.
        reason: on "started", why a subject that was prepared before is made anew; empty for a new one.
    """

    subject: str
    event: Event
    done: int
    total: int
    seconds: float
    remaining: float | None
    reason: str = ""


class Tracker:
    """Counts subjects as they end, and tells whoever wants to know."""

    def __init__(self, progress: Callable[[Progress], None] | None, total: int, reasons: dict[str, str]) -> None:
        self._progress = progress
        self._total = total
        self._reasons = reasons
        self._started = time.monotonic()
        self._events: dict[str, Event] = {}
        self._begun: dict[str, float] = {}
        self._most = 1
        self._lasted: list[float] = []

    def tell(self, subject: str, event: Event) -> None:
        """Note what happened to a subject, and pass it on."""
        self._events[subject] = event
        now = time.monotonic()
        if event == "started":
            self._begun[subject] = now
            self._most = max(self._most, len(self._begun))
        elif (begun := self._begun.pop(subject, None)) is not None and event == "built":
            self._lasted.append(now - begun)
        if self._progress:
            done = sum(event != "started" for event in self._events.values())
            reason = self._reasons.get(subject, "") if event == "started" else ""
            remaining = self._remaining(now, self._total - done)
            self._progress(Progress(subject, event, done, self._total, now - self._started, remaining, reason))

    def subjects(self, event: Event) -> list[str]:
        """The subjects to whom this happened last."""
        return [subject for subject, last in self._events.items() if last == event]

    def _remaining(self, now: float, left: int) -> float | None:
        """Each subject that is left takes as long as those that were built, as many side by side as there were."""
        if not self._lasted:
            return None
        mean = sum(self._lasted) / len(self._lasted)
        running = [max(mean - (now - begun), 0.0) for begun in self._begun.values()]
        work = sum(running) + (left - len(running)) * mean
        return max(work / self._most, *running, 0.0)
