"""Every setting, by its environment name (`DUMONT_` before it). Units are in the names. Only bootstrap reads them."""

from __future__ import annotations

import os
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SecretStr, model_validator


class Settings(BaseModel):
    # Errors are logged: they name the setting, not what it is set to.
    model_config = ConfigDict(extra="forbid", defer_build=True, hide_input_in_errors=True)

    tiny_model_path: str = ""
    """The local cloud's own inference server; empty: that runtime does not exist."""
    env: Literal["production", "local"] = "production"
    store: str = "sqlite:.local/dumont.db"
    """`sqlite:PATH` or `firestore:PROJECT[/DATABASE]`."""
    public_url: str = "http://127.0.0.1:8700"
    """Where agents reach us, without /api/v1."""
    agent_bundle_path: str = "agent.pyz"
    master_key: SecretStr | None = None
    """Base64 of 32 bytes; keys for each purpose are derived from it. While it is rotated two, with a comma between: the first
    seals and signs, each opens."""

    jwt_private_key: SecretStr | None = None
    """PEM of an Ed25519 key; only the auth function has it."""
    jwt_public_keys: str = ""
    """PEM public keys, one after another; the first signs."""
    jwt_issuer: str = "dumont"
    access_minutes: float = 15
    refresh_days: float = 14
    refresh_absolute_days: float = 30
    trusted_hops: int = 1
    """How many proxies before us append to X-Forwarded-For."""

    oidc_mode: Literal["verify", "iam"] = "verify"
    oidc_jwks_url: str = "https://www.googleapis.com/oauth2/v3/certs"
    oidc_issuer: str = "https://accounts.google.com"
    oidc_audience: str = ""
    oidc_email: str = ""

    vast_api_key: SecretStr | None = None
    vast_url: str = "https://console.vast.ai"
    vast_searches_a_day: int = 3000
    """What we allow ourselves: the vendor has a daily quota and tells no number; its own refusal is kept to as well."""
    pace_scale: float = 1.0
    """Multiplies the providers' minimum intervals."""

    tensordock_token: SecretStr | None = None
    tensordock_url: str = "https://dashboard.tensordock.com/api/v2"
    tensordock_ssh_key: str = ""
    """A public key that TensorDock demands for each machine; empty: one whose private half nobody keeps."""

    gce_project: str | None = None
    gce_url: str | None = None
    """Another endpoint than Google's, without credentials."""
    gce_zones: str = "us-central1-a,us-central1-b,us-east1-b,europe-west3-a,europe-north1-a,northamerica-northeast1-a"

    private_addresses: bool = False
    """Webhooks and users' own storage may be at private addresses and speak plain http; for the local cloud."""
    s3_endpoint: str | None = None
    s3_vendor: Literal["s3", "r2", "b2", "wasabi"] = "s3"
    """Whose ways and list price: `shared/objects/vendors.py`."""
    s3_bucket: str = "dumont"
    s3_region: str = "us-east-1"
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    presign_s: float = 3600

    heartbeat_s: float = 10
    heartbeat_busy_s: float = 1
    silence_after_s: float = 30
    lease_s: float = 20
    settle_s: float = 30
    """How long a create whose answer was lost may take to show up at the provider."""
    boot_deadline_s: float = 600
    model_ready_s: float = 1800
    """A large model's weights take their time; a server that never answers is given up after it."""
    reservation_s: float = 1800
    orphan_grace_s: float = 60
    failovers_at_once: int = 20
    """More automatic failovers within ten minutes, of the whole deployment, stop them until an administrator has looked."""
    motion_interval_s: float = 3
    sweep_budget_s: float = 50
    time_scale: float = 1.0
    """Multiplies deadlines and retry times; for tests and the local cloud."""

    @model_validator(mode="after")
    def refuse_development_defaults(self) -> Settings:
        if self.env == "local":
            return self
        missing = [
            f"DUMONT_{name.upper()}"
            for name in ("master_key", "jwt_public_keys", "oidc_audience", "oidc_email")
            if not getattr(self, name)
        ]
        if self.store.startswith("sqlite:"):
            missing.append("DUMONT_STORE (SQLite is for one machine; set DUMONT_ENV=local or use firestore:PROJECT)")
        if missing:
            raise ValueError(f"not set for production: {', '.join(missing)}")
        return self


def load(**given: Any) -> Settings:
    """From the environment; `given` goes first. Other DUMONT_ names are other programs'."""
    named = {name: os.environ.get(f"DUMONT_{name.upper()}") for name in Settings.model_fields}
    return Settings.model_validate({**{name: value for name, value in named.items() if value is not None}, **given})
