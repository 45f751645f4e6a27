#!/usr/bin/env bash
# Makes a CA, a server certificate and client certificates for trying things out. Not for production:
# the CA's key lies beside the certificates and has no password.
#
#   certs/make-dev-ca.sh DIR [HOST …] [--client NAME …]
#
# HOST is a name or an address of the server; localhost and 127.0.0.1 are always in the certificate.
set -euo pipefail

if [ $# -lt 1 ]; then
    sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//' >&2
    exit 2
fi
dir=$1
shift
hosts=(localhost)
addresses=(127.0.0.1)
clients=()
while [ $# -gt 0 ]; do
    case $1 in
        --client) clients+=("${2:?--client needs a name}"); shift ;;
        *[!0-9.]*) hosts+=("$1") ;;
        *) addresses+=("$1") ;;
    esac
    shift
done

umask 077
mkdir -p "$dir"
cd "$dir"

if [ ! -e ca.key ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -keyout ca.key -out ca.crt \
        -subj "/CN=Portcullis development CA" -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
fi

# make NAME SUBJECT EXTENSION…
make() {
    local name=$1 subject=$2
    shift 2
    printf '%s\n' "$@" > "$name.ext"
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$name.key" -out "$name.csr" \
        -subj "$subject" 2>/dev/null
    openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 397 -out "$name.crt" \
        -extfile "$name.ext" 2>/dev/null
    rm -f "$name.csr" "$name.ext"
    echo "$PWD/$name.crt"
}

san=""
for host in "${hosts[@]}"; do san+="DNS:$host,"; done
for address in "${addresses[@]}"; do san+="IP:$address,"; done
make server "/CN=${hosts[0]}" "subjectAltName=${san%,}" "extendedKeyUsage=serverAuth" \
    "keyUsage=critical,digitalSignature" "basicConstraints=CA:FALSE"
for client in "${clients[@]}"; do
    make "$client" "/CN=$client" "extendedKeyUsage=clientAuth" "keyUsage=critical,digitalSignature" \
        "basicConstraints=CA:FALSE"
done
