"""The only place that picks adapters: one `Deps` per process, made on first use and never at import."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from shared import errors
from shared.clock import SystemClock
from shared.deps import Deps
from shared.flows.agents import agent_of
from shared.objects.base import ObjectStore
from shared.providers.base import Provider
from shared.settings import Settings, load
from shared.store.base import Store
from shared.store.records import Records


@cache
def deps() -> Deps:
    return build(load())


def build(settings: Settings) -> Deps:
    clock = SystemClock()
    store = _store(settings)
    records = Records(store, clock)

    @cache
    def providers() -> Mapping[str, Provider]:
        return _providers(settings, store)

    @cache
    def objects() -> ObjectStore:
        return _objects(settings)

    return Deps(
        settings=settings,
        clock=clock,
        store=store,
        records=records,
        providers=providers,
        objects=objects,
        agent_of=lambda attempt_id, secret: agent_of(store, records, attempt_id, secret),
    )


def _store(settings: Settings) -> Store:
    kind, _, rest = settings.store.partition(":")
    if kind == "sqlite":
        from shared.store.sqlite import SqliteStore

        return SqliteStore(rest)
    if kind == "firestore":
        from shared.store.firestore import connect

        project, _, database = rest.partition("/")
        return connect(project, database or "(default)")
    raise errors.InvalidRequest(f"DUMONT_STORE is {settings.store!r}; use sqlite:PATH or firestore:PROJECT")


def _providers(settings: Settings, store: Store) -> Mapping[str, Provider]:
    """Those that have credentials."""
    if settings.vast_api_key is None:
        return {}
    from shared.providers.pacing import Paced
    from shared.providers.vast import connect

    key = settings.vast_api_key.get_secret_value()
    vast = connect(settings.vast_url, key)
    return {vast.name: Paced(vast, store, SystemClock(), account=key, scale=settings.vast_pace_scale)}


def _objects(settings: Settings) -> ObjectStore:
    from shared.objects.retrying import Retrying
    from shared.objects.s3 import S3Objects

    if settings.s3_access_key is None or settings.s3_secret_key is None:
        raise errors.StorageError("no object storage is configured: set DUMONT_S3_*")
    return Retrying(
        S3Objects(
            bucket=settings.s3_bucket,
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
        )
    )
