"""How those who speak S3 differ, as far as it matters here: one table, from their documentation, November 2026.

Nothing relies on conditional writes, on multipart uploads or on writing one key again: every object has a name of its
own and comes by one PUT. What is left to tell apart: how objects are deleted, what asks to try again, what it costs.
"""

from __future__ import annotations

from shared.domain.reference_prices import STORAGE, StoragePrice
from shared.frozen import dataclass


@dataclass(frozen=True)
class Vendor:
    title: str
    price: StoragePrice
    endpoint: str | None
    """Where a region of it answers; None: its own address must be given."""
    egress: str
    """What reading costs, in words."""
    bulk_delete: bool = True
    """Takes DeleteObjects as boto3 sends it: with a checksum header, which cannot be switched off for that call."""
    versions: bool = False
    """Keeps what was deleted or replaced until each version is deleted by itself."""
    busy: frozenset[str] = frozenset({"SlowDown", "TooManyRequests", "ConditionalRequestConflict", "OperationAborted"})
    """Codes that mean: the same again, later; whatever the status."""


VENDORS: dict[str, Vendor] = {
    "s3": Vendor(
        "AWS S3 and compatible", STORAGE["s3"], "https://s3.{region}.amazonaws.com", "$0.09 a GB after 100 GB a month"
    ),
    # More than one write a second to the same key is 429.
    "r2": Vendor("Cloudflare R2", STORAGE["r2"], None, "free"),
    # Refuses every checksum header with 400 and conditions on writes with 501.
    "b2": Vendor(
        "Backblaze B2",
        STORAGE["b2"],
        "https://s3.{region}.backblazeb2.com",
        "free up to three times what is stored, then $0.01 a GB",
        bulk_delete=False,
        versions=True,
    ),
    # Answers its rate limit as 400 and ignores conditions on writes.
    "wasabi": Vendor(
        "Wasabi",
        STORAGE["wasabi"],
        "https://s3.{region}.wasabisys.com",
        "free up to what is stored",
        # 400: the answer to a HEAD has no body that could name the code.
        busy=frozenset({"SlowDown", "RequestRateLimitExceeded", "400"}),
    ),
}
