"""The only place that picks adapters: one `Deps` per process, made on first use and never at import."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from functools import cache, lru_cache

from shared import errors
from shared.clock import SystemClock
from shared.deps import Deps
from shared.domain.attempt import Attempt
from shared.objects.base import Bucket, ObjectStore
from shared.providers.base import Provider
from shared.settings import Settings, load
from shared.store.base import Store
from shared.store.records import Records

# A function starts by importing 900 modules: a tenth of that would be the collector looking for garbage that is not there.
gc.set_threshold(50_000, 20, 20)


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

    def agent_of(attempt_id: str, secret: str, works: bool) -> Attempt:
        from shared.flows import agents

        return agents.agent_of(settings, store, records, attempt_id, secret, works=works)

    return Deps(
        settings=settings,
        clock=clock,
        store=store,
        records=records,
        providers=providers,
        objects=objects,
        bucket=_bucket,
        agent_of=agent_of,
    )


def _store(settings: Settings) -> Store:
    kind, _, rest = settings.store.partition(":")
    if kind == "sqlite":
        from shared.store.sqlite import SqliteStore

        return SqliteStore(rest)
    if kind == "firestore":
        # Its 500 modules are no garbage either, and never become any.
        gc.disable()
        try:
            from shared.store.firestore import connect
        finally:
            gc.freeze()
            gc.enable()
        project, _, database = rest.partition("/")
        return connect(project, database or "(default)")
    raise errors.InvalidRequest(f"DUMONT_STORE is {settings.store!r}; use sqlite:PATH or firestore:PROJECT")


def _providers(settings: Settings, store: Store) -> Mapping[str, Provider]:
    """Those that have credentials."""
    from shared.providers.pacing import Paced

    made: dict[str, Provider] = {}

    def add(provider: Provider, account: str, searches_a_day: int | None = None) -> None:
        # A clock that runs faster has shorter days.
        quota = round(searches_a_day / settings.pace_scale) if searches_a_day and settings.pace_scale else None
        made[provider.name] = Paced(
            provider, store, SystemClock(), account=account, scale=settings.pace_scale, searches_a_day=quota
        )

    if settings.vast_api_key is not None:
        from shared.providers import vast

        key = settings.vast_api_key.get_secret_value()
        add(vast.connect(settings.vast_url, key), key, settings.vast_searches_a_day)
    if settings.tensordock_token is not None:
        from shared.providers import tensordock

        token = settings.tensordock_token.get_secret_value()
        ssh_key = settings.tensordock_ssh_key or _unowned_ssh_key()
        add(tensordock.connect(settings.tensordock_url, token, ssh_key), token)
    if settings.gce_project is not None:
        from shared.providers import gce

        zones = [zone.strip() for zone in settings.gce_zones.split(",") if zone.strip()]
        add(gce.connect(settings.gce_project, zones, settings.gce_url), settings.gce_project)
    return made


def _unowned_ssh_key() -> str:
    """A public key whose private half is forgotten at once: users' own keys come by the agent."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()


def _objects(settings: Settings) -> ObjectStore:
    if settings.s3_access_key is None or settings.s3_secret_key is None:
        raise errors.StorageError("no object storage is configured: set DUMONT_S3_*")
    return _bucket(
        Bucket(
            vendor=settings.s3_vendor,
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            name=settings.s3_bucket,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
        )
    )


@lru_cache(maxsize=64)
def _bucket(place: Bucket) -> ObjectStore:
    """A client takes a third of a second to make, so they are kept."""
    from shared.objects.retrying import Retrying
    from shared.objects.s3 import S3Objects
    from shared.objects.vendors import VENDORS

    return Retrying(
        S3Objects(
            place.name,
            place.endpoint,
            place.region,
            place.access_key,
            place.secret_key,
            VENDORS[place.vendor],
            public_only=place.public_only,
        )
    )
