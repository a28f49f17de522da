#!/usr/bin/env bash
# The original script's options, for people who know them. It sets up .venv and generates first, from any folder; all
# else is snsctl's, which knows the cluster.
set -eu

usage() {
    cat >&2 <<EOF
usage: $0 r IP               start every router of the spec at IP
       $0 s IP ROUTER_IP     start every server (slave and master) of the spec at IP
       $0 c ROUTER_IP USER   run a client as USER, through the routers at ROUTER_IP
The spec is conf/cluster.yaml, else conf/local.yaml, of the folder that has this script, and the home is its var;
SNS_SPEC names another spec, SNS_HOME another home, relative to where you are.
EOF
    exit 2
}

case "$#:${1-}" in
    2:r) set -- start router --at "$2" ;;
    3:s) set -- start slave --at "$2" --router-at "$3" ;;
    3:c) set -- start client --router-at "$2" -- "$3" ;;
    *) usage ;;
esac

from_here() {
    case "$1" in
        /* | "") printf '%s\n' "$1" ;;
        *) printf '%s\n' "$PWD/$1" ;;
    esac
}

if [ -n "${SNS_SPEC-}" ]; then SNS_SPEC="$(from_here "$SNS_SPEC")"; fi
if [ -n "${SNS_HOME-}" ]; then SNS_HOME="$(from_here "$SNS_HOME")"; fi
root="$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd -P)"
cd "$root"
# shellcheck source=bin/setup-venv
. bin/setup-venv
setup_venv >&2 </dev/null
if [ "$2" != client ]; then .venv/bin/snsctl generate >&2; fi
exec .venv/bin/snsctl "$@"
