"""Which error is which HTTP status: the only place where the two meet."""

from __future__ import annotations

from http import HTTPStatus

from shared import errors

STATUS: dict[type[errors.Error], HTTPStatus] = {
    errors.Error: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.InvalidRequest: HTTPStatus.BAD_REQUEST,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    errors.ModelNotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BudgetReached: HTTPStatus.PAYMENT_REQUIRED,
    # 507 rather than 503, which would invite the same request again at once.
    errors.NoCapacity: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.ProviderError: HTTPStatus.BAD_GATEWAY,
    errors.ProviderBusy: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StorageError: HTTPStatus.BAD_GATEWAY,
    errors.StoreConflict: HTTPStatus.CONFLICT,
    errors.StaleLease: HTTPStatus.CONFLICT,
    errors.LeaseHeld: HTTPStatus.CONFLICT,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


def status_of(error: errors.Error) -> HTTPStatus:
    """The status of the nearest class that has one."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)
