#!/usr/bin/env bash
# The original script's options, for people who know them. It holds no logic: snsctl knows the cluster.
set -eu

usage() {
    cat >&2 <<EOF
usage: $0 r IP               start every router of the spec at IP
       $0 s IP ROUTER_IP     start every server (slave and master) of the spec at IP
       $0 c ROUTER_IP USER   run a client as USER, through the routers at ROUTER_IP
The spec is conf/cluster.yaml, else conf/local.yaml; SNS_SPEC names another, SNS_HOME another home than var.
EOF
    exit 2
}

snsctl="$(dirname "$0")/../.venv/bin/snsctl"
[ -x "$snsctl" ] || snsctl=snsctl

case "$#:${1-}" in
    2:r) exec "$snsctl" start router --at "$2" ;;
    3:s) exec "$snsctl" start slave --at "$2" --router-at "$3" ;;
    3:c) exec "$snsctl" start client --router-at "$2" -- "$3" ;;
    *) usage ;;
esac
