"""How the console's files are served, by the local gateway and by static hosting alike."""

from __future__ import annotations

CONTENT_SECURITY_POLICY = "; ".join(
    [
        # What is not named below is not loaded at all: no frame, no worker, no plug-in, no font.
        "default-src 'none'",
        "script-src 'self'",
        # Dialogs and toasts add style elements while they are open; static hosting has no nonce to give.
        "style-src 'self' 'unsafe-inline'",
        "style-src-attr 'none'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        # No string becomes markup or code, whoever wrote it.
        "require-trusted-types-for 'script'",
    ]
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
HSTS = "max-age=31536000; includeSubDomains"
LONG = "public, max-age=31536000, immutable"
"""Files whose names change with their content."""
SHORT = "no-cache"


def headers(path: str) -> dict[str, str]:
    """What goes with the file at `path` ("/assets/index-1a2b.js")."""
    return {**HEADERS, "Cache-Control": LONG if path.startswith("/assets/") else SHORT}
