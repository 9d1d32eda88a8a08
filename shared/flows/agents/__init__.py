"""The machines' side: who an agent is, its registration, its heartbeats, its uploads, its results."""

from shared.flows.agents.adoption import register
from shared.flows.agents.heartbeats import heartbeat, with_timer
from shared.flows.agents.identity import agent_of
from shared.flows.agents.results import result
from shared.flows.agents.saving import commit_snapshot, downloads, uploads
from shared.flows.agents.telling import new_order

__all__ = [
    "agent_of",
    "commit_snapshot",
    "downloads",
    "heartbeat",
    "new_order",
    "register",
    "result",
    "uploads",
    "with_timer",
]
