"""What comparing one file of a golden folder with ours gives, and how it is printed."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike


@dataclass
class FileReport:
    """The comparison of one file: arrays compared, the largest relative error, and everything that went wrong.

    `failures` are sentences, the first array out of tolerance first, and `missed` names arrays that nothing compared; a
    file passes when it has neither. `unlogged` names arrays for which ours has no counterpart by design (metrics we do
    not log); they are listed, not failures.
    """

    file: str
    compared: int = 0
    largest_error: float = 0.0
    failures: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    unlogged: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every array of the file was compared and within tolerance."""
        return not self.failures and not self.missed

    def lines(self) -> list[str]:
        """The file's lines of the printed report."""
        verdict = "ok  " if self.passed else "FAIL"
        head = f"{verdict} {self.file}: {self.compared} arrays compared, "
        head += f"largest relative error {self.largest_error:.1e}"
        if self.unlogged:
            names = ", ".join(sorted({name.rsplit("metric/", 1)[-1] for name in self.unlogged}))
            head += f"; {len(self.unlogged)} metrics not compared (ours does not log them): {names}"
        rest = [f"     first out of tolerance: {self.failures[0]}"] if self.failures else []
        if len(self.failures) > 1:
            rest.append(f"     and {len(self.failures) - 1} more")
        if self.missed:
            rest.append(f"     not compared: {', '.join(self.missed)}")
        return [head, *rest]

    def expect(self, count: int) -> None:
        """Fail unless `count` arrays were compared, listed as not logged, or named in a failure."""
        seen = self.compared + len(self.unlogged)
        if seen < count and self.passed:
            self.failures.append(f"{count - seen} of {count} arrays were not compared")

    def close(self, name: str, theirs: ArrayLike, ours: ArrayLike, rtol: float) -> None:
        """Compare one array: |theirs - ours| at most `rtol` times the largest magnitude of theirs."""
        self.check(name, theirs, ours, lambda error, scale: error <= rtol * scale, f"tolerance {rtol:.0e}")

    def equal(self, name: str, theirs: ArrayLike, ours: ArrayLike) -> None:
        """Compare one array of counters, flags or indices: exactly."""
        self.check(name, theirs, ours, lambda error, scale: error == 0, "expected equality")

    def check(
        self,
        name: str,
        theirs: ArrayLike,
        ours: ArrayLike,
        within: Callable[[np.ndarray, float], np.ndarray | bool],
        rule: str,
        *,
        statistic: bool = False,
    ) -> None:
        """Compare one array: `within(absolute error, largest magnitude)` must hold for every entry.

        A `statistic` differs from draw to draw, so it says nothing about the largest relative error.
        """
        self.compared += 1
        expected, got = np.asarray(theirs), np.asarray(ours)
        if expected.shape != got.shape:
            self.failures.append(f"{name}: shape {list(got.shape)}, expected {list(expected.shape)}")
            return
        if expected.size == 0:
            return
        expected, got = expected.astype(np.float64), got.astype(np.float64)
        if np.isfinite(expected).all() and not np.isfinite(got).all():
            self.failures.append(f"{name}: not finite where a number is expected")
            return
        error = np.where(np.isnan(expected) & np.isnan(got), 0.0, np.abs(expected - got))
        scale = float(np.nanmax(np.abs(expected), initial=0.0))
        relative = float(error.max()) / scale if scale else float(error.max())
        self.largest_error = max(self.largest_error, 0.0 if statistic else relative)
        if not np.all(within(error, scale)):
            worst = np.unravel_index(int(np.nanargmax(error)), error.shape)
            spot = f"[{', '.join(map(str, worst))}] " if worst else ""
            self.failures.append(
                f"{name}: {spot}ours {got[worst]:.8g}, expected {expected[worst]:.8g}, relative {relative:.1e}, {rule}"
            )
