#!/bin/sh
# Fills in an example of settings: every `NAME=` without a value gets a fresh secret. Nothing secret is printed, and a file
# that is there already is left as it is.
#   infra/secrets.sh infra/compose/.env.example infra/compose/.env
set -eu
example=$1 target=$2
if [ -e "$target" ]; then
    echo "$target is there already; remove it if its secrets may be drawn anew" >&2
    exit 1
fi

draw() {
    case $1 in
        PREFECT_LOGIN) echo "betaline:$(random_hex)" ;;
        # A Fernet key: 32 bytes in base64 for URLs.
        PREFECT_KEY) head -c 32 /dev/urandom | base64 | tr '+/' '-_' ;;
        *) random_hex ;;
    esac
}

random_hex() {
    od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n'
    echo
}

umask 077
while IFS= read -r line; do
    case $line in
        '#'*) echo "$line" ;;
        *=) echo "$line$(draw "${line%=}")" ;;
        *) echo "$line" ;;
    esac
done < "$example" > "$target"
