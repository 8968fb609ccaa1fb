# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of tls_certificate, whose work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tls_certificate
short_description: The certificate that a relay shows
description:
  - Sees to it that a host has a certificate for its names, from a private authority kept on the controller or from
    files that the operator provides, with the key beside it readable by the agent alone.
  - In the mode V(acme) the host itself has its certificate issued and renewed, by a timer.
  - In the mode V(private_ca) the key is made on the host and never leaves it. The authority signs on the controller.
  - Certificate and key are switched in one step, and the agent is reloaded if it runs. Pairs used before are kept.
author: The Postroad founders
options:
  hostname:
    description: The name that clients connect to. The certificate must be for it.
    type: str
    required: true
  certificate:
    description: Where the certificate comes from.
    type: dict
    default: {}
    suboptions:
      mode:
        description: Who vouches for the host.
        type: str
        choices: [private_ca, provided, acme]
        default: private_ca
      names:
        description: Names and addresses that the certificate is for. The default is O(hostname) alone.
        type: list
        elements: str
        default: []
      ca_directory:
        description:
          - For V(private_ca), the directory on the controller with C(ca.pem) and C(ca.key), both made when there is
            nothing. The default is C(private_ca) in the directory of the inventory.
        type: str
      ca_domains:
        description: Names and networks that a new authority is bound to for good. Unbound when empty.
        type: list
        elements: str
        default: []
      days:
        description: For how long an issued certificate is valid. Apple's devices take no more than 825.
        type: int
        default: 365
      renew_before:
        description:
          - An issued certificate is renewed when fewer than these days are left; with V(acme) not before two thirds of
            its time are over.
        type: int
        default: 30
      source:
        description: For V(provided), where the two files are.
        type: str
        choices: [controller, host]
        default: controller
      certificate:
        description: For V(provided), the file with the certificate and those behind it, in PEM.
        type: str
      key:
        description: For V(provided), the file with the private key, in PEM and without a passphrase. May be in a vault.
        type: str
      acme:
        description: For V(acme), the authority that issues.
        type: dict
        suboptions:
          directory_url:
            description: Where the authority's directory is (RFC 8555 7.1.1).
            type: str
            default: https://acme-v02.api.letsencrypt.org/directory
          email:
            description: Whom the authority may write to. With it you agree to the authority's terms of service.
            type: str
            required: true
          challenge:
            description:
              - How the host proves that a name is its own. For V(http) it answers at port 80, for V(dns) it writes a
                record at the server in O(certificate.dns).
            type: str
            choices: [http, dns]
            default: http
          ca:
            description:
              - A PEM file on the controller with what the authority's own HTTPS is trusted by. The default is what the
                host trusts.
            type: str
      dns:
        description: For V(acme), a name server that takes dynamic updates (RFC 2136) for the host's names.
        type: dict
        suboptions:
          server:
            description: Its name or address.
            type: str
            required: true
          port:
            description: Its port.
            type: int
            default: 53
          key_name:
            description: The name of the TSIG key (RFC 8945) that updates are signed with.
            type: str
            required: true
          key_algorithm:
            description: The algorithm of the key.
            type: str
            choices: [hmac-sha256, hmac-sha384, hmac-sha512]
            default: hmac-sha256
          key_secret:
            description: The secret of the key, in base64.
            type: str
            required: true
          ttl:
            description: Seconds that published TLSA records may be remembered.
            type: int
            default: 3600
      tlsa:
        description:
          - For V(acme), whether TLSA records name the key. The next key is then used only when its record has been
            visible for its TTL. With O(certificate.dns) the host publishes them, else C(relay-agent certificate tlsa)
            prints them.
        type: bool
        default: false
  release:
    description: For V(acme), the release of the agent that sees to it. The default is the one in use.
    type: str
  webroot:
    description:
      - For V(acme), the directory from which a web server of the host at port 80 takes the answers to challenges. Empty
        without one; the host then answers by itself.
    type: str
    default: ''
  directory:
    description: Where the pair is kept on the host.
    type: str
    default: /etc/postroad/tls
  agent_user:
    description: The system user of the agent; made when missing.
    type: str
    default: postroad
  switching:
    description: For check mode while the authority is changed. The one trusted beside it counts as the one that signs.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Certificate from the fleet's own authority
  postroad.relay.tls_certificate:
    hostname: relay.example.org

- name: Certificate that another program keeps on the host
  postroad.relay.tls_certificate:
    hostname: relay.example.org
    certificate:
      mode: provided
      source: host
      certificate: /etc/letsencrypt/live/relay.example.org/fullchain.pem
      key: /etc/letsencrypt/live/relay.example.org/privkey.pem
"""

RETURN = r"""
certificate:
  description: Subject, names, issuer, end and fingerprint of the certificate in use, a line each.
  returned: success, but not for one that check mode only plans
  type: str
reason:
  description: Why the certificate was (or would be) replaced.
  returned: changed
  type: str
reloaded:
  description: Whether the agent was running and took the new pair.
  returned: changed
  type: bool
"""
