#!/bin/sh
# draw_secrets.sh DIRECTORY CERTIFICATE: what this lab alone knows. DKIM keys with the public parts as DNS wants them
# (RFC 6376 3.6.1, RFC 8463 4.2), the smarthosts' password, and the TLSA data of a certificate (3 1 1, RFC 6698 2.1).
set -eu
umask 077
mkdir "$1"
cd "$1"
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem
openssl genpkey -algorithm ED25519 -out ed25519.pem
openssl pkey -in rsa.pem -pubout -outform DER | base64 -w 0 >rsa.public
# The key itself, without the 12 octets in front that say what it is.
openssl pkey -in ed25519.pem -pubout -outform DER | tail -c 32 | base64 -w 0 >ed25519.public
openssl rand -hex 16 >smarthost.password
openssl x509 -in "$2" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d ' ' -f 1 >tlsa
