"""poolinfer in Django, as a project of one file: a sync view, an async view and a stream.

    pip install django uvicorn
    python app.py runserver          # sync (WSGI)
    uvicorn app:application          # async (ASGI), which the stream needs

Under ASGI, a client that leaves cancels its call.
"""

import json
import math
import os
import sys
from collections.abc import AsyncIterator

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path

import poolinfer

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["localhost", "127.0.0.1", "testserver"],
        DEBUG=False,
        ROOT_URLCONF=__name__,
        SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", "only for this example"),
    )

# Nothing starts here: the model is loaded at the first call, in the process that makes it.
pool = poolinfer.Pool(os.environ.get("POOLINFER_MODEL") or poolinfer.demo_model(), slots=8, max_queue=100)


def ask(request: HttpRequest) -> JsonResponse:
    """GET /ask?prompt=..."""
    try:
        response = pool.chat(request.GET.get("prompt", ""), temperature=0, max_tokens=256, timeout=60)
    except poolinfer.PoolinferError as error:
        return explain(error)
    return JsonResponse({"answer": response.answer})


async def aask(request: HttpRequest) -> JsonResponse:
    """GET /aask?prompt=..."""
    try:
        response = await pool.achat(request.GET.get("prompt", ""), temperature=0, max_tokens=256, timeout=60)
    except poolinfer.PoolinferError as error:
        return explain(error)
    return JsonResponse({"answer": response.answer})


async def stream(request: HttpRequest) -> JsonResponse | StreamingHttpResponse:
    """GET /stream?prompt=..."""
    try:
        call = pool.stream(request.GET.get("prompt", ""), temperature=0, max_tokens=256, timeout=60)
    except poolinfer.PoolinferError as error:
        return explain(error)
    return StreamingHttpResponse(lines(call), content_type="application/x-ndjson")


async def lines(call: poolinfer.Call[poolinfer.Response]) -> AsyncIterator[str]:
    async with call:
        try:
            async for chunk in call:
                yield json.dumps({"text": chunk.answer}) + "\n"
        except poolinfer.PoolinferError as error:
            yield json.dumps({"error": type(error).__name__, "detail": error.message}) + "\n"


def explain(error: poolinfer.PoolinferError) -> JsonResponse:
    response = JsonResponse({"error": type(error).__name__, "detail": error.message}, status=500)
    if isinstance(error, poolinfer.InvalidRequest):
        response.status_code = 422
    elif isinstance(error, poolinfer.DeadlineExceeded):
        response.status_code = 504
    elif isinstance(error, poolinfer.PoolFull):
        response.status_code = 503
        response["Retry-After"] = str(math.ceil(error.retry_after))
    return response


urlpatterns = [path("ask", ask), path("aask", aask), path("stream", stream)]
application = get_asgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
