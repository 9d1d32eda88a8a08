"""Every error that Dumont Cloud raises on purpose, in one tree.

    Error
    ├── InvalidRequest            the caller's input is wrong; the message names the field
    │   ├── BodyTooLarge
    │   ├── UnsupportedMediaType
    │   └── MethodNotAllowed
    ├── Unauthenticated           no credential, or one that does not hold
    ├── Forbidden                 a good credential that may not do this
    ├── NotFound                  no such thing, or not the caller's
    ├── Conflict                  the thing's state does not allow it
    │   ├── IllegalTransition
    │   └── IdempotencyConflict   the same key with another body
    ├── TooManyRequests           the caller must wait
    ├── ModelNotReady             a deployed model starts or wakes; ask again later
    ├── BudgetReached             the month's budget is used up: nothing more is rented
    ├── NoCapacity                nothing to rent that fits
    ├── ProviderError             a provider refused or failed
    │   ├── ProviderRejected      asking again cannot help
    │   ├── ProviderBusy          nothing happened; ask again later
    │   ├── OutcomeUnknown        we cannot tell whether the provider acted: look before asking again
    │   └── MachineNotFound       the machine is gone
    ├── StorageError              object storage failed
    │   └── ObjectNotFound
    ├── StoreConflict             a compare-and-set lost; read again
    ├── StaleLease                this worker's lease was taken by another
    ├── LeaseHeld                 another worker is changing this instance
    └── Unavailable               a part we depend on does not answer

Each class exists because someone reacts differently to it. `code` is stable: clients switch on it.
`shared/web/errors.py` gives each its HTTP status, `docs/errors.md` says what to do about it.
"""

from __future__ import annotations

from typing import Any, ClassVar


class Error(Exception):
    """The root. `message` is for the user: it names the thing and the way out."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidRequest(Error):
    code = "invalid_request"


class BodyTooLarge(InvalidRequest):
    code = "body_too_large"


class UnsupportedMediaType(InvalidRequest):
    code = "unsupported_media_type"


class MethodNotAllowed(InvalidRequest):
    code = "method_not_allowed"


class Unauthenticated(Error):
    code = "unauthenticated"


class Forbidden(Error):
    code = "forbidden"


class NotFound(Error):
    code = "not_found"


class Conflict(Error):
    code = "conflict"


class IllegalTransition(Conflict):
    code = "illegal_transition"


class IdempotencyConflict(Conflict):
    code = "idempotency_conflict"


class TooManyRequests(Error):
    """`retry_after_s` goes out as the Retry-After header."""

    code = "too_many_requests"

    def __init__(self, message: str, retry_after_s: float, **details: Any) -> None:
        super().__init__(message, retry_after_s=retry_after_s, **details)
        self.retry_after_s = retry_after_s


class ModelNotReady(Error):
    """`retry_after_s` is when asking again may help."""

    code = "model_not_ready"

    def __init__(self, message: str, retry_after_s: float, **details: Any) -> None:
        super().__init__(message, retry_after_s=retry_after_s, **details)
        self.retry_after_s = retry_after_s


class BudgetReached(Error):
    code = "budget_reached"


class NoCapacity(Error):
    code = "no_capacity"


class ProviderError(Error):
    code = "provider_error"


class ProviderRejected(ProviderError):
    code = "provider_rejected"


class ProviderBusy(ProviderError):
    """`retry_after_s` is when asking again may help."""

    code = "provider_busy"

    def __init__(self, message: str, retry_after_s: float = 1.0, **details: Any) -> None:
        super().__init__(message, retry_after_s=retry_after_s, **details)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(ProviderError):
    code = "outcome_unknown"


class MachineNotFound(ProviderError):
    code = "machine_not_found"


class StorageError(Error):
    code = "storage_error"


class ObjectNotFound(StorageError):
    code = "object_not_found"


class StoreConflict(Error):
    code = "store_conflict"


class StaleLease(Error):
    code = "stale_lease"


class LeaseHeld(Error):
    code = "lease_held"


class Unavailable(Error):
    code = "unavailable"
