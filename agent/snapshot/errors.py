"""What can go wrong with a snapshot, for whoever ordered it."""

from __future__ import annotations


class SnapshotError(Exception):
    """It could not be taken or restored; nothing was committed or half restored as if whole."""
