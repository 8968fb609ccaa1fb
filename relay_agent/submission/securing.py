# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS for a session's connection: a handshake on a socket that nobody has read from.

The same for TLS from the first byte (RFC 8314 3) and for STARTTLS (RFC 3207), for which the connection in the clear
gives its socket away.
"""

from __future__ import annotations

import socket
import ssl
from typing import cast

from relay_agent.submission.read_side import ReadSide
from relay_agent.submission.stepping import SessionEndedError
from relay_agent.submission.tls import handshake_problem
from relay_agent.submission.transport import PlainTransport

__all__ = ["TLS_HANDSHAKE", "Securing"]

TLS_HANDSHAKE = 30.0  # seconds
TLS_GOODBYE = 3.0  # seconds until a connection is cut whose other side does not close TLS (most that sleep)


class Securing(ReadSide):
    """A read side that can turn to TLS."""

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Turn the connection to TLS (RFC 3207). Input that came in the clear is thrown away, unread.

        Afterwards the session knows nothing of what the client said before (RFC 3207 4.2).
        """
        self._flush()
        self._in.clear()
        self._held = True
        try:
            connection = await cast(PlainTransport, self.transport).give_socket()
            before = self.session
            self.session = self._create_session()
            if before is not None:
                self.session.peer, self.session.proxy_data = before.peer, before.proxy_data
            self.envelope = self._create_envelope()
            self._secured = True
            await self.secure(connection, context)
        except OSError as error:
            self.connection_lost(error)
            raise SessionEndedError from error
        except BaseException:
            self.connection_lost(None)
            raise
        finally:
            self._held = False

    async def secure(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        """Shake hands on a socket that nobody has read from; afterwards there is a transport with TLS.

        Raises OSError when the handshake fails, which is logged; the connection is closed then.
        """
        try:
            await self.loop.connect_accepted_socket(
                lambda: self,
                connection,
                ssl=context,
                ssl_handshake_timeout=TLS_HANDSHAKE,
                ssl_shutdown_timeout=TLS_GOODBYE,
            )
        except (OSError, UnicodeDecodeError) as error:  # the latter for names in a certificate
            connection.close()
            self.events.event("tls_failed", peer=self.peer_address, error=handshake_problem(error))
            raise ConnectionAbortedError from error
        except BaseException:
            connection.close()
            raise
        self._sign_of_life()
