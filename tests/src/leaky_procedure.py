# Tells all it was given, in every way that the protocol has, in every form that programs write things in.
# {"kwargs": {"secret": ..., "pin": bytes, "how": ...}}; started with "once" or "worker".
import base64
import json
import os
import sys
import time
import urllib.parse

OPEN = ("how", "file")
before = []


def say(call, **line):
    print(json.dumps({"call": call, **line}), flush=True)


def leaves(value):
    if isinstance(value, dict) and list(value) == ["$b64"]:
        yield base64.b64decode(value["$b64"])
    elif isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    elif not isinstance(value, bool) and value is not None:
        yield value


def written(leaf):
    """The forms of a secret in texts."""
    data = leaf if isinstance(leaf, bytes) else str(leaf).encode()
    texts = [] if isinstance(leaf, bytes) else [str(leaf), repr(leaf), json.dumps(leaf), json.dumps(leaf, ensure_ascii=False)]
    encoded = [base64.b64encode(b"ann"[:n] + data + b"!!"[:m]).decode() for n in range(3) for m in range(3)]
    encoded += [base64.urlsafe_b64encode(b"ann"[:n] + data).decode() for n in range(3)]
    encoded += [urllib.parse.quote(data), urllib.parse.quote_plus(data), urllib.parse.quote(data, safe="").lower()]
    return texts + encoded


def shout(told):
    for leaf in told:
        if isinstance(leaf, bytes):
            sys.stderr.buffer.write(b"bytes " + leaf + b"\n")
            sys.stderr.flush()
        for text in written(leaf):
            sys.stderr.write(f"stderr {text}\n")
            sys.stderr.flush()


def run(line):
    call, kwargs = line["call"], line["kwargs"]
    told = [leaf for key, value in kwargs.items() if key not in OPEN for leaf in leaves(value)]
    shout(before)
    shout(told)
    texts = [text for leaf in told for text in written(leaf)]
    for leaf in told:
        if isinstance(leaf, bytes):
            say(call, value_b64=base64.b64encode(leaf).decode())
            leaf = {"$b64": base64.b64encode(leaf).decode()}
        say(call, value=leaf)
        say(call, value={"seen": [leaf, {"deep": leaf}], "secret": leaf})
        say(call, progress={"completed": 1, "details": {"said": leaf}})
        say(call, emit={"type": "vault.leak", "data": {"said": leaf}})
    for text in texts:
        say(call, value=f"it is {text}, as said")
        say(call, value={text: 1})
        say(call, progress={"completed": 1, "details": text})
        say(call, emit={"type": "vault.text", "data": text})
        say(call, emit={"type": f"vault.{text}", "data": 1})
    before.extend(told)
    everything = " ".join(texts)
    how = kwargs["how"]
    if how == "dies":
        os._exit(3)
    if how == "sleeps":
        open(kwargs["file"], "w").close()
        time.sleep(1000)
    if how == "asks":
        submit = {"procedure": "leak.once", "kwargs": {**kwargs, "how": "result"}, "key": "asked"}
        say(call, ask={"id": "1", "submit": submit})
        say(call, value=json.loads(sys.stdin.readline()))
        say(call, ask={"id": "2", "procedure": "site.leak", "kwargs": {**kwargs, "how": "result"}})
        say(call, value=json.loads(sys.stdin.readline()))
    if how == "nonsense":
        print(everything, flush=True)
    elif how == "raises":
        names = ("class", "module", "message", "trace")
        details = {"args": texts, "state": {"said": texts, "secret": 1}, "data": {everything: texts}}
        say(call, exception={**{name: f"{name} {everything}" for name in names}, **details})
    else:
        say(call, result={"secret": told and str(told[0]), "said": texts})


if sys.argv[1] == "once":
    run(json.loads(sys.stdin.readline()))
else:
    print('{"ready": true}', flush=True)
    for line in sys.stdin:
        line = json.loads(line)
        if "call" in line:
            run(line)
