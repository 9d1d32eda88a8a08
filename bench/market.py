"""The market's memory: what a month of a year of samples reads, and what a week of searches takes of a provider's budget.

    make bench NAME=market

A year of hourly samples of forty GPUs, of both kinds and three providers, is in the store; a band of thirty days is read and its
documents counted. Then fifty users search through a simulated week beside the sampler, at the provider's own limits; no clock
of this machine is in any figure.
"""

from __future__ import annotations

from dataclasses import asdict

from bench.report import finish
from shared.flows import market
from shared.providers.pacing import BACKGROUND_SHARE, DEFAULT_INTERVAL_S
from tests.support.market import lived_week, month_of, year_of_forty_gpus

QUOTA, A_MINUTE, USERS = 2000, 10, 50
GOALS = {
    "band_reads": "<= 50",
    "week.most_a_minute": f"<= {A_MINUTE}",
    "week.most_a_day": f"<= {QUOTA}",
    "week.longest_wait_s": f"<= {DEFAULT_INTERVAL_S['search']:g}",
    "samples_a_day": f"<= {QUOTA * BACKGROUND_SHARE:g}",
}


def main() -> None:
    store, world = year_of_forty_gpus()
    reads, points = [], []
    for interruptible in (False, True):
        store.reads = 0
        points.append(len(market.show(month_of(interruptible), world.user.id, world.deps).band))
        reads.append(store.reads)
    week = lived_week(QUOTA, USERS)
    figures = {
        "band_reads": max(reads),
        "band_points": min(points),
        "users": USERS,
        "week": {name: round(value, 3) for name, value in asdict(week).items()},
        "samples_a_day": round(week.samples / 7, 1),
    }
    ok = (
        max(reads) <= 50
        and min(points) >= 30
        and week.most_a_minute <= A_MINUTE
        and week.most_a_day <= QUOTA
        and week.longest_wait_s <= DEFAULT_INTERVAL_S["search"]
        and week.samples / 7 <= QUOTA * BACKGROUND_SHARE
    )
    finish("market", figures, GOALS, ok)


if __name__ == "__main__":
    main()
