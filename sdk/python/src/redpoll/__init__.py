"""Procedures for Redpoll in Python.

    import redpoll

    @redpoll.procedure
    def count(to: int):
        '''Counts.'''
        for number in range(to):
            redpoll.progress(number, to)
            yield number
        return to

    if __name__ == "__main__":
        redpoll.serve()

`python -m redpoll manifest FILE.py` writes what an agent needs to offer it, `python -m redpoll call FILE.py count to:=3` tries it. The guide is
docs/python.md; start reading the source at `_procedure.py` (what is declared) and `_serve.py` (how calls come).
"""

from ._call import Call, attempt, cancelled, current, emit, info, job, log, operator, progress, roles, sleep
from ._ask import Submitted
from ._cli import serve
from ._declare import expose, procedure
from ._errors import (
    ArgumentError,
    Busy,
    CallEnded,
    Cancelled,
    DeclarationError,
    Failure,
    ManagerFault,
    NoCall,
    UnknownProcedure,
    ValueRefused,
)
from ._limits import Arg
from ._manager import call_manager, submit

__version__ = "0.1.0"

__all__ = [
    "Arg",
    "ArgumentError",
    "Busy",
    "Call",
    "CallEnded",
    "Cancelled",
    "DeclarationError",
    "Failure",
    "ManagerFault",
    "NoCall",
    "Submitted",
    "UnknownProcedure",
    "ValueRefused",
    "attempt",
    "call_manager",
    "cancelled",
    "current",
    "emit",
    "expose",
    "info",
    "job",
    "log",
    "operator",
    "procedure",
    "progress",
    "roles",
    "serve",
    "sleep",
    "submit",
]
