#!/bin/sh
# Installs what the integration tests use as the other side, from Debian: Postfix (smtp-sink and a smarthost),
# its SASL parts, the name server nsd, and a parser of bounces as mailing lists use; and nftables, whose rules are
# tried in network namespaces; and faketime, for a clock that is set back and forth; and the mail programs that must get on
# with the relay. Only what is missing; no service is started and none is removed.
set -eu

packages="postfix postgrey libsasl2-modules sasl2-bin nsd nftables libmail-deliverystatus-bounceparser-perl faketime"
# git-email speaks through Perl's Net::SMTP, which signs in with Authen::SASL and makes TLS with IO::Socket::SSL.
packages="$packages swaks msmtp curl s-nail mutt git-email libauthen-sasl-perl libio-socket-ssl-perl node-nodemailer"
# A validating resolver, and what signs a zone.
packages="$packages unbound ldnsutils"
# opendkim-testmsg, which verifies DKIM signatures.
packages="$packages opendkim-tools"
# A program that calls in for its mail.
packages="$packages fetchmail"
# What looks for faults of TLS.
packages="$packages testssl.sh"
# A browser, for the page of the fleet's state and for the traveller's, and a reader of the QR codes there.
packages="$packages chromium zbar-tools"
# A web server behind a port that browsers and mail programs share.
packages="$packages nginx-light"
# What reads the metrics and checks the alerts.
packages="$packages prometheus"

missing=
for package in $packages; do
    case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true) in
        *" installed") ;;
        *) missing="$missing $package" ;;
    esac
done
if [ -z "$missing" ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "postroad: the integration tests need, from this system's packages:$missing" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "postroad: the integration tests need more packages; run: sudo scripts/test-packages.sh" >&2
    exit 1
fi

# Debian starts a service as its package is installed, unless this file says no (invoke-rc.d(8)).
policy=/usr/sbin/policy-rc.d
saved=
made=
restore() {
    if [ -n "$made" ]; then rm -f "$policy"; fi
    if [ -n "$saved" ]; then mv "$saved" "$policy"; fi
}
trap restore EXIT
trap 'exit 130' INT TERM
if [ ! -e "$policy" ] || { "$policy" nsd start >/dev/null 2>&1; [ $? != 101 ]; }; then
    if [ -e "$policy" ]; then
        saved=$(mktemp "$policy.XXXXXX")
        mv "$policy" "$saved"
    fi
    made=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

echo "postroad: installing for the integration tests, without starting any service:$missing"
# Without its configuration Postfix stays a set of programs: the tests bring their own configuration directories.
if command -v debconf-set-selections >/dev/null; then
    echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
fi
apt() {
    # --no-remove: a machine that runs another mail server keeps it, and the command fails instead.
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 "$@"
}
apt update
# shellcheck disable=SC2086 # the list of packages is meant to be split
apt install --no-install-recommends --no-remove $missing >/dev/null

# Nor shall they start with the next boot: Debian enables what it installs.
if command -v systemctl >/dev/null; then
    for service in postfix postgrey nsd saslauthd prometheus unbound; do
        case $missing in
            *"${service%authd}"*) systemctl --quiet disable "$service" 2>/dev/null || true ;;
        esac
    done
fi
