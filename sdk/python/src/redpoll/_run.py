"""Runs one call: plain functions, generators, coroutines and asynchronous generators."""

from __future__ import annotations

import contextvars
import inspect
import os
import sys
from typing import Any, Callable, Generator, NoReturn, Optional

from ._call import CURRENT, Call
from ._declare import Registry
from ._errors import ArgumentError, Cancelled, ValueRefused
from ._faults import describe, shorter
from ._port import Gone, Port
from ._procedure import Procedure
from ._values import labelled


def run(registry: Registry, message: "dict[str, Any]", call: Call, port: Port, on_end: Callable[[], None] = lambda: None) -> None:
    """Runs the call that a message asks for and says exactly one end, after ``on_end``. Raises Gone."""
    try:
        procedure = registry.find(call.procedure, call.version)
        call.manifest_limit = procedure.options.line_limit
        args, kwargs = _arguments(message)
        work = procedure.bind(args, kwargs)
        result = contextvars.copy_context().run(_work, procedure, work, call, port)
        if port.is_fork():
            _leave_fork(None)
        end = labelled("result", result)
    except BaseException as error:
        if port.is_fork():
            _leave_fork(error)
        end = {"exception": _described(error, call)}
        # the frames that it holds hold what may have been large
        del error
    on_end()
    _say_end(call, end)


def _arguments(message: "dict[str, Any]") -> "tuple[list[Any], dict[str, Any]]":
    args, kwargs = message.get("args"), message.get("kwargs")
    if not isinstance(args, (list, type(None))):
        raise ArgumentError("", "`args` of the call is not a list")
    if not isinstance(kwargs, (dict, type(None))):
        raise ArgumentError("", "`kwargs` of the call is not an object")
    return args or [], kwargs or {}


def _say_end(call: Call, end: "dict[str, Any]") -> None:
    step = 0
    while True:
        try:
            call.end(end)
            return
        except (ValueRefused, RecursionError) as refused:
            if "exception" not in end:
                end = {"exception": describe(refused)}
                continue
            rest = shorter(end["exception"], step)
            if rest is None:
                raise
            end, step = {"exception": rest}, step + 1


def _described(error: BaseException, call: Call) -> "dict[str, Any]":
    if call.cancelled and type(error).__name__ == "CancelledError" and str(type(error).__module__).startswith("asyncio"):
        # asyncio's own word for the same thing
        error = Cancelled("the call was cancelled").with_traceback(error.__traceback__)
    return describe(error)


def _work(procedure: Procedure, work: Callable[[], Any], call: Call, port: Port) -> Any:
    CURRENT.set(call)
    call.cancel_by = procedure.options.cancel
    call.raise_if_cancelled()
    result = _own(call, work)
    if port.is_fork():
        _leave_fork(None)
    if inspect.isgenerator(result):
        return _generator(result, call, port)
    if inspect.iscoroutine(result) or inspect.isasyncgen(result):
        return _asynchronous(result, call, port)
    return result


def _own(call: Call, step: Callable[[], Any]) -> Any:
    """Runs the procedure's own code: only there may a signal interrupt."""
    call.interruptible = True
    try:
        return step()
    finally:
        call.interruptible = False


def _generator(values: "Generator[Any, None, Any]", call: Call, port: Port) -> Any:
    """Sends what it yields; what it returns is the result. A cancel, or a value that cannot be sent, is raised at its yield."""
    raised: Optional[BaseException] = None
    nobody = False
    try:
        while True:
            try:
                if raised is None:
                    value = _own(call, lambda: next(values))
                else:
                    error, raised = raised, None
                    value = _own(call, lambda: values.throw(error))
            except StopIteration as stop:
                return stop.value
            if port.is_fork():
                _leave_fork(None)
            try:
                call.value(value)
                call.raise_if_cancelled()
            except (Cancelled, ValueRefused) as problem:
                if nobody:
                    raise
                raised, nobody = problem, port.gone
    finally:
        if not port.is_fork():
            _own(call, values.close)


def _asynchronous(work: Any, call: Call, port: Port) -> Any:
    import asyncio

    call.asynchronous = True

    async def main() -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def is_main() -> bool:
            try:
                return asyncio.current_task() is task
            except RuntimeError:
                # no loop runs here
                return True

        def tell() -> None:
            # once: progress() may have raised it there already
            if task is not None and call.is_to_hear():
                task.cancel()

        def cancel() -> None:
            try:
                loop.call_soon_threadsafe(tell)
            except RuntimeError:
                # it ended in the same moment
                pass

        call.in_main_task = is_main
        if call.cancel_by != "poll":
            call.when_cancelled(cancel)
        try:
            return await (work if inspect.iscoroutine(work) else _async_generator(work, call, port))
        except BaseException as error:
            if port.is_fork():
                _leave_fork(error)
            raise
        finally:
            # here already: the kernel wakes this loop and its parent's by the same means, and to close the one takes it from the other
            if port.is_fork():
                _leave_fork(None)

    return asyncio.run(main())


async def _async_generator(values: Any, call: Call, port: Port) -> None:
    """As :func:`_generator`. The loop has its turn after each value, also where the procedure itself never waits."""
    import asyncio

    raised: Optional[BaseException] = None
    nobody = False
    try:
        while True:
            try:
                if raised is None:
                    value = await values.__anext__()
                else:
                    error, raised = raised, None
                    value = await values.athrow(error)
            except StopAsyncIteration:
                return
            if port.is_fork():
                _leave_fork(None)
            try:
                call.value(value)
                call.raise_if_cancelled()
                await asyncio.sleep(0)
            except asyncio.CancelledError as problem:
                # not at a wait of its own, so it is told as at any yield
                is_ours = call.cancelled and call.cancel_by != "poll"
                raised = Cancelled("the call was cancelled") if is_ours else problem
            except (Cancelled, ValueRefused) as problem:
                if nobody:
                    raise
                raised, nobody = problem, port.gone
    finally:
        if not port.is_fork():
            await values.aclose()


def _leave_fork(error: Optional[BaseException]) -> NoReturn:
    """A procedure called os.fork() and its child came back here. It must not speak for its parent."""
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None and not isinstance(error, Gone):
        code = 1
        sys.excepthook(type(error), error, error.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            continue
    os._exit(code)
