"""Which bucket an instance's objects lie in, and users' own buckets: saved only once they were tried.

The secret key is sealed under the master key and comes back to nobody. An instance stays in its bucket all its life, so a profile
that holds files can get other keys but no other place, and cannot be removed.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

from shared import errors
from shared.deps import Deps
from shared.domain.instance import Instance, State
from shared.domain.storage import StorageProfile, profile_id
from shared.domain.user import User
from shared.flows import keys
from shared.objects.base import Bucket, ObjectStore
from shared.objects.vendors import VENDORS
from shared.public_address import ask, require_public
from shared.store import codec
from shared.store.base import Delete, Replace, Write
from shared.store.records import Transaction
from shared.store.shapes import INSTANCES_OF_USER, STORAGE_OF_USER
from shared.wire import storage as wire
from shared.wire.base import Done

OURS = "dumont"
"""The deployment's own bucket goes by this name."""
MOST = 20
"""Profiles of one user."""
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
ANSWER = 4096
"""Bytes that are read of storage's answer while a bucket is tried."""
CHECKS = "dumont-check/"
"""Below this a bucket is tried."""

WAY_OUT = {
    "AccessDenied": "let this key write, read, list and delete in the bucket",
    "InvalidAccessKeyId": "check the access key; was it deleted, or is it of another vendor?",
    "SignatureDoesNotMatch": "check the secret key",
    "NoSuchBucket": "make the bucket first, or correct its name, region or endpoint",
    "QuotaExceeded": "the bucket is full: make room in it or raise its limit",
    "InsufficientStorage": "the bucket is full: make room in it or raise its limit",
    "PermanentRedirect": "the bucket is in another region; name that one",
    "AuthorizationHeaderMalformed": "the bucket is in another region; name that one",
    "RequestTimeTooSkewed": "our clock and the storage's differ by more than 15 minutes; tell your administrator",
}
"""What to do about a refusal, by the code of storage's answer."""


def with_way_out(told: str) -> str:
    """A machine's word on what storage answered, with what to do about it."""
    code = next((code for code in WAY_OUT if code in told), None)
    return f"{told}; {WAY_OUT[code]}" if code else told


# Where objects are ---------------------------------------------------------------------------------------------------


def objects_of(deps: Deps, instance: Instance) -> ObjectStore:
    """The bucket of this instance's objects. Raises StorageError when its profile is unusable."""
    if instance.storage is None:
        return deps.objects()
    return deps.bucket(_place(_profile_of(deps, instance), deps))


def objects_at(deps: Deps, instance_id: str) -> ObjectStore:
    return objects_of(deps, deps.records.load(Instance, instance_id))


def vendor_of(deps: Deps, user_id: str, storage: str) -> str | None:
    """None when the profile is gone; instances that were destroyed may still name one."""
    profile = deps.records.find(StorageProfile, profile_id(user_id, storage))
    return profile.vendor if profile else None


def location(deps: Deps, instance: Instance) -> tuple[str, str | None]:
    """Bucket and endpoint, for its owner's own tools."""
    if instance.storage is None:
        return deps.settings.s3_bucket, deps.settings.s3_endpoint
    profile = _profile_of(deps, instance)
    return profile.bucket, profile.endpoint


def _profile_of(deps: Deps, instance: Instance) -> StorageProfile:
    profile = deps.records.find(StorageProfile, profile_id(instance.user_id, instance.storage or ""))
    if profile is None:
        raise errors.StorageError(f"storage {instance.storage} of instance {instance.id} is no longer on record")
    return profile


def _place(profile: StorageProfile, deps: Deps) -> Bucket:
    try:
        require_public("endpoint", profile.endpoint, deps.settings.private_addresses)
    except errors.InvalidRequest as refusal:
        raise errors.StorageError(f"storage {profile.name}: {refusal.message}", transient=True) from refusal
    return Bucket(
        vendor=profile.vendor,
        endpoint=profile.endpoint,
        region=profile.region,
        name=profile.bucket,
        access_key=profile.access_key,
        secret_key=keys.opened(deps.settings, keys.STORAGE, profile.id, profile.sealed_secret).decode(),
        public_only=not deps.settings.private_addresses,
    )


# What new instances choose ----------------------------------------------------------------------------------------------


def chosen(wanted: str | None, user_id: str, deps: Deps) -> str | None:
    """The name of the user's profile that a new instance goes to; None is the deployment's own bucket."""
    if wanted is None:
        user = deps.store.get("users", user_id)
        wanted = str(user.data["storage"]) if user and user.data.get("storage") else OURS
    if wanted == OURS:
        return None
    if deps.records.find(StorageProfile, profile_id(user_id, wanted)) is None:
        raise errors.InvalidRequest(f"storage: you have no storage {wanted}; `dumont storage ls` lists yours")
    return wanted


