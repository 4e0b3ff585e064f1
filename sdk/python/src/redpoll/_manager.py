"""Asks the manager for the call that runs here."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Sequence, Union

from ._ask import Duration, Submitted
from ._call import current


def submit(
    procedure: str,
    *,
    agents: Union[str, Sequence[str], None] = None,
    args: Sequence[Any] = (),
    kwargs: Optional[Mapping[str, Any]] = None,
    key: Optional[str] = None,
    queue: Union[str, Mapping[str, Any], None] = None,
    concurrency: Optional[int] = None,
    offline: Optional[str] = None,
    start_within: Optional[Duration] = None,
    run_timeout: Optional[Duration] = None,
    idle_timeout: Optional[Duration] = None,
    grace: Optional[Duration] = None,
    output_limit: Union[str, int, None] = None,
    overflow: Optional[str] = None,
    max_attempts: Optional[int] = None,
    idempotent: Optional[bool] = None,
    held: Optional[bool] = None,
    info: Any = None,
    callback: Optional[str] = None,
    timeout: Optional[float] = None,
) -> Submitted:
    """Submits a job: `submit("web.deploy", agents=["web-2"], kwargs={"tag": "v7"}, key="deploy-v7")`. Raises ManagerFault."""
    # every parameter is one of the method, by the same name
    given = dict(locals())
    return current().submit(**given)


def call_manager(procedure: str, /, *args: Any, timeout: Optional[float] = None, **kwargs: Any) -> Any:
    """Calls a procedure of the manager: `call_manager("site.note", text="done")`. Raises ManagerFault."""
    return current().call_manager(procedure, *args, timeout=timeout, **kwargs)
