"""How often the gate takes an equal forecaster for a better one, and how often it sees a better one.

    python bench/gate.py [--pairs 1000]

Simulates pairs of forecasters of half a year. Hourly errors are sums of AR(1) processes with the time constants below, of a size
that changes with the weather over days; the two share most of them. `weather` is like the autocorrelation of the daily
differences between the models of the generated sample; `lasting` has errors of the level that last a month, as a fleet
that grows unseen makes them.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.signal import lfilter

from dsgo.bootstrap import interval, resample

DAYS, HOURS = 181, 24
BURN_IN = 90 * HOURS
OWN = 0.03  # share of each forecaster's squared error that the other does not make
KINDS = {"weather": {0.5: 0.6, 2: 0.3, 10: 0.1}, "lasting": {0.5: 0.5, 2: 0.2, 30: 0.3}}  # days: share of the variance
BLOCKS_DAYS = (1, 3, 7, 14)
CONFIDENCES = (0.95, 0.98)
BETTER = (0.01, 0.02, 0.04, 0.08)
RESAMPLES = 1000


def ar1(pairs: int, days: float, rng: np.random.Generator) -> np.ndarray:
    """Processes of variance 1 that forget at this time constant, shape (pairs, hours)."""
    kept = np.exp(-1 / (HOURS * days))
    noise = rng.normal(size=(pairs, BURN_IN + DAYS * HOURS)) * np.sqrt(1 - kept**2)
    return lfilter([1], [1, -kept], noise, axis=1)[:, BURN_IN:]


def daily_losses(pairs: int, kind: dict[float, float], better: float, rng: np.random.Generator) -> np.ndarray:
    """Sums of squared errors by day of candidate and champion, shape (days, pairs, 2)."""

    def errors() -> np.ndarray:
        return sum(np.sqrt(share) * ar1(pairs, days, rng) for days, share in kind.items())

    size, shared = np.exp(0.5 * ar1(pairs, 3, rng)), errors()
    both = [size * (np.sqrt(1 - OWN) * shared + np.sqrt(OWN) * errors()) for _ in range(2)]
    both[0] *= 1 - better
    return np.stack([(each**2).reshape(pairs, DAYS, HOURS).sum(axis=2).T for each in both], axis=2)


def promoted(losses: np.ndarray, block_days: int, confidence: float) -> float:
    """Share of the candidates whose interval lies below 0."""
    drawn = resample(losses.reshape(DAYS, -1), resamples=RESAMPLES, block_days=block_days).reshape(RESAMPLES, -1, 2)
    _, high = interval(np.log(drawn[..., 0] / drawn[..., 1]), confidence)
    return float(np.mean(high < 0))


def main() -> None:
    """Print both tables."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--pairs", type=int, default=1000)
    pairs = options.parse_args().pairs
    rng = np.random.default_rng(1)
    for name, kind in KINDS.items():
        losses = daily_losses(pairs, kind, 0.0, rng)
        for block_days in BLOCKS_DAYS:
            rates = [f"{100 * promoted(losses, block_days, c):.1f} % at {c}" for c in CONFIDENCES]
            print(f"{name}, equal, blocks of {block_days} days: promoted {', '.join(rates)}", flush=True)
        for better in BETTER:
            rate = promoted(daily_losses(pairs, kind, better, rng), 7, CONFIDENCES[-1])
            print(f"{name}, RMSE {100 * better:.0f} % lower, blocks of 7 days: promoted {100 * rate:.0f} %", flush=True)


if __name__ == "__main__":
    main()
