"""A plain connection for the tests of the networks themselves: ``serve PORT`` echoes, ``call TARGET`` is asked.

Each line of its input ``call`` sends over the connection that it opened first; then it opens another one, and
writes what became of both, in JSON: ``sent`` is "echoed", "silent", "ended" or an error's name, ``opened`` is
"open", "silent" or an error's name.
"""

import json
import os
import selectors
import socket
import sys
from pathlib import Path

PATIENCE_S = 1.0


def serve(address: str, port: int) -> None:
    """Echo to everybody until the input ends."""
    with selectors.DefaultSelector() as ready, socket.create_server((address, port)) as listener:
        ready.register(listener, selectors.EVENT_READ)
        ready.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            for key, _ in ready.select():
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is listener:
                    ready.register(listener.accept()[0], selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket):
                    _echo(key.fileobj, ready)


def call(target: str) -> None:
    """Do what the module says; through proxies where there are."""
    if "NETWORK_TEST_LINKS" in os.environ:
        target = json.loads(Path(os.environ["NETWORK_TEST_LINKS"]).read_text())[""][target]
    host, _, port = target.rpartition(":")
    first = socket.create_connection((host, int(port)), PATIENCE_S)
    for line in sys.stdin:
        print(json.dumps({"sent": _sent(first, line.encode()), "opened": _opened(host, int(port))}), flush=True)


def _sent(connection: socket.socket, text: bytes) -> str:
    try:
        connection.sendall(text)
        while not (told := connection.recv(1000)).endswith(text):  # an earlier one may come late
            if not told:
                return "ended"
    except TimeoutError:
        return "silent"
    except OSError as error:
        return type(error).__name__
    return "echoed"


def _opened(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), PATIENCE_S).close()
    except TimeoutError:
        return "silent"
    except OSError as error:
        return type(error).__name__
    return "open"


def _echo(connection: socket.socket, ready: selectors.BaseSelector) -> None:
    try:
        text = connection.recv(1000)
        connection.sendall(text)
    except OSError:
        text = b""
    if not text:
        ready.unregister(connection)
        connection.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        call(sys.argv[2])
