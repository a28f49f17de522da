"""Addresses of VMs: checked as text, never looked up.

Called by ``model`` for the field and by ``rules`` to see which roles collide and which VMs are one machine.
"""

import ipaddress
import re

from snsnode.base.ids import shown

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LOOPBACK = "127.0.0.1"

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_address(value: object) -> str:
    """Return an IP address or a host name as it was written.

    Raises:
        ValueError: it is neither, or no address that a client could be told.
    """
    if not isinstance(value, str):
        raise ValueError(f"{shown(str(value))} is not an address: write an IP address or a host name")
    ip = _ip(value)
    if ip is not None:
        return _usable(value, ip)
    if not _is_host_name(value):
        raise ValueError(f"{shown(value)} is not an address: {_advice(value)}")
    return value


def canonical(address: str) -> str:
    """Return the one spelling of ``address`` that all its spellings share; ``localhost`` is 127.0.0.1."""
    ip = _ip(address)
    if ip is not None:
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return str(mapped or ip)
    name = address.lower().rstrip(".")
    return _LOOPBACK if name == "localhost" or name.endswith(".localhost") else name


def machine(address: str) -> str:
    """Return what VMs on one machine share: their canonical address, all loopback addresses being one."""
    name = canonical(address)
    ip = _ip(name)
    return "loopback" if ip is not None and ip.is_loopback else name


def _ip(text: str) -> _Ip | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _usable(text: str, ip: _Ip) -> str:
    if getattr(ip, "scope_id", None) is not None:
        raise ValueError(
            f"{shown(text)} is an address of one machine's own link: write one that all machines reach"
        )
    plain = ipaddress.ip_address(canonical(text))
    if plain.is_unspecified:
        raise ValueError(
            f"{shown(text)} is a wildcard, and clients are told the address: write one that they can reach"
        )
    if plain.is_multicast or text == "255.255.255.255":
        raise ValueError(f"{shown(text)} is no single machine's address: write one that clients can connect to")
    return text


def _is_host_name(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    # A last label of digits only would be taken for a (malformed) IPv4 address by every resolver.
    return len(text) <= 253 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()


def _advice(text: str) -> str:
    if text.startswith("["):
        return "write an IPv6 address without brackets"
    if "://" in text or "/" in text:
        return "write the address alone, without a scheme or a path"
    host, colon, port = text.rpartition(":")
    if colon and port.isdigit() and ":" not in host:
        return f"write {host or 'HOST'} here, and the port under router or server"
    if not text.isascii():
        return "write a host name in its ASCII form (xn--…)"
    return "write an IP address, or a host name of letters, digits, '-' and '.'"
