"""Bids remembered: one line for each interruptible machine that served, written in the batch that closes its attempt."""

from __future__ import annotations

from shared.deps import Deps
from shared.domain import bids
from shared.domain.attempt import Attempt, Outcome
from shared.domain.bids import BidFigure, BidMemory, bid_id
from shared.domain.offer import normal_gpu
from shared.store.records import Transaction
from shared.store.shapes import BIDS_OF_GPU


def note(tx: Transaction, attempt: Attempt) -> None:
    """How long a closed attempt's machine ran at its bid, and whether it was taken away."""
    if attempt.bid_headroom is None or attempt.adopted_at is None or attempt.receipt is None:
        return
    gpu = normal_gpu(attempt.gpu_name)
    id = bid_id(attempt.provider, gpu, attempt.bid_headroom)
    fresh = BidMemory(id, attempt.provider, gpu, attempt.bid_headroom, tx.now)
    hours = max(0.0, (attempt.receipt.requested_at - attempt.adopted_at).total_seconds() / 3600)
    tx.save((tx.find(BidMemory, id) or fresh).noted(hours, attempt.outcome is Outcome.LOST, tx.now))


def of_gpu(gpu_name: str, lowest: float, deps: Deps) -> list[BidFigure]:
    """Every bid on a GPU that was tried; at most a few dozen documents."""
    memories = deps.records.all(BidMemory, BIDS_OF_GPU, {"gpu_name": normal_gpu(gpu_name)})
    return bids.figures(memories, lowest, deps.clock.now())
