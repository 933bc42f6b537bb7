"""Windows of the rows before each row of a table, with whatever rows there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Past:
    """Windows that end with each row, over the rows that are there. What rows they hold is found once for all inputs."""

    seconds: np.ndarray
    _found: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def lag(self, values: np.ndarray, lag_s: int) -> np.ndarray:
        """`values`, shape (…, n), of `lag_s` seconds earlier (later if negative), or the row's own where there is no such row."""
        return values[..., self._once("lag", lag_s, self._rows_before)]

    def means(self, values: np.ndarray, spans_hours: Sequence[int]) -> list[np.ndarray]:
        """Means of `values`, shape (…, n), over the rows of the last hours, the row's own included, for each span.

        A window is the sum of blocks whose lengths are powers of two. Differences of running sums would be quicker, but their
        last digits depend on the rows before the window, and a tree may split between such digits.
        """
        counts = [self._once("count", hours * 3600, self._counts) for hours in spans_hours]
        sums, ends = [np.zeros(values.shape) for _ in counts], [np.arange(1, values.shape[-1] + 1) for _ in counts]
        blocks, length = values, 1  # sums of so many rows, by the first
        while length <= max(count.max() for count in counts):
            for count, total, end in zip(counts, sums, ends, strict=True):
                rows = np.flatnonzero(count & length)
                if len(rows):
                    end[rows] -= length
                    total[..., rows] += blocks[..., end[rows]]
            blocks, length = blocks[..., :-length] + blocks[..., length:], 2 * length
        return [total / count for total, count in zip(sums, counts, strict=True)]

    def lowest(self, values: np.ndarray, hours: int) -> np.ndarray:
        """The least of the rows of the last hours, the row's own included.

        A window is covered by two that are as long as the largest power of two within it: one ends with it, one begins with it
        (Bender and Farach-Colton, "The LCA problem revisited", LATIN (2000), section 3: sparse tables).
        """
        first = self._once("first", hours * 3600, self._first_rows)
        count = self._once("count", hours * 3600, self._counts)
        lowest, answer, length = values, values.copy(), 1
        while length <= count.max():
            rows = np.flatnonzero((count >= length) & (count < 2 * length))
            answer[rows] = np.minimum(lowest[rows], lowest[first[rows] + length - 1])
            longer = lowest.copy()  # of twice the length; the first rows have no such window, and it is not asked for
            np.minimum(lowest[length:], lowest[:-length], out=longer[length:])
            lowest, length = longer, 2 * length
        return answer

    def _once(self, what: str, span_s: int, find: Callable[[int], np.ndarray]) -> np.ndarray:
        if (what, span_s) not in self._found:
            self._found[what, span_s] = find(span_s)
        return self._found[what, span_s]

    def _rows_before(self, lag_s: int) -> np.ndarray:
        at = np.minimum(np.searchsorted(self.seconds, self.seconds - lag_s), max(len(self.seconds) - 1, 0))
        return np.where(self.seconds[at] == self.seconds - lag_s, at, np.arange(len(at)))

    def _first_rows(self, span_s: int) -> np.ndarray:
        return np.searchsorted(self.seconds, self.seconds - span_s, side="right")

    def _counts(self, span_s: int) -> np.ndarray:
        return np.arange(1, len(self.seconds) + 1) - self._once("first", span_s, self._first_rows)
