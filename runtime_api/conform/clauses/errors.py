"""Handlers that fail, and initialisation that does."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from runtime_api.conform._clause import GUIDE, SHOULD, Topic
from runtime_api.conform._session import Failed, NotApplicable, Session, encode, fail
from runtime_api.conform._wire import Exchange

ERRORS: Final = Topic("error", f"{GUIDE}: Invocation error")
INIT: Final = Topic("init", f"{GUIDE}: Initialization error")
_TYPE: Final = re.compile(r"(Runtime|Function)\.[A-Z][a-zA-Z]+")
_BROKEN: Final = {"_HANDLER": "no_such_module_of_conform.no_such_handler"}
_SHAPE: Final = 'a JSON object with "errorMessage" and "errorType", both text'


@ERRORS.clause("path", "A failed handler is reported by POST to /runtime/invocation/{id}/error, not as a response.")
async def path(session: Session) -> None:
    await _failing(session)


@ERRORS.clause("shape", "The body is a JSON object with errorMessage and errorType.")
async def shape(session: Session) -> None:
    _shaped(await _failing(session))


@ERRORS.clause("message", "errorMessage has the error's own message, whatever script it is in.")
async def message(session: Session) -> None:
    text = 'it failed: é 😀 "quoted"'
    post = await _failing(session, text)
    if text not in _shaped(post)["errorMessage"]:
        fail("the message is not there", f"errorMessage with {text}", post)


@ERRORS.clause("trace", "The stack trace, where there is one, is a list of texts.", weight=SHOULD)
async def trace(session: Session) -> None:
    post = await _failing(session)
    body = _shaped(post)
    found = next((body[name] for name in ("stackTrace", "trace") if name in body), None)
    if found is None:
        fail("there is no stack trace", '"stackTrace" (or "trace"), a list', post)
    if not isinstance(found, list):
        fail("the stack trace is no list", '"stackTrace" (or "trace"), a list', post)


@ERRORS.clause(
    "type-header",
    "Lambda-Runtime-Function-Error-Type, where it is sent, is of the form Category.Reason.",
    weight=SHOULD,
)
async def type_header(session: Session) -> None:
    post = await _failing(session)
    value = post.header("lambda-runtime-function-error-type")
    if value is None:
        raise NotApplicable("the runtime does not send it")
    if _TYPE.fullmatch(value) is None:
        fail(f"the value {value!r} is replaced by Runtime.Unknown", f"a value that matches {_TYPE.pattern}", post)


@ERRORS.clause(
    "xray", "Lambda-Runtime-Function-XRay-Error-Cause, where it is sent, is valid JSON of at most 1 MB.",
    source="AWS X-Ray, and what AWS's clients send",
)  # fmt: skip
async def xray(session: Session) -> None:
    post = await _failing(session)
    value = post.header("lambda-runtime-function-xray-error-cause")
    if value is None:
        raise NotApplicable("the runtime does not send it")
    try:
        cause = json.loads(value)
    except ValueError as error:
        fail(f"it is not JSON: {error}", "JSON", post)
    if not isinstance(cause, dict) or "exceptions" not in cause:
        fail("it has no exceptions", '{"working_directory", "exceptions", "paths"}', post)


@ERRORS.clause("lives", "After an error the runtime serves the next invocation, in the same process.")
async def lives(session: Session) -> None:
    for _ in range(3):
        await _failing(session)
    await session.lives("after three errors")


@ERRORS.clause("refused", "413 or 403 to an error does not make the runtime hang or spin.")
async def refused(session: Session) -> None:
    session.need("fail", "fail")
    poll = await session.poll()
    request_id = await session.give(poll, encode({"do": "fail", "message": "refused"}))
    post = await session.post(request_id, "error", accept=False)
    await post.answer(403, b'{"errorMessage":"refused for a test","errorType":"Refused"}')
    try:
        await session.lives("after a refused error")
    except Failed as failed:
        if "ended" not in failed.reason:
            raise


@ERRORS.clause("unserialisable", "A result that is no JSON is an error of that invocation; the runtime lives on.")
async def unserialisable(session: Session) -> None:
    session.need("unserialisable", "return what is no JSON")
    _shaped(await session.invoke({"do": "unserialisable"}, "error"))
    await session.lives("after a result that is no JSON")


@ERRORS.clause(
    "exit", "A handler that ends the process ends it: nothing is posted for the invocation afterwards.", weight=SHOULD
)
async def exit_(session: Session) -> None:
    session.need("exit", "end the process")
    poll = await session.poll()
    await session.give(poll, encode({"do": "exit", "code": 3}))
    how = await session.end("the process's end, with its own exit code")
    if how != "exit status 3":
        raise Failed(f"it ended with {how}", "exit status 3")


async def _failing(session: Session, message: str = "it failed") -> Exchange:
    session.need("fail", "fail")
    return await session.invoke({"do": "fail", "message": message}, "error")


def _shaped(post: Exchange) -> dict[str, Any]:
    try:
        body = json.loads(bytes(post.body))
    except ValueError as error:
        fail(f"the body is not JSON: {error}", _SHAPE, post)
    if not isinstance(body, dict) or not all(isinstance(body.get(name), str) for name in ("errorMessage", "errorType")):
        fail("the body has another shape", _SHAPE, post)
    if not body["errorType"]:
        fail("errorType is empty", _SHAPE, post)
    return body


# ---- initialisation --------------------------------------------------------------------------------------------------


@INIT.clause("ok", "An initialisation that succeeds posts nothing before it asks for the first invocation.")
async def ok(session: Session) -> None:
    await session.poll()


@INIT.clause("error", "A handler that cannot be loaded is reported by POST to /runtime/init/error.", variables=_BROKEN)
async def error(session: Session) -> None:
    await _init_error(session)


@INIT.clause("shape", "The body of an initialisation error has the shape of an invocation error's.", variables=_BROKEN)
async def init_shape(session: Session) -> None:
    _shaped(await _init_error(session))


@INIT.clause(
    "ends",
    "After init/error the process ends, with a code that is not 0, without asking for an invocation.",
    variables=_BROKEN,
)
async def ends(session: Session) -> None:
    await _init_error(session)
    how = await session.end("the process's end, and no further request")
    if how == "exit status 0":
        raise Failed("it ended with exit status 0", "an exit status that is not 0")


@INIT.clause("refused", "It ends also when init/error is refused.", weight=SHOULD, variables=_BROKEN)
async def init_refused(session: Session) -> None:
    post = await _init_error(session, accept=False)
    await post.answer(403, b'{"errorMessage":"refused for a test","errorType":"Refused"}')
    await session.end("the process's end")


async def _init_error(session: Session, *, accept: bool = True) -> Exchange:
    wanted = "POST /2018-06-01/runtime/init/error"
    exchange = await session.request(wanted)
    if exchange.target.endswith("/invocation/next"):
        raise NotApplicable("the runtime does not look at _HANDLER: it asked for an invocation")
    if exchange.method != "POST" or exchange.target != "/2018-06-01/runtime/init/error":
        fail("another request came", wanted, exchange)
    await session.body(exchange)
    if accept:
        await exchange.accept()
    return exchange
