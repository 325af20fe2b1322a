"""The page's server side: seven addresses, and no file name in any of them."""

import json
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from robustaug.data.names import shown
from robustaug.errors import RobustAugError
from robustaug.files import sha256
from robustaug.review.desk import Desk, RefusedError
from robustaug.review.guard import App, Guard

_LARGEST_BODY = 65_536
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def create_app(desk: Desk, port: int, token: str) -> App:
    """The application for one folder, guarded.

    Pictures have numbers, their places in the manifest: no request can name a file.

    Args:
        desk: What is reviewed.
        port: Where the server listens.
        token: What every request has to know.
    """

    def listing(_: Request) -> Response:
        return _json(desk.listing())

    def variant(request: Request) -> Response:
        return _picture(request, desk.variant_png(_number(request, len(desk))))

    def source(request: Request) -> Response:
        return _picture(request, desk.source_png(_number(request, len(desk))))

    def share(request: Request) -> Response:
        size = _natural(request.query_params.get("size", ""))
        found = desk.share(desk.sample if size is None else size)
        return _json({"size": found.size, "statement": found.statement()})

    async def decide(request: Request) -> Response:
        given = (await _body(request, desk.gallery.manifest_sha256)).get("decisions")
        for made in given if isinstance(given, list) else [given]:
            if not (isinstance(made, dict) and isinstance(made.get("path"), str)):
                raise HTTPException(400, "A decision needs a path.")
            if not isinstance(made.get("label"), str | None):
                raise HTTPException(400, "A label is a text.")
            await run_in_threadpool(desk.decide, made["path"], made.get("decision"), made.get("label"))
        return _json({})

    async def undo(request: Request) -> Response:
        await _body(request, desk.gallery.manifest_sha256)
        return _json(await run_in_threadpool(desk.undo))

    routes = [
        Route("/variants.json", listing),
        Route("/variants/{number}", variant),
        Route("/sources/{number}", source),
        Route("/share.json", share),
        Route("/decide", decide, methods=["POST"]),
        Route("/undo", undo, methods=["POST"]),
        *(Route(address, _static(name)) for address, name in _page().items()),
    ]
    return Guard(Starlette(routes=routes, exception_handlers={RobustAugError: _say, HTTPException: _say}), port, token)


def _page() -> dict[str, str]:
    """Address to the name of a file of the page."""
    names = [entry.name for entry in files("robustaug.review").joinpath("page").iterdir()]
    return {"/" if name == "index.html" else f"/{name}": name for name in names}


def _static(name: str) -> Any:
    content = files("robustaug.review").joinpath("page", name).read_bytes()
    media_type = _TYPES[name[name.rindex(".") :]]
    return lambda _: Response(content, media_type=media_type)


def _number(request: Request, count: int) -> int:
    number = _natural(request.path_params["number"])
    if number is None or number >= count:
        raise HTTPException(404, "There is no such variant.")
    return number


def _natural(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


async def _body(request: Request, manifest: str) -> dict[str, Any]:
    """What a page posts: an object that names the manifest, so that an old page cannot decide about another folder."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _LARGEST_BODY:
            raise HTTPException(413, "That is too long.")
    try:
        given = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "That is not JSON.") from error
    if not isinstance(given, dict) or given.get("manifest") != manifest:
        raise HTTPException(409, "This page is of other variants; load it again.")
    return given


def _json(content: Any) -> Response:
    return Response(json.dumps(content), media_type="application/json")


def _picture(request: Request, content: bytes) -> Response:
    """Kept by the browser, but only shown again after asking whether it is still the same."""
    tag = f'"{sha256(content)}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="image/png", headers=headers)


def _say(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return PlainTextResponse(error.detail, error.status_code, headers=error.headers)
    if isinstance(error, RefusedError):
        return PlainTextResponse(shown(str(error)), 400)
    return PlainTextResponse(shown(str(error)), 500 if request.method == "POST" else 404)
