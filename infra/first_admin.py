"""The first administrator of a new deployment; further users are made by `dumont admin create-user`.

    python -m infra.first_admin --project P --email you@example.com

Needs your own access to the project's Firestore (`gcloud auth application-default login`).
"""

from __future__ import annotations

import argparse
import getpass
import sys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", required=True)
    parser.add_argument("--email", required=True)
    given = parser.parse_args()
    password = getpass.getpass("Password, 12 letters or more: ")

    from shared.bootstrap import build
    from shared.flows.auth import ensure_user
    from shared.settings import Settings

    # `local` here only says that this process needs none of the functions' secrets.
    deps = build(Settings.model_validate({"env": "local", "store": f"firestore:{given.project}"}))
    user = ensure_user(given.email, password, True, deps)
    sys.stdout.write(f"{user.email} is an administrator ({user.id})\n")


if __name__ == "__main__":
    main()
