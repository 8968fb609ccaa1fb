# SPDX-License-Identifier: GPL-3.0-or-later
"""The envelope: MAIL and RCPT with their parameters (RFC 5321 4.1.1.2, 4.1.1.3)."""

from __future__ import annotations

from relay_agent.submission.address import PathError, parse_path
from relay_agent.submission.state import SessionState

__all__ = ["EnvelopeCommands"]

_KEPT = frozenset({"BODY", "SMTPUTF8"})  # through the queue


class EnvelopeCommands(SessionState):
    """From whom, to whom, and how."""

    async def smtp_MAIL(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.2, with SIZE (RFC 1870), BODY (RFC 6152, RFC 3030), SMTPUTF8 (RFC 6531), AUTH (RFC 4954)."""
        assert self.session is not None
        assert self.envelope is not None
        if not self.session.host_name:
            self.say("503 5.5.1 Give EHLO first")
        elif not self._may_submit():
            self.say("530 5.7.0 Sign in first: this relay takes mail from its own users only")
        elif self.envelope.mail_from is not None:
            self.say("503 5.5.1 A message is begun already; give RSET to drop it")
        else:
            try:
                address, parameters = parse_path(arg or "", keyword="FROM")
                utf8 = self._check_mail_parameters(address, parameters)
            except PathError as error:
                self.say(str(error))
                return
            self.envelope.mail_from = address
            self.envelope.smtp_utf8 = utf8
            self.envelope.mail_options = [key if not value else f"{key}={value}" for key, value in parameters.items()]
            self.mail.options = {key: value for key, value in parameters.items() if key in _KEPT}
            self.say("250 2.1.0 Sender noted")

    def _check_mail_parameters(self, address: str, parameters: dict[str, str]) -> bool:
        limit = self.service.config.submission.max_message_size
        for key, value in parameters.items():
            if key == "SIZE":
                if not value.isascii() or not value.isdigit() or len(value) > 20:
                    raise PathError("501 5.5.4 SIZE is a number of bytes")
                if int(value) > limit:
                    raise PathError(f"552 5.3.4 The message is larger than {limit} bytes")
            elif key == "BODY":
                if value.upper() not in ("7BIT", "8BITMIME", "BINARYMIME"):
                    raise PathError("501 5.5.4 BODY is 7BIT, 8BITMIME or BINARYMIME")
                parameters[key] = value.upper()
            elif key == "SMTPUTF8":
                if value:
                    raise PathError("501 5.5.4 SMTPUTF8 takes no value")
            elif key != "AUTH":
                raise PathError(f"555 5.5.4 MAIL parameter {key} is not known here")
        utf8 = "SMTPUTF8" in parameters
        if not address.isascii() and not utf8:
            raise PathError("553 5.6.7 An address beyond ASCII needs the SMTPUTF8 parameter")
        return utf8

    async def smtp_RCPT(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.3."""
        envelope = self.envelope
        assert envelope is not None
        if envelope.mail_from is None:
            self.say("503 5.5.1 Give MAIL first")
            return
        if self._chunks is not None:
            self.say("503 5.5.1 The content has begun already")
            return
        if len(envelope.rcpt_tos) >= self.service.config.submission.max_recipients:
            self.say(f"452 4.5.3 No more than {self.service.config.submission.max_recipients} recipients a message")
            return
        try:
            address, parameters = parse_path(arg or "", keyword="TO")
            if parameters:
                raise PathError(f"555 5.5.4 RCPT parameter {next(iter(parameters))} is not known here")
            if not address.isascii() and not envelope.smtp_utf8:
                raise PathError("553 5.6.7 An address beyond ASCII needs SMTPUTF8 on MAIL")
        except PathError as error:
            self.say(str(error))
            return
        envelope.rcpt_tos.append(address)
        self.say("250 2.1.5 Recipient noted")
