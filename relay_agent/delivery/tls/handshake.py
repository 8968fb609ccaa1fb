# SPDX-License-Identifier: GPL-3.0-or-later
"""STARTTLS with an MX host, and whether what comes of it satisfies the demand."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Collection
from enum import Enum
from typing import TYPE_CHECKING

from relay_agent.delivery.client import Connection, TlsRefusedError
from relay_agent.delivery.reply import printable
from relay_agent.delivery.tls.peer_chain import peer_chain
from relay_agent.delivery.tls.policy import Demand, Kind, ResultType, TlsError

if TYPE_CHECKING:
    from relay_agent.delivery.tls.dane import DaneFault

__all__ = ["How", "secure", "ways"]

_BROKEN = (ssl.SSLError, ConnectionError, EOFError, TimeoutError)
_NOT_YET, _EXPIRED, _WRONG_NAME, _WRONG_ADDRESS = 9, 10, 62, 64  # X509_V_ERR_* of OpenSSL


class How(Enum):
    """How one connection is made."""

    AS_DEMANDED = "as demanded"
    TRIAL = "trial"  # as if an MTA-STS policy in testing mode were enforced
    ANY_TLS = "any TLS"
    CLEAR = "in the clear"


def ways(demand: Demand) -> tuple[How, ...]:
    """How a host may be spoken to, the best first; each further one only after the one before failed."""
    if demand.kind is Kind.ENCRYPTED:
        return (How.TRIAL, How.AS_DEMANDED) if demand.trial else (How.AS_DEMANDED,)
    if demand.strict:
        return (How.AS_DEMANDED,)
    return (*((How.TRIAL,) if demand.trial else ()), How.ANY_TLS, How.CLEAR)


async def secure(
    connection: Connection,
    demand: Demand,
    how: How,
    *,
    context: ssl.SSLContext,
    server_name: str | None,
    domains: Collection[str],
) -> None:
    """Put TLS on and check it. Raises TlsError, HostTrouble (a 421) or ReplyError.

    context: verifying where `verifies` says so. domains: the recipients' (A-labels), which a certificate below a
    DANE-TA record may be for instead of the host (RFC 7672 3.2.2); the connection is then for these alone.
    """
    dane = how is How.AS_DEMANDED and demand.kind is Kind.DANE
    try:
        await connection.start_tls(context, demand.tlsa.base if dane else server_name)
    except TlsRefusedError as error:
        raise TlsError(ResultType.NO_STARTTLS, str(error), status="4.7.4", lost=False) from None
    except ssl.SSLCertVerificationError as error:
        text = f"the server's certificate is not accepted ({printable(error.verify_message, 200)})"
        raise TlsError(_result(error.verify_code), text) from None
    except _BROKEN as error:
        words = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise TlsError(ResultType.FAILURE, f"the TLS handshake failed ({printable(str(words), 200)})") from None
    if dane:
        fault = _dane_fault(connection, demand, domains)
        if fault is not None:
            raise TlsError(_dane_result(fault), str(fault))
    connection.authenticated = how is How.AS_DEMANDED and demand.authenticates


def _dane_fault(connection: Connection, demand: Demand, domains: Collection[str]) -> DaneFault | None:
    from relay_agent.delivery.tls.dane import chain_fault  # takes memory: not without DANE

    tls = connection.tls
    chain = peer_chain(tls) if tls is not None else []
    now = dt.datetime.now(dt.UTC)
    fault = chain_fault(chain, demand.tlsa.records, demand.tlsa.names, now)
    if fault is None or not fault.name or not domains:
        return fault
    if any(chain_fault(chain, demand.tlsa.records, (domain,), now) for domain in domains):
        return fault
    connection.single_use = True
    return None


def _result(code: int) -> ResultType:
    if code in (_WRONG_NAME, _WRONG_ADDRESS):
        return ResultType.HOST_MISMATCH
    return ResultType.EXPIRED if code in (_EXPIRED, _NOT_YET) else ResultType.NOT_TRUSTED


def _dane_result(fault: DaneFault) -> ResultType:
    if fault.name:
        return ResultType.HOST_MISMATCH
    return ResultType.EXPIRED if fault.expired else ResultType.FAILURE
