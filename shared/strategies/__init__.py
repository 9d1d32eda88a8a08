"""How many machines to ask for, and what follows a failure. `serverless` takes a warm seat and otherwise races."""

from __future__ import annotations

from shared.strategies.auto import Auto
from shared.strategies.base import Strategy
from shared.strategies.coldstart import Coldstart
from shared.strategies.race import Race
from shared.strategies.round_robin import RoundRobin

STRATEGIES: dict[str, Strategy] = {s.name: s for s in (Race(), RoundRobin(), Coldstart(), Auto())}
STRATEGIES["serverless"] = STRATEGIES["race"]
