#!/usr/bin/env python3
"""An agent of protocol 1 that takes jobs, in another language and from docs/protocol.md alone.

It is strict: a field that the page does not name, or of another type than there, makes it fail. Its spool is a file. It needs
Python's standard library only.

usage: jobs.py HOST PORT NAME CERT KEY CA SPOOL [PLACE]

What it does is told line by line on standard output; a test plays the other side. At a PLACE it dies as from SIGKILL: `offered`,
`burnt`, `accepted`, `starting`, `running`, `ended`, `acked`. Each start of a procedure leaves a line in SPOOL.started.
"""
import os
import signal
import socket
import ssl
import struct
import sys
import time

from protocol0 import pack, tell, unpack

ANY = object
NAME = {"job": bytes, "attempt": int, "dno": int}
# what may come, required and optional
HELLO = ({"version": str},
         {"protocol": int, "caps": list, "manager": str, "cluster": str, "limits": dict, "ping_ms": int, "dead_ms": int,
          "epoch": int, "turn": bytes, "wall_ms": int})
REQUEST = ({"id": str, "method": str, "args": list, "kwargs": dict},
           {"timeout_ms": int, "trace": str, "operator": str, "roles": list})
RESPONSE = ({"id": str, "success": bool, "data": ANY}, {"fault": dict})
OFFER = ({**NAME, "procedure": str, "args": list, "kwargs": dict, "operator": str},
         {"roles": list, "info": ANY, "start_within_ms": int, "run_ms": int, "idle_ms": int, "grace_ms": int, "output": int,
          "overflow": str})
CANCEL = (NAME, {"grace_ms": int})
RESUMED = ({"jobs": list, "purge_below_dno": int}, {})
ACT = ({"job": bytes, "attempt": int, "act": str}, {"from": int})
REPORTED = ({"acks": list}, {})
ACK = ({"job": bytes, "attempt": int, "next_n": int, "done": bool}, {"stop": bool})

ITEMS = 4  # in one report, of one run: so that it takes several


def check(good, what):
    if not good:
        tell("strict:", what)
        sys.exit(1)


def strict(fields, form, what):
    required, optional = form
    check(set(required) <= set(fields) <= set(required) | set(optional), f"fields {sorted(fields)} in {what}")
    for name, value in fields.items():
        check(isinstance(value, {**required, **optional}[name]), f"{name} of {what} is {value!r}")
    return fields


