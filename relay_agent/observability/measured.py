# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that the agent measures; docs/monitoring.md is written from these definitions.

Label values never come from outside: a client chooses neither a mechanism nor a reason, only which of ours it meets.
Accounts, addresses and host names are in the log, where they cost a line and not a time series for ever.
"""

from __future__ import annotations

from relay_agent.observability.metrics import Label, Registry

__all__ = [
    "ACCEPTED",
    "ACCEPTED_RECIPIENTS",
    "ACCOUNTS",
    "ATTEMPT_SECONDS",
    "BLOCKLIST_LISTED",
    "BLOCKLIST_LOOKUPS",
    "BOUNCES",
    "BUILD",
    "CERTIFICATE_EXPIRY",
    "CERTIFICATE_RENEWAL_FAILS",
    "COMMIT_SECONDS",
    "CONNECTIONS",
    "CPU_SECONDS",
    "DELIVERY_SECONDS",
    "DESTINATIONS",
    "DNS_LOOKUPS",
    "GREYLISTED",
    "HOST_RECOVERIES",
    "HOST_TROUBLES",
    "HISTORY_EVENTS",
    "INCOMING_TLS",
    "LIMIT_REACHED",
    "LOG_EVENTS",
    "LOOP_LAG",
    "MESSAGE_BYTES",
    "NOTICES",
    "OUTCOMES",
    "OUTGOING",
    "OUTGOING_OPEN",
    "OUTGOING_TLS",
    "OUTGOING_TLS_DEMANDS",
    "PAUSES",
    "PORT_LOOKS",
    "QUARANTINED",
    "QUEUE_BYTES",
    "QUEUE_MESSAGES",
    "QUEUE_OLDEST",
    "QUEUE_RECIPIENTS",
    "RECIPIENTS_REFUSED",
    "REFUSED",
    "REGISTRY",
    "RELOADS",
    "REPORTS",
    "RESIDENT",
    "RESTARTS",
    "SESSIONS",
    "SHELVED",
    "SESSION_SECONDS",
    "SHUT_OUTS",
    "SITE_CALLS",
    "SIGN_INS",
    "STARTED",
    "TOKENS",
    "SUPPRESSED",
    "SUPPRESSIONS",
    "TURNED_AWAY",
    "UPSTREAM_SIGN_INS",
    "WORKERS",
    "reason_of",
]

REGISTRY = Registry()
_counter, _gauge, _histogram = REGISTRY.counter, REGISTRY.gauge, REGISTRY.histogram

_VERSIONS = ("TLSv1.2", "TLSv1.3")
_MECHANISMS = ("EXTERNAL", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")
_REASONS = ("size", "policy", "limit", "disk", "content", "address", "syntax", "fault")

# ---- connections and sessions ---------------------------------------------------------------------------

CONNECTIONS = _counter(
    "connections",
    "Connections to the submission ports.",
    Label("port"),
    Label("tls", ("starttls", "implicit", "auto", "none")),
)
TURNED_AWAY = _counter(
    "turned_away",
    "Connections that got no session: relay_full (submission.max_connections), source_full "
    "(max_connections_per_source), not_a_balancer, bad_opening (no PROXY header, or the socket failed).",
    Label("reason", ("relay_full", "source_full", "not_a_balancer", "bad_opening")),
)
SESSIONS = _gauge("sessions", "Sessions that are open now.")
SESSION_SECONDS = _histogram(
    "session_seconds", "How long sessions lasted.", (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
)
INCOMING_TLS = _counter("incoming_tls", "TLS handshakes done with clients.", Label("version", _VERSIONS))

# ---- sign-in --------------------------------------------------------------------------------------------

SIGN_INS = _counter(
    "sign_ins",
    "Sign-ins: succeeded, failed (wrong name, password or token), shut_out (not even checked), limited (as many "
    "sessions as the account may have), busy (could not be checked just then), malformed.",
    Label("mechanism", _MECHANISMS),
    Label("result", ("succeeded", "failed", "shut_out", "limited", "busy", "malformed")),
)
SHUT_OUTS = _counter("shut_outs", "Times that an account was shut out from a network after too many wrong passwords.")

# ---- messages -------------------------------------------------------------------------------------------

ACCEPTED = _counter("messages_accepted", "Messages that got their 250.")
ACCEPTED_RECIPIENTS = _counter("recipients_accepted", "Recipients of the messages accepted.")
MESSAGE_BYTES = _histogram("message_bytes", "Size of the messages accepted.", [4**power for power in range(5, 14)])
COMMIT_SECONDS = _histogram(
    "commit_seconds",
    "From a message that is all there until it is synced to disk.",
    (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
REFUSED = _counter(
    "messages_refused",
    "Messages refused, at MAIL or after the content: size, policy (sender, From), limit (of the account), disk, "
    "content, address, syntax, fault (our own).",
    Label("reason", _REASONS),
)
RECIPIENTS_REFUSED = _counter(
    "recipients_refused", "Recipients refused at RCPT, by the reasons of refused messages.", Label("reason", _REASONS)
)
LIMIT_REACHED = _counter(
    "limit_reached",
    "Times that an account met one of its limits; the log line limit_reached has the account.",
    Label("limit", ("messages_per_hour", "recipients_per_hour", "recipients_burst", "sessions")),
)

# ---- the queue ------------------------------------------------------------------------------------------

QUEUE_MESSAGES = _gauge(
    "queue_messages",
    "Messages in the queue: in_hand (being delivered) and waiting (deferred, held, or without room in memory).",
    Label("state", ("in_hand", "waiting")),
)
QUEUE_RECIPIENTS = _gauge(
    "queue_recipients",
    "Recipients in the queue: active, and held (by the operator, or after two faults of our own).",
    Label("state", ("active", "held")),
)
QUEUE_BYTES = _gauge("queue_bytes", "Bytes of the messages in the queue.")
QUEUE_OLDEST = _gauge("queue_oldest_age_seconds", "Age of the oldest message in the queue, 0 for an empty one.")

# ---- delivery -------------------------------------------------------------------------------------------

OUTCOMES = _counter(
    "delivery_outcomes",
    "Recipients by what an attempt made of them; deferred ones count at every attempt.",
    Label("outcome", ("delivered", "deferred", "failed")),
)
SITE_CALLS = _counter(
    "site_calls",
    "Calls of sites for the mail that waits for them.",
    Label("verb", ("etrn", "atrn")),
    Label("result", ("started", "empty", "refused", "limited", "failed")),
)
BOUNCES = _counter("bounces", "Bounces sent to senders.")
NOTICES = _counter(
    "notices",
    "News sent to senders that is no bounce: delay_notice (still being tried), relay_notice (handed on to a server "
    "that tells no more).",
    Label("kind", ("delay_notice", "relay_notice")),
)
GREYLISTED = _counter("greylisted", "Recipients put off by greylisting, to be tried by its own schedule.")
SHELVED = _counter(
    "shelved", "Times that a message left memory without an attempt, as its hosts are slow or at their rate."
)
PAUSES = _counter("destination_pauses", "Times that a destination was left alone because none of its hosts took mail.")
QUARANTINED = _counter("quarantined", "Recipients held because our own code failed at their message.")
DESTINATIONS = _gauge(
    "destinations",
    "Destinations that have mail in memory (busy), are left alone after trouble (paused), or wait for their rate "
    "(at_rate).",
    Label("state", ("busy", "paused", "at_rate")),
)
DELIVERY_SECONDS = _histogram(
    "delivery_seconds",
    "From the arrival of a message to its delivery, for each recipient delivered.",
    (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60, 300, 1800, 7200, 43200, 172800),
)
ATTEMPT_SECONDS = _histogram(
    "attempt_seconds", "How long an attempt took, connecting included.", (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
)
OUTGOING = _counter(
    "outgoing_connections",
    "Connections to mail hosts: opened (ready for mail) and failed.",
    Label("result", ("opened", "failed")),
)
OUTGOING_TLS = _counter(
    "outgoing_tls", "Connections opened to mail hosts by TLS version.", Label("version", (*_VERSIONS, "none"))
)
OUTGOING_TLS_DEMANDS = _counter(
    "outgoing_tls_demands",
    "Connections opened to recipients' MX hosts by what was demanded of their TLS, and was fulfilled.",
    Label("demand", ("opportunistic", "encrypted", "verified", "dane")),
)
OUTGOING_OPEN = _gauge("outgoing_connections_open", "Connections to mail hosts that are open now.")
DNS_LOOKUPS = _counter(
    "dns_lookups",
    "Questions to DNS; absent: the name or the record does not exist. failed: no usable answer.",
    Label("type", ("MX", "A", "AAAA", "host")),
    Label("result", ("found", "absent", "failed")),
)

HOST_TROUBLES = _counter(
    "host_troubles",
    "Times that a mail host or an upstream relay took nothing: connection, tls, sign_in, throttled, refused.",
    Label("cause", ("connection", "tls", "sign_in", "throttled", "refused")),
)
HOST_RECOVERIES = _counter("host_recoveries", "Hosts that had trouble and took mail again.")
UPSTREAM_SIGN_INS = _counter(
    "upstream_sign_ins",
    "Sign-ins to upstream relays.",
    Label("mechanism", _MECHANISMS),
    Label("result", ("succeeded", "failed")),
)
TOKENS = _counter(
    "access_tokens", "Access tokens asked for, to sign in to upstream relays.", Label("result", ("fetched", "failed"))
)
PORT_LOOKS = _counter(
    "port25_looks",
    "Looks at whether port 25 is open to the outside; unknown: DNS told no address of the hosts.",
    Label("state", ("open", "closed", "unknown")),
)

# ---- standing -------------------------------------------------------------------------------------------

SUPPRESSED = _counter(
    "recipients_suppressed",
    "Recipients named at RCPT that are on the suppression list: refused, or warned (taken all the same).",
    Label("action", ("refused", "warned")),
)
SUPPRESSIONS = _gauge(
    "suppression_entries",
    "Entries of the suppression list that hold.",
    Label("cause", ("bounce", "complaint", "manual")),
)
REPORTS = _counter(
    "complaint_reports",
    "Messages to suppression.report_address: taken (a complaint), noted (a report of another kind), held (unusable; in "
    "the queue with the reason), dropped (unusable, and too many are held).",
    Label("result", ("taken", "noted", "held", "dropped")),
)
BLOCKLIST_LISTED = _gauge(
    "blocklist_listed",
    "1 where a DNS block list has one of our addresses, 0 where it has not; absent where it gave no usable answer.",
    Label("list"),
    Label("address"),
)
BLOCKLIST_LOOKUPS = _counter(
    "blocklist_lookups",
    "Questions to DNS block lists: clean, listed, refused (the list does not answer our resolver), failed.",
    Label("result", ("clean", "listed", "refused", "failed")),
)

# ---- the agent itself -----------------------------------------------------------------------------------

WORKERS = _gauge("workers", "Worker processes.", Label("state", ("starting", "running", "leaving")))
RESTARTS = _counter(
    "worker_restarts",
    "Workers that ended without being told to, and were replaced.",
    Label("cause", ("signal", "exit")),
)
RELOADS = _counter(
    "reloads", "Reloads of configuration, certificate and release.", Label("result", ("done", "refused"))
)
LOOP_LAG = _gauge(
    "worker_loop_lag_seconds",
    "The longest that the event loop of a worker was late in the last half minute.",
    Label("worker"),
)
RESIDENT = _gauge("worker_resident_bytes", "Memory of a worker.", Label("worker"))
CPU_SECONDS = _counter("cpu_seconds", "Processor time used.", Label("process", ("supervisor", "worker")))
LOG_EVENTS = _counter(
    "log_events",
    "Events logged, by their name in the log; debug events count though they are not written.",
    Label("event"),
)
HISTORY_EVENTS = _counter(
    "history_events",
    "Events of messages for `relay-agent trace`: kept, refused (disk full, or the file could not be written), overflow "
    "(they came faster than the disk took them). Only the history suffers, no mail.",
    Label("result", ("kept", "refused", "overflow")),
)
ACCOUNTS = _gauge("accounts", "Accounts that can sign in.")
CERTIFICATE_EXPIRY = _gauge(
    "certificate_expiry_timestamp_seconds", "End of the certificate that mail programs see, seconds since the epoch."
)
CERTIFICATE_RENEWAL_FAILS = _gauge(
    "certificate_renewal_fails",
    "1 when the host's last look at its certificate came to nothing; only where the host renews it (mode acme).",
)
STARTED = _gauge("start_timestamp_seconds", "Start of the agent, seconds since the epoch; a reload does not change it.")
BUILD = _gauge("build_info", "Always 1; the labels tell what runs.", Label("version"), Label("python"))

_BY_CODE = {"452 4.3.1": "disk", "452 4.5.3": "limit", "450 4.7.1": "limit"}
_BY_STATUS = (("5.3.4", "size"), ("5.7.", "policy"), ("5.6.7", "address"), ("5.6.", "content"), ("5.4.6", "content"))


def reason_of(reply: str) -> str:
    """The class of a refusal by its SMTP reply, one of `messages_refused_total`'s reasons."""
    found = _BY_CODE.get(reply[:9])
    if found is not None:
        return found
    status = reply[4:]
    for prefix, reason in _BY_STATUS:
        if status.startswith(prefix):
            return reason
    if reply.startswith("4"):
        return "fault"
    return "address" if status.startswith("5.1.") or reply.startswith("553") else "syntax"
