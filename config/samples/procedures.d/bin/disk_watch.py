#!/usr/bin/env python3
"""disk.watch: asks the manager for a job and for a procedure, with nothing but the standard library. Python 3.8 or newer."""

import json
import os
import sys
import time


class Refused(Exception):
    """The manager, or the manifest, did not let it."""


def say(**message):
    print(json.dumps(message), flush=True)


def ask(number, **wanted):
    """Asks, and waits for the answer; a script may also go on and read answers as they come."""
    say(ask={"id": str(number), **wanted})
    answer = json.loads(sys.stdin.readline())["answer"]
    fault = answer.get("fault")
    if fault:
        raise Refused(f"{fault['code']}: {fault['message']}")
    return answer["result"]


def used(path):
    """Percent in use, of what is not kept for root."""
    told = os.statvfs(path)
    taken = told.f_blocks - told.f_bfree
    return round(100 * taken / max(taken + told.f_bavail, 1))


def watch(path="/", most=90):
    percent = used(path)
    if percent < most:
        return {"percent": percent, "job": None}
    # asked again, the same key is the same job: one report a day, however often somebody looks
    key = f"disk-report {path} {time.strftime('%Y-%m-%d', time.gmtime())}"
    job = ask(1, submit={"procedure": "disk.report", "key": key, "start_within": "10m"})
    announced = False
    if not job["existing"]:
        try:
            ask(2, procedure="site.announce", kwargs={"text": f"{path} is {percent} % full, see job {job['job']}"})
            announced = True
        except Refused as refused:
            # the report is made all the same
            print(f"not announced: {refused}", file=sys.stderr)
    return {"percent": percent, "job": job["job"], "announced": announced}


try:
    call = json.loads(sys.stdin.readline())
    say(result=watch(*call["args"], **call["kwargs"]))
except (OSError, Refused) as error:
    say(exception={"class": type(error).__name__, "message": str(error)})