class Spool:
    """What the agent keeps, as one file that is replaced whole."""

    def __init__(self, path):
        self.path = path
        if os.path.exists(path):
            with open(path, "rb") as file:
                self.kept = unpack(file.read())
        else:
            self.kept = {"spool": os.urandom(16), "max_dno": 0, "runs": {}}
        self.runs = self.kept["runs"]
        for run in self.runs.values():
            if run["state"] in ("starting", "running"):
                self.end(run, "unknown", run["state"] == "running" or None, code="agent_gone")
        self.write()

    def write(self):
        with open(self.path + ".new", "wb") as file:
            file.write(pack(self.kept))
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.path + ".new", self.path)
        folder = os.open(os.path.dirname(self.path), os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def receive(self, offer):
        run = {name: offer[name] for name in NAME}
        run.update(state="received", procedure=offer["procedure"], kwargs=offer["kwargs"], items=[], acked_n=0, done=None)
        self.runs[offer["dno"]] = run
        self.see(offer["dno"])
        return run

    def see(self, dno):
        self.kept["max_dno"] = dno
        self.write()

    def end(self, run, outcome, started, code=None, result=None):
        run["state"], run["done"] = "done", {"outcome": outcome, "items": next_n(run)}
        if started is not None:
            run["done"]["started"] = started
        if code:
            run["done"]["fault"] = {"code": code, "message": f"{code}, says the peer"}
        else:
            run["done"]["result"] = result

    def find(self, name):
        run = self.runs.get(name["dno"])
        return run if run and all(run[field] == name[field] for field in NAME) else None

    def state(self, name):
        run = self.find(name)
        return run["state"] if run else "absent"


def next_n(run):
    return run["acked_n"] + len(run["items"])


def name_of(run):
    return {field: run[field] for field in NAME}


class Agent:
    def __init__(self, host, port, cert, key, ca, spool, place):
        self.spool, self.place = spool, place
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.load_cert_chain(cert, key)
        context.load_verify_locations(ca)
        context.set_alpn_protocols(["rp/1"])
        self.socket = context.wrap_socket(socket.create_connection((host, port), timeout=30))
        self.stream = self.socket.makefile("rb")
        self.asked = {}        # requests on their way, and what takes their answers
        self.resumed, self.acts = False, None
        self.reporting = False
        self.began = {}        # dno: when, in this life
        self.told = set()      # starts that were told
        self.progress = {}

    def die_at(self, place):
        if place == self.place:
            tell("dies", place)
            os.kill(os.getpid(), signal.SIGKILL)

    def send(self, kind, **fields):
        payload = pack({"t": kind, **fields})
        self.socket.sendall(struct.pack(">I", len(payload)) + payload)

    def receive(self):
        head = self.stream.read(4)
        if len(head) < 4:
            return None, {}
        fields = unpack(self.stream.read(struct.unpack(">I", head)[0]))
        return fields.pop("t"), fields

    def ask(self, method, kwargs, answered):
        request = os.urandom(16).hex()
        self.asked[request] = answered
        self.send(20, id=request, method=method, args=[], kwargs=kwargs)

    def serve(self):
        # twice, as after an answer that did not come; the two answers come in any order
        self.page()
        self.page()
        while True:
            kind, fields = self.receive()
            if kind is None:
                return tell("end")
            if kind == 14:
                return tell("bye", fields["reason"])
            if kind == 12:
                self.send(13, data=fields["data"])
            elif kind == 20:
                self.request(**strict(fields, REQUEST, "a request"))
            elif kind == 21:
                strict(fields, RESPONSE, "a response")
                check(fields["success"], f"a fault: {fields['data']}")
                self.asked.pop(fields["id"])(fields["data"])
            self.report()

    # rp.job.resume

    def page(self):
        jobs = [{**name_of(run), "state": run["state"], "next_n": next_n(run), "acked_n": run["acked_n"]}
                for _, run in sorted(self.spool.runs.items())]
        kept = self.spool.kept
        page = {"spool": kept["spool"], "max_dno": kept["max_dno"], "last": True, "jobs": jobs}
        self.ask("rp.job.resume", page, self.begin)

    def begin(self, answer):
        acts = strict(answer, RESUMED, "the answer of a resume")["jobs"]
        if self.acts is not None:
            check(acts == self.acts, f"asked again: {self.acts}, then {acts}")
            self.resumed = True  # not before, as a report would change what the second answer says
            return tell("resumed")
        self.acts = acts
        for act in acts:
            strict(act, ACT, "an act")
            run = next(run for run in self.spool.runs.values()
                       if (run["job"], run["attempt"]) == (act["job"], act["attempt"]))
            tell("act", act["act"], *([act["from"]] if "from" in act else []))
            if act["act"] == "drop":
                del self.spool.runs[run["dno"]]
                continue
            if act["act"] == "send_from":
                self.acknowledge(run, act["from"])
            if act["act"] == "kill" and run["state"] == "received":
                self.spool.end(run, "cancelled", False, code="cancelled")
            elif run["state"] == "received":
                self.start(run)
        self.spool.write()

    # rp.job.offer and rp.job.cancel

    def request(self, id, method, kwargs, **rest):
        check(rest["args"] == [], f"args {rest['args']}")
        if method == "rp.job.offer":
            self.offered(id, strict(kwargs, OFFER, "an offer"))
        elif method == "rp.job.cancel":
            self.cancelled(id, strict(kwargs, CANCEL, "a cancel"))
        else:
            self.refuse(id, "unknown_method")

    def refuse(self, id, code):
        fault = {"code": code, "message": f"{code}, says the peer"}
        self.send(21, id=id, success=False, data=f"{code}: refused", fault=fault)

    def offered(self, id, offer):
        self.die_at("offered")
        dno = offer["dno"]
        tell("offered", dno, offer["attempt"], offer["operator"], *sorted(set(offer) - set(OFFER[0])))
        if dno <= self.spool.kept["max_dno"]:
            return self.send(21, id=id, success=True, data={"state": self.spool.state(offer)})
        if self.place == "burnt":
            self.spool.see(dno)
            self.die_at("burnt")
        if offer["procedure"] not in ("app.count", "app.wait", "app.fail", "app.print"):
            self.spool.see(dno)
            return self.refuse(id, "unknown_procedure")
        run = self.spool.receive(offer)
        self.die_at("accepted")
        self.send(21, id=id, success=True, data={"accepted": True})
        self.start(run)

    def cancelled(self, id, cancel):
        tell("cancelled", cancel["dno"], cancel.get("grace_ms"))
        run = self.spool.find(cancel)
        if cancel["dno"] > self.spool.kept["max_dno"]:
            self.spool.see(cancel["dno"])
        elif run and run["state"] == "running":
            self.send(21, id=id, success=True, data={"state": "running"})
            self.spool.end(run, "cancelled", True, code="cancelled")
            return self.spool.write()
        self.send(21, id=id, success=True, data={"state": self.spool.state(cancel)})

    # the procedures: all but app.wait are over at once

    def start(self, run):
        run["state"] = "starting"
        self.spool.write()
        self.die_at("starting")
        with open(self.spool.path + ".started", "a") as file:
            file.write(f"{run['job'].hex()}\n")
        self.began[run["dno"]] = time.monotonic()
        run["state"] = "running"
        kwargs = run["kwargs"]
        gives = {
            "app.count": lambda: [("value", n) for n in range(kwargs["n"])],
            "app.print": lambda: [("stdout", b"out\n"), ("stderr", b"err\n"),
                                  ("truncated", {"stream": "stdout", "bytes": 7})],
            "app.wait": lambda: [("value", "begun")],
            "app.fail": list,
        }[run["procedure"]]()
        run["items"] = [{"n": n, "kind": kind, "data": data} for n, (kind, data) in enumerate(gives)]
        self.progress[run["dno"]] = {"completed": len(gives), "total": len(gives), "details": "all"}
        self.spool.write()
        self.die_at("running")
        if run["procedure"] == "app.fail":
            self.spool.end(run, "failed", True, code="failed")
        elif run["procedure"] != "app.wait":
            self.spool.end(run, "succeeded", True, result=len(gives))
        self.spool.write()
        self.die_at("ended")

    # rp.job.report: one on its way at a time

    def report(self):
        if self.reporting or not self.resumed:
            return
        reports = [report for _, run in sorted(self.spool.runs.items()) for report in self.news(run)]
        if reports:
            self.reporting = True
            self.ask("rp.job.report", {"reports": reports}, lambda answer: self.reported(reports, answer))

    def news(self, run):
        news, dno = {}, run["dno"]
        if dno in self.began and dno not in self.told:
            news["started_ms_ago"] = int((time.monotonic() - self.began[dno]) * 1000)
            self.told.add(dno)
        if run["items"]:
            news["items"] = run["items"][:ITEMS]
        if dno in self.progress:
            news["progress"] = self.progress.pop(dno)
        if run["done"] and len(run["items"]) <= ITEMS:
            news["done"] = run["done"]
        return [{**name_of(run), **news}] if news else []

    def reported(self, reports, answer):
        acks = strict(answer, REPORTED, "the answer of a report")["acks"]
        check(len(acks) == len(reports), f"{len(acks)} answers to {len(reports)} reports")
        self.die_at("acked")
        for ack in acks:
            strict(ack, ACK, "an acknowledgement")
        if any(ack["done"] for ack in acks):
            # told once more, as after a crash before this is written down
            self.ask("rp.job.report", {"reports": reports}, lambda again: self.acknowledged(acks, again["acks"]))
        else:
            self.acknowledged(acks, acks)

    def acknowledged(self, acks, again):
        check(acks == again, f"told twice: {acks}, then {again}")
        for ack in acks:
            check(not ack.get("stop"), "a run that is in force is stopped")
            run = next(run for run in self.spool.runs.values()
                       if (run["job"], run["attempt"]) == (ack["job"], ack["attempt"]))
            self.acknowledge(run, ack["next_n"])
            if ack["done"]:
                del self.spool.runs[run["dno"]]
                tell("acknowledged", run["job"].hex(), ack["next_n"])
        self.spool.write()
        self.reporting = False

    def acknowledge(self, run, below):
        run["items"] = [item for item in run["items"] if item["n"] >= below]
        run["acked_n"] = max(run["acked_n"], below)


def main(host, port, name, cert, key, ca, path, place=None):
    spool = Spool(path)
    agent = Agent(host, int(port), cert, key, ca, spool, place)
    check(agent.socket.selected_alpn_protocol() == "rp/1", "no rp/1")
    agent.send(10, id=name, version="0.0.1", credentials="", protocol=[0, 1], spool=spool.kept["spool"],
               max_dno=spool.kept["max_dno"])
    kind, hello = agent.receive()
    check(kind == 11, f"no hello: {kind} {hello}")
    strict(hello, HELLO, "the hello")
    agent.serve()


main(*sys.argv[1:])
