"""boto3 on an endpoint that a user gave: each connection goes to an address that was checked, and none but https is made.

Without it a name is looked up once to be judged and once more to be called, and might lead elsewhere by then.
"""

from __future__ import annotations

import socket
from typing import Any

from botocore.awsrequest import AWSHTTPSConnection, AWSHTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

from shared import errors
from shared.public_address import dial


class Connection(AWSHTTPSConnection):
    def _new_conn(self) -> socket.socket:
        """urllib3 asks for the socket here, and then for a certificate of the name."""
        try:
            return dial("endpoint", self.host, self.port)
        except (errors.InvalidRequest, OSError) as error:
            raise NewConnectionError(self, str(error)) from error


class Pool(AWSHTTPSConnectionPool):
    ConnectionCls = Connection


def restrict(client: Any) -> None:
    # botocore has no setting for it. Were this to go by another name, no such client could be made.
    manager = client._endpoint.http_session._manager
    if set(manager.pool_classes_by_scheme) != {"http", "https"}:
        raise AssertionError("this botocore chooses its connections in another way")
    manager.pool_classes_by_scheme = {"https": Pool}
