# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of tls_certificate: asks what the host has, and signs or sends only what it lacks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import (
    CertificateError,
    check_provided,
    describe,
    general_names,
    issued_by,
    parse_chain,
    private_key_matches,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import (
    PrivateCa,
    renewal_reason,
    subject_for,
)
from cryptography import x509

MODULE = "postroad.relay.tls_files"
RENEWAL = "postroad.relay.tls_renewal"
UNITS = Path(__file__).resolve().parents[2] / "roles" / "relay_tls" / "files"
NOT_TAKEN_UP = "the run that put it in use broke off before the agent took it up"
STRINGS = {"type": "list", "elements": "str", "default": []}
ARGUMENTS: dict[str, Any] = {
    "hostname": {"type": "str", "required": True},
    "certificate": {
        "type": "dict",
        "default": {},
        "options": {
            "mode": {"type": "str", "choices": ["private_ca", "provided", "acme"], "default": "private_ca"},
            "names": STRINGS,
            "ca_directory": {"type": "str"},
            "ca_domains": STRINGS,
            "days": {"type": "int", "default": 365},
            "renew_before": {"type": "int", "default": 30},
            "source": {"type": "str", "choices": ["controller", "host"], "default": "controller"},
            "certificate": {"type": "str"},
            "key": {"type": "str", "no_log": False},
            "acme": {
                "type": "dict",
                "options": {
                    "directory_url": {"type": "str", "default": "https://acme-v02.api.letsencrypt.org/directory"},
                    "email": {"type": "str", "required": True},
                    "challenge": {"type": "str", "choices": ["http", "dns"], "default": "http"},
                    "ca": {"type": "str"},
                },
            },
            "dns": {
                "type": "dict",
                "options": {
                    "server": {"type": "str", "required": True},
                    "port": {"type": "int", "default": 53},
                    "key_name": {"type": "str", "required": True, "no_log": False},
                    "key_algorithm": {
                        "type": "str",
                        "choices": ["hmac-sha256", "hmac-sha384", "hmac-sha512"],
                        "default": "hmac-sha256",
                        "no_log": False,
                    },
                    "key_secret": {"type": "str", "required": True, "no_log": True},
                    "ttl": {"type": "int", "default": 3600},
                },
            },
            "tlsa": {"type": "bool", "default": False},
        },
        "required_if": [("mode", "provided", ["certificate", "key"]), ("mode", "acme", ["acme"])],
    },
    "release": {"type": "str"},
    "webroot": {"type": "str", "default": ""},
    "directory": {"type": "str", "default": "/etc/postroad/tls"},
    "agent_user": {"type": "str", "default": "postroad"},
    "switching": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    """One round trip when the certificate is good."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        self._vars = task_vars or {}
        _, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        self._wanted: dict[str, Any] = arguments["certificate"]
        self._names = self._wanted["names"] or [arguments["hostname"]]
        self._hostname: str = arguments["hostname"]
        self._switching: bool = arguments["switching"]
        self._place = {"directory": arguments["directory"], "agent_user": arguments["agent_user"]}
        self._webroot: str = arguments["webroot"]
        self._release: str | None = arguments["release"]
        host = self._vars.get("inventory_hostname", "this host")
        ways = {"private_ca": self._private_ca, "provided": self._provided, "acme": self._acme}
        try:
            return ways[self._wanted["mode"]]()
        except CertificateError as error:
            return {"failed": True, "msg": f"{host}: {error}"}

    def _module(self, step: str, **arguments: Any) -> dict[str, Any]:
        """Run a step on the host; a failure there is raised as CertificateError."""
        result = self._on_host(MODULE, step=step, **arguments)
        if result.get("renews_itself"):
            # By what an earlier mode set up; another hand would replace the certificate that this one sees to.
            self._on_host(RENEWAL, state="absent")
            result["changed"] = True
        return result

    def _on_host(self, module: str, **arguments: Any) -> dict[str, Any]:
        arguments = {**self._place, **arguments}
        result: dict[str, Any] = self._execute_module(module_name=module, module_args=arguments, task_vars=self._vars)
        if result.get("missing_package") and self._task.check_mode and module == MODULE:
            # What the host has cannot be read yet; without openssl no run of ours was here.
            missing = {"changed": True, "chain": "", "key_matches": False, "taken_up": True}
            return missing | {"misplaced": result["misplaced"]}
        if result.get("missing_package") and not self._task.check_mode:
            self._install(result["missing_package"])
            result = self._execute_module(module_name=module, module_args=arguments, task_vars=self._vars)
        if result.get("failed"):
            raise CertificateError(str(result.get("msg")))
        return result

    def _install(self, package: str) -> None:
        result = self._execute_module(
            module_name="ansible.builtin.apt", module_args={"name": package}, task_vars=self._vars
        )
        if result.get("failed"):
            raise CertificateError(f"the package {package} is missing and could not be installed: {result.get('msg')}")

    def _private_ca(self) -> dict[str, Any]:
        if self._hostname not in self._names:
            raise CertificateError(
                f"relay_tls_certificate.names: {', '.join(self._names)} leaves out {self._hostname}, "
                "the name that clients connect to"
            )
        directory = self._ca_directory()
        found = self._module("inspect")
        present = parse_chain(found["chain"], "the certificate in use")[0] if found["chain"] else None
        reason = renewal_reason(
            present,
            self._authority(directory),
            names=self._names,
            key_matches=found["key_matches"],
            renew_before=timedelta(days=self._wanted["renew_before"]),
        )
        before = describe(present) if present else ""
        if reason is None and found["taken_up"]:
            return self._places(found) | {"certificate": before, "warnings": _unproved(found)}
        # The same words in check mode and in the run: what only issuing decides (number, end) is in `certificate`.
        diff = [*self._place_diff(found), self._diff(before, self._planned(directory, present))]
        reason = reason or NOT_TAKEN_UP
        if self._task.check_mode:
            return {"changed": True, "reason": reason, "diff": diff}
        authority = PrivateCa.open_or_create(directory, domains=self._wanted["ca_domains"], read_key=self._read)
        request = self._module("request")["request"]
        chain = authority.sign(request, self._names, self._wanted["days"])
        return self._install_pair(chain, reason, diff, before)

    def _ca_directory(self) -> Path:
        """The authority belongs to the inventory, not to the operator: colleagues must share one."""
        directory = self._wanted["ca_directory"]
        if directory:
            return Path(directory).expanduser()
        inventory = self._vars.get("inventory_dir")
        if not inventory:
            raise CertificateError("relay_tls_certificate.ca_directory is needed: the inventory is not in a directory")
        return Path(inventory) / "private_ca"

    def _places(self, found: dict[str, Any]) -> dict[str, Any]:
        """The result when the certificate stays: what of its directories was put right."""
        if not found["changed"]:
            return {"changed": False}
        return {"changed": True, "diff": self._place_diff(found)}

    def _place_diff(self, found: dict[str, Any]) -> list[dict[str, str]]:
        header = {"before_header": self._place["directory"], "after_header": self._place["directory"]}
        before = "".join(f"{line}\n" for line in found["misplaced"])
        return [header | {"before": before, "after": "owner, group and mode as they should be\n"}] if before else []

    def _authority(self, directory: Path) -> x509.Certificate | None:
        """The certificate of the authority that is to sign."""
        trusted = PrivateCa.read_trusted(directory)
        # Check mode of a rotation: the one that is trusted beside it, which only a real run has made the first.
        return trusted[-1] if self._switching and (directory / "next.key").exists() else next(iter(trusted), None)

    def _planned(self, directory: Path, present: x509.Certificate | None) -> str:
        """The lines of a certificate that only a real run issues."""
        authority = self._authority(directory)
        # Not the name of an authority that another host's task may have made a moment ago.
        known = authority is not None and present is not None and issued_by(present, authority)
        issuer = present.issuer.rfc4514_string() if known and present else f"the authority in {directory}"
        names = sorted({str(name.value) for name in general_names(self._names)})
        return (
            f"subject: {subject_for(self._names).rfc4514_string()}\n"
            f"names: {', '.join(names)}\n"
            f"issuer: {issuer}\n"
            f"not after: {self._wanted['days']} days after the run\n"
            "sha256: known once it is issued\n"
        )

    def _acme(self) -> dict[str, Any]:
        acme, server = dict(self._wanted["acme"]), dict(self._wanted["dns"] or {})
        authority = acme.pop("ca")
        if self._webroot and acme["challenge"] == "http":
            acme["webroot"] = self._webroot
        secret = server.pop("key_secret", None)
        found = self._on_host(
            RENEWAL,
            settings={
                "names": list(dict.fromkeys([self._hostname, *self._names])),
                "renew_before": self._wanted["renew_before"],
                "tlsa": self._wanted["tlsa"],
                "acme": acme,
                "dns": server,
            },
            key_secret=secret,
            authority=self._controller_file(authority) if authority else None,
            units={path.name: path.read_text("utf-8") for path in sorted(UNITS.iterdir())},
            release=self._release,
        )
        before, after = (
            describe(parse_chain(found[key], "the certificate in use")[0]) if found[key] else ""
            for key in ("before", "chain")
        )
        problems = found["problems"]
        if problems and not found["usable"]:
            raise CertificateError(f"there is no certificate that holds: {'; '.join(problems)}")
        if self._task.check_mode and not before:
            after = f"issued by {acme['directory_url']} in the run\n"
        diffs = [*found["diff"], self._diff(before, after)] if before != after else found["diff"]
        # Before the first one there is no agent yet.
        warnings = [*problems, *(_unproved(found) if before else [])]
        result = {"changed": found["changed"], "certificate": after, "warnings": warnings, "diff": diffs}
        return result | ({"reason": found["reason"]} if found.get("reason") else {})

    def _provided(self) -> dict[str, Any]:
        certificate_path, key_path = self._wanted["certificate"], self._wanted["key"]
        on_host = self._wanted["source"] == "host"
        key: str | None = None
        if on_host:
            found = self._module("inspect", source_certificate=certificate_path, source_key=key_path)
            if "source_chain" not in found:
                return {"changed": True, "reason": "openssl would be installed first, and the files looked at then"}
            chain, matches = found["source_chain"], found["source_key_matches"]
        else:
            chain = self._controller_file(certificate_path)
            key = self._controller_file(key_path)
            matches = private_key_matches(parse_chain(chain, certificate_path)[0], key, key_path)
            found = self._module("inspect")
        certificate = parse_chain(chain, certificate_path)[0]
        judged = check_provided(certificate, dict.fromkeys([self._hostname, *self._names]))
        errors = list(judged.errors) if matches else [*judged.errors, f"does not belong to the key {key_path}"]
        if errors:
            place = "on this host" if on_host else "on the controller"
            raise CertificateError(f"the certificate {certificate_path} {place} " + " and ".join(errors))
        warnings = [f"the certificate {certificate_path} {warning}" for warning in judged.warnings]
        if found["chain"] == chain and found["key_matches"] and found["taken_up"]:
            warnings += _unproved(found)
            return self._places(found) | {"certificate": describe(certificate), "warnings": warnings}
        before = describe(parse_chain(found["chain"], "the certificate in use")[0]) if found["chain"] else ""
        reason = "another one is provided" if before else "there is none"
        if found["chain"] == chain:
            reason = NOT_TAKEN_UP if found["key_matches"] else "the key beside it is another's"
        diff = [*self._place_diff(found), self._diff(before, describe(certificate))]
        if self._task.check_mode:
            return {"changed": True, "reason": reason, "diff": diff, "warnings": warnings}
        source = {"source_certificate": certificate_path, "source_key": key_path} if on_host else {"private_key": key}
        installed = self._install_pair(chain, reason, diff, before, **source)
        return {**installed, "warnings": [*warnings, *installed["warnings"]]}

    def _install_pair(
        self, chain: str, reason: str, diff: list[dict[str, str]], before: str, **key: str | None
    ) -> dict[str, Any]:
        installed = self._module("install", chain=chain, **key)
        after = describe(parse_chain(chain, "the new certificate")[0])
        return {
            "changed": True,
            "reason": reason,
            "reloaded": installed["reloaded"],
            "certificate": after,
            "diff": diff,
            "warnings": _unproved(installed) if before else [],
        }

    def _diff(self, before: str, after: str) -> dict[str, str]:
        header = f"{self._place['directory']}/fullchain.pem"
        return {"before_header": header, "after_header": header, "before": before, "after": after}

    def _controller_file(self, name: str) -> str:
        """A file of the operator's, found as `copy` finds one. Raises CertificateError."""
        try:
            return self._read(Path(self._find_needle("files", name))).decode("ascii")
        except UnicodeDecodeError as error:
            raise CertificateError(f"{name} on the controller is not in PEM form") from error
        except AnsibleError:
            # Its text is a page about search paths.
            raise CertificateError(f"{name} does not exist on the controller") from None

    def _read(self, path: Path) -> bytes:
        """The content of a file, taken out of its vault if it is in one."""
        return Path(self._loader.get_real_file(str(path))).read_bytes()


def _unproved(found: dict[str, Any]) -> list[str]:
    """A warning about a certificate that is in use and that no port has shown; none for others."""
    said = found.get("unproved")
    return [f"no port has shown the certificate in use yet: {said}"] if said else []
