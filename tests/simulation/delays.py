"""How long things take in the simulated world, in seconds: measured ones as medians, and assumed ones.

Measured: docs/reliability.md (2 shared cores, loopback, real processes). A drawn time is ``around`` its median.
"""

import random

from snsnode.transport.channels import PING_EVERY_MS, PING_TIMEOUT_MS

# Measured.
NOTICED_S = 0.0055  # from a SIGKILL to the partner's journal entry
SPARE_SERVES_S = 0.0125  # from there until a warm spare serves: 18.0 - 5.5 ms
COLD_SERVES_S = 0.198  # until a cold master serves without one: 203 - 4.6 ms
SLAVE_STARTS_S = 0.149  # until a cold slave watches: 153 - 3.9 ms
RESET_S = 0.0033  # until a channel to a killed process breaks
SUPERVISORD_S = (1.0, 2.1)  # until supervisord brings back a router
CALL_S = 1 / 3200  # of a server's core for one unary call: 3,200 calls/s
COMMIT_S = 0.0034  # a durable post in a group commit, 64 callers
# Measured with the router's own functions on a table of 1,000 servers, for each server in it.
OFFER_S = 1.0e-6  # of a router's core, at a Connect with ``selection: spread``
TABLE_S = 0.19e-6  # of a router's core, at a registration that may change the choice
MERGE_S = 27e-6  # of a router's core, to take another router's table and to tell its own

# Assumed.
NETWORK_S = 0.00025  # one way, within a data centre
LOCAL_S = 0.0001  # one way, on the same machine
CONNECT_S = 0.0006  # of a router's core for a Connect, with the connection that a client opens for it
LOGIN_S = 0.0012  # of a master's core for a new connection, Login and Session
ENTER_S = 0.0006  # of a master's core to open a timeline
PUSH_S = 0.0001  # of a master's core for a live post to one reader
CANCELLED_S = 0.00003  # of a server's core to pass over a call whose client gave up
# From the channels' settings: until a frozen or vanished peer is given up.
PING_S = (PING_TIMEOUT_MS / 1000, (PING_EVERY_MS + PING_TIMEOUT_MS) / 1000)
RETRANSMIT_S = 0.2  # a lost segment of a stream comes so much later


def around(median_s: float, rng: random.Random) -> float:
    """Draw a time: never much below the median, with a tail above it."""
    return median_s * (0.8 + rng.expovariate(1 / 0.3))
