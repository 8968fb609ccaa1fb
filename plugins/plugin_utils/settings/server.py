# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the web server (nginx) that serves the settings, to browsers that the agent carries to it.

It is a process of its own and reads nothing below /etc/nginx, so that other sites of the host are left alone. Paths
without a leading slash are below its runtime directory. Nothing of a request gets into an answer but the address in
Outlook's, which is taken only when it consists of letters that mean nothing in XML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .autoconfig import ADDRESS, LOCALPART
from .autodiscover import JSON_ANSWER, NAMED_ANSWER, NAMELESS_ANSWER
from .mail_service import MailService
from .profile import PROFILE

__all__ = ["ANSWERS", "CHALLENGES", "PAGES", "PROFILES", "server_configuration", "web_addresses"]

PAGES = "/etc/postroad-settings/pages"
ANSWERS = "/etc/postroad-settings/answers"
PROFILES = "/run/postroad-profile"
CHALLENGES = "/run/postroad-acme"

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self' https:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

_TEMPLATE = """\
# Written by Ansible (role relay_settings): what is changed here, the next run changes back.
daemon off;
worker_processes 1;
pid nginx.pid;
# Lesser faults are told with the request, in which there are addresses.
error_log stderr crit;

events {
    worker_connections 1024;
}

http {
    # Who asked for which address is nobody's business.
    access_log off;
    server_tokens off;
    sendfile on;

    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;

    client_header_timeout 10s;
    client_body_timeout 10s;
    send_timeout 10s;
    keepalive_timeout 20s;
    reset_timedout_connection on;
    # One for all: what Outlook posts is measured again where it is sent on to.
    client_max_body_size 16k;
    large_client_header_buffers 4 4k;
    limit_conn_zone $binary_remote_addr zone=clients:1m;

    types {
        text/html html;
        text/css css;
        text/javascript js;
        text/xml xml;
        text/plain txt;
        image/svg+xml svg;
        image/png png;
        application/json json;
        application/x-apple-aspen-config mobileconfig;
        application/x-x509-ca-cert pem;
    }
    default_type application/octet-stream;
    charset utf-8;
    charset_types text/css text/javascript text/xml text/plain application/json;

    # On which ports a browser came by TLS, which the agent ended. All others are sent to port 443, except an authority
    # with its challenge (RFC 8555 8.3).
    map "$proxy_protocol_server_port $uri" $postroad_to_https {
        default 1;
@TLS_PORTS@        "~^[0-9]* /[.]well-known/acme-challenge/[A-Za-z0-9_-]+$" "";
    }
    map $uri $postroad_any_origin {
        default "";
        /reach.json "*";
    }
@HSTS_MAP@
    # The address that Outlook asks with, if it can stand in XML as it is.
    map $request_body $postroad_address {
        default "";
        "~*<(?:[a-z0-9]+:)?EMailAddress>\\s*([a-z0-9_.+=~-]{1,64}@[a-z0-9.-]{1,253})\\s*<" $1;
    }
    map $postroad_address $postroad_localpart {
        default "";
        "~^([^@]+)@" $1;
    }
    map $postroad_address $postroad_xml {
        default @NAMED@;
        "" @NAMELESS@;
    }
    map $arg_protocol $postroad_json {
        default "";
        "~*^AutodiscoverV1$" @JSON@;
    }

    server {
        # The agent alone speaks to it, and says who the browser is.
@LISTEN@        set_real_ip_from 127.0.0.1;
        set_real_ip_from ::1;
        real_ip_header proxy_protocol;
        limit_conn clients 64;

        root @PAGES@;
        add_header Content-Security-Policy "@POLICY@" always;
        add_header X-Content-Type-Options nosniff always;
        add_header Referrer-Policy no-referrer always;
        add_header Cache-Control no-cache always;
        add_header Access-Control-Allow-Origin $postroad_any_origin always;
@HSTS@
        if ($postroad_to_https) {
            return 302 https://@NAME@$request_uri;
        }

        location / {
            try_files $uri $uri/index.html =404;
        }

        location = /@PROFILE@ {
            root @PROFILES@;
        }

        location ^~ /.well-known/acme-challenge/ {
            root @CHALLENGES@;
            types { }
            default_type text/plain;
        }

        # Static files are not posted to: of what was, the body is read for the copy that nobody gets, and the refusal
        # is replaced by the answer.
        location ~* ^/autodiscover/autodiscover[.]xml$ {
            client_body_buffer_size 16k;
            client_body_in_single_buffer on;
            mirror /nobody;
            alias @ANSWERS@/@NAMELESS@;
            error_page 405 =200 /outlook.xml;
        }
        location = /nobody {
            internal;
            return 204;
        }
        location = /outlook.xml {
            internal;
            alias @ANSWERS@/$postroad_xml;
            sub_filter_types text/xml;
            sub_filter_once off;
            sub_filter "@ADDRESS@" $postroad_address;
            sub_filter "@LOCALPART@" $postroad_localpart;
        }
        location ~* ^/autodiscover/autodiscover[.]json(/|$) {
            if ($postroad_json = "") {
                return 400;
            }
            types { }
            default_type application/json;
            alias @ANSWERS@/$postroad_json;
        }
    }
}
"""


def web_addresses(listeners: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where the listeners carry browsers to, each address once."""
    return list(dict.fromkeys(str(listener["web"]) for listener in listeners if listener.get("web")))


def server_configuration(service: MailService, listeners: Sequence[Mapping[str, Any]], *, hsts: int = 0) -> str:
    """nginx.conf. listeners: as in `relay_agent_listeners`, judged before; hsts: seconds, 0 for no such header."""
    tls = [int(each["port"]) for each in listeners if each.get("web") and each["tls"] == "implicit"]
    values = {
        "LISTEN": "".join(f"        listen {address} proxy_protocol;\n" for address in web_addresses(listeners)),
        "TLS_PORTS": "".join(f'        "~^{port} " "";\n' for port in tls),
        # A promise that is made over TLS only; elsewhere browsers must not heed it (RFC 6797 7.2).
        "HSTS_MAP": f'    map $postroad_to_https $postroad_hsts {{\n        default "";\n'
        f'        "" "max-age={hsts}";\n    }}\n'
        if hsts
        else "",
        "HSTS": "        add_header Strict-Transport-Security $postroad_hsts always;\n" if hsts else "",
        "NAME": service.name,
        "PAGES": PAGES,
        "ANSWERS": ANSWERS,
        "PROFILES": PROFILES,
        "PROFILE": PROFILE,
        "CHALLENGES": CHALLENGES,
        "NAMED": NAMED_ANSWER,
        "NAMELESS": NAMELESS_ANSWER,
        "JSON": JSON_ANSWER,
        "POLICY": _POLICY,
        "ADDRESS": ADDRESS,
        "LOCALPART": LOCALPART,
    }
    text = _TEMPLATE
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text
