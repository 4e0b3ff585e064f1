#!/usr/bin/env python3
"""An agent of protocol 0, in another language and from the oldest description of the protocol alone.

It knows the fields of that description and no others, offers no ALPN, uses request ids of 32 hex digits and sends and
takes arguments that are texts. Whatever else comes makes it fail: a manager that says more than such a peer
understands is found out. It needs Python's standard library only.

usage: protocol0.py HOST PORT NAME CERT KEY CA [ID]

What it does is told line by line on standard output; a test plays the other side.
"""
import os
import socket
import ssl
import struct
import sys


# MessagePack, as much of it as such a peer needs

def pack(value):
    if value is None:
        return b"\xc0"
    if value is True or value is False:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if 0 <= value < 128:
            return bytes([value])
        return struct.pack(">Bq", 0xD3, value) if value < 1 << 63 else struct.pack(">BQ", 0xCF, value)
    if isinstance(value, float):
        return struct.pack(">Bd", 0xCB, value)
    if isinstance(value, str):
        data = value.encode()
        return (bytes([0xA0 | len(data)]) if len(data) < 32 else struct.pack(">BI", 0xDB, len(data))) + data
    if isinstance(value, bytes):
        return struct.pack(">BI", 0xC6, len(value)) + value
    if isinstance(value, list):
        return struct.pack(">BI", 0xDD, len(value)) + b"".join(map(pack, value))
    if isinstance(value, dict):
        pairs = b"".join(pack(key) + pack(item) for key, item in value.items())
        return struct.pack(">BI", 0xDF, len(value)) + pairs
    raise TypeError(type(value))


NUMBERS = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
           0xCA: ">f", 0xCB: ">d"}
SIZES = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I",
         0xDE: ">H", 0xDF: ">I"}


def unpack(data):
    value, rest = take(data)
    check(not rest, "bytes after the value")
    return value


def number(data, form):
    size = struct.calcsize(form)
    return struct.unpack(form, data[:size])[0], data[size:]


def take(data):
    head, data = data[0], data[1:]
    if head < 0x80 or head >= 0xE0:
        return (head if head < 0x80 else head - 256), data
    if head in NUMBERS:
        return number(data, NUMBERS[head])
    if head in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[head], data
    if head < 0xC0:
        size = head & (0x1F if head >= 0xA0 else 0x0F)
    else:
        check(head in SIZES, f"byte {head:#x}")
        size, data = number(data, SIZES[head])
    if 0xA0 <= head < 0xC0 or head in (0xD9, 0xDA, 0xDB):
        return data[:size].decode(), data[size:]
    if head in (0xC4, 0xC5, 0xC6):
        return data[:size], data[size:]
    items = []
    is_map = head < 0x90 or head in (0xDE, 0xDF)
    for _ in range(2 * size if is_map else size):
        item, data = take(data)
        items.append(item)
    return (dict(zip(items[::2], items[1::2])) if is_map else items), data


# The protocol

FIELDS = {
    11: {"version": str},
    12: {"data": int},
    13: {"data": int},
    14: {"reason": str},
    20: {"id": str, "method": str, "args": list, "kwargs": dict},
    21: {"id": str, "success": bool, "data": object},
    22: {"type": str, "data": object},
}


def check(good, what):
    if not good:
        tell("strict:", what)
        sys.exit(1)


def tell(*words):
    print(*words, flush=True)


class Peer:
    def __init__(self, host, port, cert, key, ca):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.load_cert_chain(cert, key)
        context.load_verify_locations(ca)
        self.socket = context.wrap_socket(socket.create_connection((host, port), timeout=30))
        self.pings = 0
        self.serving = False
        self.told = False

    def send(self, kind, **fields):
        payload = pack({"t": kind, **fields})
        self.socket.sendall(struct.pack(">I", len(payload)) + payload)

    def exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                return None
            data += more
        return data

    def receive(self):
        """The next message as (kind, fields), or None at the end. Pings are answered on the way."""
        while True:
            head = self.exactly(4)
            if head is None:
                return None
            fields = unpack(self.exactly(struct.unpack(">I", head)[0]))
            kind = fields.pop("t")
            check(kind in FIELDS, f"kind {kind}")
            check(set(fields) == set(FIELDS[kind]), f"fields {sorted(fields)} in kind {kind}")
            for name, form in FIELDS[kind].items():
                check(isinstance(fields[name], form), f"{name} is {fields[name]!r}")
            if kind == 12:
                check(0 <= fields["data"] < 1 << 31, f"ping {fields['data']}")
                self.send(13, data=fields["data"])
                self.pings += 1
                self.tell_of_pings()
            else:
                return kind, fields

    def tell_of_pings(self):
        if self.serving and self.pings >= 3 and not self.told:
            self.told = True
            tell("pinged three times")

    def expect(self, kind):
        got = self.receive()
        check(got is not None and got[0] == kind, f"expected kind {kind}, got {got}")
        return got[1]

    def call(self, method, args=(), kwargs=None):
        request = os.urandom(16).hex()
        self.send(20, id=request, method=method, args=list(args), kwargs=kwargs or {})
        answer = self.expect(21)
        check(answer["id"] == request, f"an answer to {answer['id']}")
        check(answer["success"] or isinstance(answer["data"], str), f"a failure is told as {answer['data']!r}")
        return answer["success"], answer["data"]

    def serve(self):
        self.serving = True
        self.tell_of_pings()
        while True:
            got = self.receive()
            if got is None:
                return tell("end")
            kind, fields = got
            if kind == 14:
                return tell("bye", fields["reason"])
            if kind == 22:
                tell("notified", fields["type"], fields["data"])
                if fields["type"] == "leave":
                    return self.leave()
                continue
            check(kind == 20, f"kind {kind}")
            self.answer(**fields)

    def answer(self, id, method, args, kwargs):
        check(len(id) == 32 and all(digit in "0123456789abcdef" for digit in id), f"id {id}")
        check(all(isinstance(arg, str) for arg in args), f"args {args}")
        if method == "upper":
            self.send(21, id=id, success=True, data=[arg.upper() for arg in args])
        elif method == "named":
            self.send(21, id=id, success=True, data=kwargs)
        elif method == "hang":
            tell("hanging")
        else:
            self.send(21, id=id, success=False, data=f"no method {method}")

    def leave(self):
        self.send(22, type="rp.manager.note", data="the old one leaves")
        self.send(14, reason="had enough")
        self.socket.settimeout(10)
        tell("left", self.receive())


def main(host, port, name, cert, key, ca, id=None):
    peer = Peer(host, int(port), cert, key, ca)
    check(peer.socket.selected_alpn_protocol() is None, "an ALPN that nobody offered")
    peer.send(10, id=id or name, version="0.0.1", credentials="")
    got = peer.receive()
    if got is not None and got[0] == 14:
        return tell("refused", got[1]["reason"])
    check(got is not None and got[0] == 11, f"no hello: {got}")
    tell("hello", got[1]["version"])
    for data in (0, 1, (1 << 31) - 1):
        peer.send(12, data=data)
        check(peer.expect(13)["data"] == data, "another number in the pong")
    good, data = peer.call("rp.manager.echo", ["a", "b"], {"k": "v"})
    check(good and data == {"args": ["a", "b"], "kwargs": {"k": "v"}}, f"echo: {data}")
    good, data = peer.call("rp.manager.time")
    check(good and data["wall_ms"] > 1_600_000_000_000, f"time: {data}")
    good, data = peer.call("rp.status")
    check(not good and "forbidden" in data, f"status: {data}")
    tell("ready")
    peer.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
