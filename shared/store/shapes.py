"""Every query the product makes. `infra/firestore.indexes.json` holds exactly the composite indexes these need."""

from __future__ import annotations

from shared.store.base import Shape

DUE_INSTANCES = Shape("due_instances", "instances", order_by="next_action_at")
INSTANCES_OF_USER = Shape("instances_of_user", "instances", ("user_id",), "created_at", descending=True)
ATTEMPTS_OF_ROUND = Shape("attempts_of_round", "attempts", ("instance_id", "round"))
OPEN_ATTEMPTS = Shape("open_attempts", "attempts", ("instance_id", "open"))
EVENTS_OF_INSTANCE = Shape("events_of_instance", "events", ("instance_id",), "at", descending=True)
ORDERS_PENDING = Shape("orders_pending", "orders", ("attempt_id", "state"))
SNAPSHOTS_OF_INSTANCE = Shape("snapshots_of_instance", "snapshots", ("instance_id",), "created_at", descending=True)
KEYS_OF_USER = Shape("keys_of_user", "keys", ("user_id",))
SESSIONS_OF_FAMILY = Shape("sessions_of_family", "sessions", ("family",))
EXPIRED_SESSIONS = Shape("expired_sessions", "sessions", (), "expires_at")
EXPIRED_EVENTS = Shape("expired_events", "events", (), "expires_at")
EXPIRED_ORDERS = Shape("expired_orders", "orders", (), "expires_at")
EXPIRED_IDEMPOTENCY = Shape("expired_idempotency", "idempotency", (), "expires_at")
EXPIRED_PRICES = Shape("expired_prices", "prices", (), "expires_at")
EXPIRED_THROTTLES = Shape("expired_throttles", "throttles", (), "expires_at")
BLOCKED_MACHINES = Shape("blocked_machines", "machines", (), "blocked_until", descending=True)
MACHINES = Shape("machines", "machines", (), "updated_at", descending=True)
BLOCKS_OF_USER = Shape("blocks_of_user", "blocks", ("user_id",))
RECEIPTS_OF_USER = Shape("receipts_of_user", "attempts", ("user_id", "open"))
CLOSED_ATTEMPTS_OF_USER = Shape("closed_attempts_of_user", "attempts", ("user_id",), "closed_at", descending=True)
MODELS = Shape("models", "models")
MODELS_OF_USER = Shape("models_of_user", "models", ("user_id",))
EVENTS_OF_USER = Shape("events_of_user", "events", ("user_id",), "at", descending=True)
WEBHOOKS = Shape("webhooks", "webhooks")
WEBHOOKS_OF_USER = Shape("webhooks_of_user", "webhooks", ("user_id",))
BIDS_OF_GPU = Shape("bids_of_gpu", "bids", ("gpu_name",))
BUDGETS = Shape("budgets", "budgets")
POOLS_OF_USER = Shape("pools_of_user", "pools", ("user_id",))
POOLS = Shape("pools", "pools")
SEATS_OF_POOL = Shape("seats_of_pool", "instances", ("pool_id",))
RESERVED_INSTANCES = Shape("reserved_instances", "instances", (), "reserved_until")

SHAPES: tuple[Shape, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Shape))
