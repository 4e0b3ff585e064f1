# What the tests of asks offer, in the mode MODE under the family FAMILY.
import os

import redpoll

BOTH = {"submit": True, "calls": ["site.*"]}


def told(fault: redpoll.ManagerFault) -> "list[str]":
    return [fault.code, fault.message]


@redpoll.procedure(name="FAMILY.submits", mode="MODE", manager=BOTH)
def submits(agent: str, procedure: str = "sys.version", key: str = ""):
    try:
        job = redpoll.submit(procedure, agents=agent, key=key or None, start_within="1m")
    except redpoll.ManagerFault as fault:
        return told(fault)
    return [job.id, job.new]


@redpoll.procedure(name="FAMILY.calls", mode="MODE", manager=BOTH)
def calls(procedure: str, text: str = "hello"):
    try:
        return redpoll.call_manager(procedure, text=text)
    except redpoll.ManagerFault as fault:
        return told(fault)


@redpoll.procedure(name="FAMILY.may-nothing", mode="MODE")
def may_nothing():
    try:
        return redpoll.submit("sys.version").id
    except redpoll.ManagerFault as fault:
        return told(fault)


@redpoll.procedure(name="FAMILY.persists", mode="MODE", manager=BOTH)
def persists():
    """Asks until it knows, as is right with a key."""
    codes: "list[str]" = []
    while True:
        try:
            job = redpoll.submit("sys.version", key="once")
        except redpoll.ManagerFault as fault:
            codes.append(fault.code)
            if fault.code not in ("agent_gone", "agent_away", "timed_out"):
                raise
            redpoll.sleep(0.05)
            continue
        return {"job": job.id, "new": job.new, "codes": codes, "in_job": os.environ.get("REDPOLL_JOB") or redpoll.job()}


if __name__ == "__main__":
    redpoll.serve()
