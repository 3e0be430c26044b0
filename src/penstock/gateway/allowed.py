"""Whether a caller may ask what its request asks: the alias, the route, and request fields that reach beyond the request.

Only callers with narrow keys come here; for all others one attribute says that there is nothing to look at.
"""

from __future__ import annotations

from penstock.errors import Forbidden
from penstock.gateway.auth import check_route, check_scope
from penstock.protocols.dialect import Call
from penstock.protocols.far_fields import far_fields
from penstock.types import Caller


def check(caller: Caller, alias: str, call: Call) -> None:
    """`Forbidden` for what this caller's key does not open."""
    if "*" not in caller.scopes:
        check_scope(caller, alias)
        check_route(caller, call.operation.value)
    if "*" in caller.extras:
        return
    for name in far_fields(call.body, call.content_type):
        if name not in caller.extras:
            msg = f"The caller {caller.name!r} may not send the field {name!r}."
            raise Forbidden(msg, hint="Leave it out, or let the operator allow it in the key's extras.", param=name)
