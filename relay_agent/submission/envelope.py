# SPDX-License-Identifier: GPL-3.0-or-later
"""The envelope: MAIL and RCPT with their parameters (RFC 5321 4.1.1.2, 4.1.1.3)."""

from __future__ import annotations

import time

from relay_agent.observability import measured
from relay_agent.submission.address import PathError, parse_path
from relay_agent.submission.parameters import Offer, read_mail_parameters, read_rcpt_parameters
from relay_agent.submission.state import SessionState

__all__ = ["EnvelopeCommands"]


class EnvelopeCommands(SessionState):
    """From whom, to whom, and how."""

    async def smtp_MAIL(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.2; the parameters are those of `parameters`."""
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
                found = read_mail_parameters(parameters, self._offer())
                if not address.isascii() and not found.utf8:
                    raise PathError("553 5.6.7 An address beyond ASCII needs the SMTPUTF8 parameter")
                address = self.rights.sender(address)
            except PathError as error:
                measured.REFUSED[measured.reason_of(str(error))] += 1
                self.say(str(error))
                return
            self.envelope.mail_from = address
            self.envelope.smtp_utf8 = found.utf8
            self.envelope.mail_options = [key if not value else f"{key}={value}" for key, value in parameters.items()]
            self.mail.options = found.options
            self.mail.hold_until, self.mail.hold_for = found.hold_until, found.hold_for
            asked = found.options.get("MT-PRIORITY")
            if asked is not None:
                given = str(self.rights.priority(int(asked)))
                found.options["MT-PRIORITY"] = given
                if given != asked:  # RFC 6710 4.1
                    self.say(f"250 2.3.6 Sender noted; the priority is {given}, as far as your account may go")
                    return
            self.say("250 2.1.0 Sender noted")

    def _offer(self) -> Offer:
        assert self.session is not None
        config = self.service.config.submission
        return Offer(
            size=self.rights.max_message_size,
            tls=self.tls_active,
            signed_in=bool(self.session.authenticated),
            longest_hold=config.max_hold,
            now=time.time(),
        )

    async def smtp_RCPT(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.3, with NOTIFY and ORCPT (RFC 3461 4.1, 4.2)."""
        envelope = self.mail
        if envelope.mail_from is None:
            self.say("503 5.5.1 Give MAIL first")
            return
        if self._chunks is not None:
            self.say("503 5.5.1 The content has begun already")
            return
        if len(envelope.rcpt_tos) >= self.service.config.submission.max_recipients:
            measured.RECIPIENTS_REFUSED["limit"] += 1
            self.say(f"452 4.5.3 No more than {self.service.config.submission.max_recipients} recipients a message")
            return
        try:
            address, parameters = parse_path(arg or "", keyword="TO")
            options = read_rcpt_parameters(parameters, utf8=envelope.smtp_utf8)
            if not address.isascii() and not envelope.smtp_utf8:
                raise PathError("553 5.6.7 An address beyond ASCII needs SMTPUTF8 on MAIL")
            self.rights.recipient(len(envelope.rcpt_tos) + 1)
            if self.service.suppression is not None:
                self.service.suppression.check(address, self.account)
        except PathError as error:
            measured.RECIPIENTS_REFUSED[measured.reason_of(str(error))] += 1
            self.say(str(error))
            return
        envelope.rcpt_tos.append(address)
        if options:
            envelope.recipient_options.setdefault(address, options)
        self.say("250 2.1.5 Recipient noted")
