"""Who an agent is."""

from __future__ import annotations

import hashlib
import hmac
import re

from shared import errors
from shared.domain.attempt import Attempt
from shared.flows import keys, restored
from shared.settings import Settings
from shared.store.base import Store
from shared.store.records import Records

STOP = {"stop": True}


def agent_of(
    settings: Settings, store: Store, records: Records, attempt_id: str, secret: str, *, works: bool = False
) -> Attempt:
    """The attempt whose token this is. Raises Unauthenticated; `details.stop` tells the agent never to ask again.

    Attempts are never deleted, so a token that our own key made and that belongs to none on record means that the database was
    lost: Unavailable, and the machine, which may hold somebody's only copy, goes on asking. `works`: only adopted machines
    make this call; that it did is written down, and the orphan sweep spares it.
    """
    attempt = records.find(Attempt, attempt_id) if re.fullmatch(r"[0-9a-f]{28}", attempt_id) else None
    if attempt is None and keys.is_our_agent(settings, attempt_id, secret):
        if works:
            restored.note_stray(store, records.now(), attempt_id)
        raise errors.Unavailable("this machine is not on record; ask again once the database is restored")
    given = hashlib.sha256(secret.encode()).hexdigest()
    expected = attempt.secret_hash if attempt else "0" * 64
    if not hmac.compare_digest(given, expected) or attempt is None:
        raise errors.Unauthenticated("this token belongs to no machine", **STOP)
    if not attempt.wants_machine:
        why = f"this machine is no longer wanted: {attempt.why}"
        raise errors.Unauthenticated(why, **STOP, attempt_id=attempt.id)
    return attempt