def claim(tx: Transaction, user_id: str, storage: str | None) -> None:
    """In the batch that makes an instance: its profile is there, and stays."""
    if storage is not None:
        profile = tx.find(StorageProfile, profile_id(user_id, storage))
        if profile is None:
            raise errors.Conflict(f"storage {storage} was removed a moment ago")
        tx.save(replace(profile, used_at=tx.now))


# Profiles ------------------------------------------------------------------------------------------------------------


def list_storage(user: User, deps: Deps) -> wire.StorageList:
    profiles = deps.records.all(StorageProfile, STORAGE_OF_USER, {"user_id": user.id})
    used = _users_of(user.id, deps)
    settings = deps.settings
    buckets = []
    if settings.s3_access_key is not None:
        ours = (settings.s3_bucket, settings.s3_region, settings.s3_endpoint)
        buckets.append(_view(OURS, settings.s3_vendor, ours, None, user, used))
    for one in sorted(profiles, key=lambda p: p.created_at):
        buckets.append(_view(one.name, one.vendor, (one.bucket, one.region, one.endpoint), one, user, used))
    return wire.StorageList(
        buckets=buckets,
        vendors=[
            wire.VendorView(
                name=name,
                title=vendor.title,
                endpoint=vendor.endpoint,
                egress=vendor.egress,
                usd_per_gb_month=vendor.price.usd_per_gb_month,
                minimum_days=vendor.price.minimum_days,
                source=vendor.price.source,
            )
            for name, vendor in VENDORS.items()
        ],
    )


def _view(
    name: str,
    vendor: str,
    place: tuple[str, str, str | None],
    profile: StorageProfile | None,
    user: User,
    used: dict[str, list[str]],
) -> wire.BucketView:
    bucket, region, endpoint = place
    known = VENDORS[vendor]
    return wire.BucketView(
        name=name,
        vendor=vendor,
        title=known.title,
        bucket=bucket,
        region=region,
        endpoint=endpoint,
        access_key=f"{profile.access_key[:4]}…" if profile else None,
        usd_per_gb_month=known.price.usd_per_gb_month,
        minimum_days=known.price.minimum_days,
        egress=known.egress,
        own=profile is not None,
        default=name == (user.storage or OURS),
        instances=len(used.get(name, [])),
        tested_at=profile.tested_at if profile else None,
    )


def _users_of(user_id: str, deps: Deps) -> dict[str, list[str]]:
    """Names of the instances whose files each bucket holds; a drill's copy counts."""
    found: dict[str, list[str]] = {}
    for one in deps.records.all(Instance, INSTANCES_OF_USER, {"user_id": user_id}):
        if one.state is not State.DESTROYED:
            found.setdefault(one.storage or OURS, []).append(one.name)
    return found


def save(name: str, body: wire.StorageBody, user: User, deps: Deps) -> wire.BucketView:
    """Add a bucket, or give one other keys; nothing is stored that did not pass every step.

    Raises InvalidRequest naming the step that failed, Conflict when files are in the old place.
    """
    if name == OURS:
        raise errors.InvalidRequest(f"{OURS} is the deployment's own storage; choose another name")
    if not NAME.fullmatch(name):
        raise errors.InvalidRequest("a storage's name has small letters, digits and hyphens, at most 63")
    vendor = VENDORS[body.vendor]
    endpoint = (body.endpoint or (vendor.endpoint or "").format(region=body.region)).rstrip("/")
    if not endpoint:
        raise errors.InvalidRequest(f"endpoint: {vendor.title} needs your account's own address")
    require_public("endpoint", endpoint, deps.settings.private_addresses)
    parts = urlsplit(endpoint)
    if parts.path or parts.query or parts.fragment:
        raise errors.InvalidRequest("endpoint: give the host alone, the bucket by its own field")
    id, now, secret = profile_id(user.id, name), deps.clock.now(), body.secret_key.get_secret_value()
    old = deps.records.find(StorageProfile, id)
    profile = StorageProfile(
        id=id,
        user_id=user.id,
        name=name,
        vendor=body.vendor,
        endpoint=endpoint,
        region=body.region,
        bucket=body.bucket,
        access_key=body.access_key,
        sealed_secret=keys.seal_text(deps.settings, keys.STORAGE, id, secret),
        created_at=old.created_at if old else now,
        tested_at=now,
        used_at=old.used_at if old else None,
    )
    used = _users_of(user.id, deps)
    if old is None and len(deps.records.all(StorageProfile, STORAGE_OF_USER, {"user_id": user.id})) >= MOST:
        raise errors.Conflict(f"{MOST} storages are the most; remove one first")
    if old is not None and used.get(name) and (old.bucket, old.endpoint) != (profile.bucket, profile.endpoint):
        raise errors.Conflict(
            f"storage {name} holds the files of {', '.join(used[name][:5])}: its keys can change, its place cannot"
        )
    steps = try_out(deps.bucket(_place(profile, deps)), deps.settings.private_addresses)
    if steps[-1].problem is not None:
        raise errors.InvalidRequest(
            f"storage {name} was not saved, step `{steps[-1].step}` failed: {steps[-1].problem}",
            steps=[step.model_dump() for step in steps],
        )

    def apply(tx: Transaction) -> None:
        fresh = tx.find(StorageProfile, id)
        tx.save(replace(profile, used_at=fresh.used_at if fresh else None))

    deps.records.transact(apply)
    return _view(name, body.vendor, (body.bucket, body.region, endpoint), profile, user, used)


