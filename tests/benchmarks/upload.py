"""Uploads files one after another, each as fast as it is taken, until it is ended.

Arguments: port, API key, path, bytes. Prints one line of JSON for each: status and seconds.
"""

import json
import os
import socket
import sys
import time

BLOCK = b"\x5a" * 65_536
EDGE = "edge-of-a-part-5f0d2c7be1a9"
NOT_TWICE_S = 0.05  # Rest between two, so that refusals do not come by the thousand.


def parts(size: int) -> tuple[bytes, bytes]:
    """What stands before the file's bytes, and after."""
    before = (
        f'--{EDGE}\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n'
        f'--{EDGE}\r\ncontent-disposition: form-data; name="file"; filename="speech.wav"\r\n'
        "content-type: audio/wav\r\n\r\n"
    )
    return before.encode(), f"\r\n--{EDGE}--\r\n".encode()


def upload(port: int, key: str, path: str, size: int) -> int:
    """The status of one."""
    before, after = parts(size)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: OpenAI/Python 3.57.0\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: multipart/form-data; boundary={EDGE}\r\n"
        f"content-length: {len(before) + size + len(after)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            connection.sendall(head.encode() + before)
            for _ in range(size // len(BLOCK)):
                connection.sendall(BLOCK)
            connection.sendall(BLOCK[: size % len(BLOCK)] + after)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It was refused while it was sent; the answer may still be there to read.
        try:
            answer = connection.recv(65_536)
        except ConnectionResetError:
            return 0
    return int(answer[9:12] or 0)


def main() -> None:
    port, key, path, size = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    os.nice(5)  # The calls whose times are taken come first where they share a core.
    while True:
        began = time.monotonic()
        status = upload(port, key, path, size)
        print(json.dumps({"status": status, "seconds": time.monotonic() - began}), flush=True)
        time.sleep(NOT_TWICE_S)


if __name__ == "__main__":
    main()
