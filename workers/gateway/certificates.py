"""Whose certificate a client showed."""

import asyncio


def common_name(transport: asyncio.BaseTransport) -> str | None:
    """The common name of the client's certificate, which the handshake has checked; None where it showed none."""
    shown = transport.get_extra_info("peercert") or {}
    for part in shown.get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None