def test(name: str, user: User, deps: Deps) -> wire.TriedView:
    """Whether a bucket still does what it must."""
    if name == OURS:
        # It may be beside us: an administrator chose it.
        steps = try_out(deps.objects(), True)
    else:
        profile = _owned(name, user, deps)
        steps = try_out(deps.bucket(_place(profile, deps)), deps.settings.private_addresses)
        if steps[-1].problem is None:
            deps.records.transact(lambda tx: tx.save(replace(tx.load(StorageProfile, profile.id), tested_at=tx.now)))
    return wire.TriedView(name=name, good=steps[-1].problem is None, steps=steps)


def make_default(name: str, user: User, deps: Deps) -> Done:
    """New instances go there unless they name another."""
    if name != OURS:
        _owned(name, user, deps)
    deps.store.commit([_defaulting(user.id, None if name == OURS else name, deps)])
    return Done()


def remove(name: str, user: User, deps: Deps) -> Done:
    """Forget a bucket and its keys; nothing in it is touched. Raises Conflict while it holds an instance's files."""
    id = profile_id(user.id, name)
    known = deps.store.get("storage", id)
    if known is None:
        raise errors.NotFound(f"you have no storage {name}")
    holds = _users_of(user.id, deps).get(name)
    if holds:
        raise errors.Conflict(f"storage {name} holds the files of {', '.join(holds[:5])}; destroy them first")
    # An instance that chooses it meanwhile has written to it, and this fails.
    writes: list[Write] = [Delete("storage", id, known.rev)]
    if user.storage == name:
        writes.append(_defaulting(user.id, None, deps))
    deps.store.commit(writes)
    return Done()


def _defaulting(user_id: str, name: str | None, deps: Deps) -> Write:
    document = deps.store.get("users", user_id)
    if document is None:
        raise errors.NotFound("this user is gone")
    changed = replace(codec.decode(User, document.data), storage=name)
    return Replace("users", user_id, codec.encode(changed), document.rev)


def _owned(name: str, user: User, deps: Deps) -> StorageProfile:
    profile = deps.records.find(StorageProfile, profile_id(user.id, name))
    if profile is None:
        raise errors.NotFound(f"you have no storage {name}")
    return profile


# Trying one out ------------------------------------------------------------------------------------------------------


def try_out(objects: ObjectStore, private_ok: bool) -> list[wire.StepView]:
    """Everything that saving, waking and destroying ask of a bucket, in order, until a step fails; leaves nothing there."""
    key, body, other = f"{CHECKS}{uuid.uuid4().hex}", os.urandom(64), os.urandom(64)

    def write() -> None:
        objects.put(key, body)

    def read() -> None:
        _same(objects.get(key, start=8, length=16), body[8:24])

    def listing() -> None:
        if [item.key for item in objects.list(key)] != [key]:
            raise errors.StorageError("what was just written is not in the list")

    def address() -> None:
        _call("PUT", objects.presign_put(key, timedelta(minutes=5)), private_ok, other)
        _same(_call("GET", objects.presign_get(key, timedelta(minutes=5)), private_ok), other)

    def delete() -> None:
        objects.delete(key)
        if any(objects.list(key)):
            raise errors.StorageError("what was just deleted is still there")

    tried: list[wire.StepView] = []
    steps = {"write": write, "read": read, "list": listing, "address": address, "delete": delete}
    for name, step in steps.items():
        tried.append(wire.StepView(step=name, problem=_problem(step)))
        if tried[-1].problem is not None:
            if name not in ("write", "delete"):
                _problem(delete)
            break
    return tried


def _problem(step: Callable[[], None]) -> str | None:
    try:
        step()
    except errors.StorageError as error:
        return with_way_out(error.message)
    return None


def _same(found: bytes, wanted: bytes) -> None:
    if found != wanted:
        raise errors.StorageError("other bytes came back than were written")


def _call(method: str, url: str, private_ok: bool, body: bytes | None = None) -> bytes:
    """As an agent does it: an address and nothing else."""
    import httpx

    try:
        status, answer = ask(method, "endpoint", url, body, {}, private_ok, ANSWER)
    except errors.InvalidRequest as refusal:
        raise errors.StorageError(refusal.message, transient=True) from refusal
    except httpx.HTTPError as error:
        raise errors.StorageError(f"its address does not answer: {type(error).__name__}", transient=True) from error
    if status != 200:
        code = re.search(rb"<Code>(\w+)</Code>", answer)
        told = code.group(1).decode() if code else str(status)
        raise errors.StorageError(f"{method} by address was answered {told}", answered=told)
    return answer
