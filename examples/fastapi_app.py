"""poolinfer in FastAPI: one pool per process, answers and streams.

    pip install fastapi uvicorn
    uvicorn fastapi_app:app

A client that leaves cancels its call, and a full pool answers 503 with Retry-After.
"""

import asyncio
import json
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

import poolinfer

MODEL = os.environ.get("POOLINFER_MODEL") or poolinfer.demo_model()
STATUS: dict[type[poolinfer.PoolinferError], int] = {
    poolinfer.InvalidRequest: 422,
    poolinfer.PoolFull: 503,
    poolinfer.PoolClosed: 503,
    poolinfer.DeadlineExceeded: 504,
    poolinfer.CallCancelled: 499,
}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with poolinfer.Pool(MODEL, slots=8, max_queue=100) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


class Question(BaseModel):
    prompt: str
    max_tokens: int = 256
    temperature: float = 0.8
    timeout: float = 60.0

    def chat(self) -> poolinfer.Chat:
        return poolinfer.Chat(**self.model_dump())


def get_pool(request: Request) -> poolinfer.Pool:
    return request.app.state.pool


PoolOf = Annotated[poolinfer.Pool, Depends(get_pool)]


@app.exception_handler(poolinfer.PoolinferError)
async def explain(_: Request, error: poolinfer.PoolinferError) -> JSONResponse:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    headers = {}
    if isinstance(error, poolinfer.PoolFull):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return JSONResponse(as_data(error), status, headers)


def as_data(error: poolinfer.PoolinferError) -> dict[str, str]:
    return {"error": type(error).__name__, "detail": error.message}


async def cancel_when_gone(request: Request, call: poolinfer.Call[Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    call.cancel()


@app.post("/chat")
async def chat(question: Question, request: Request, pool: PoolOf) -> dict[str, Any]:
    call = pool.submit(question.chat())
    watch = asyncio.create_task(cancel_when_gone(request, call))
    try:
        return (await call).to_openai()
    finally:
        watch.cancel()


async def chunks(call: poolinfer.Call[poolinfer.Response], form: str) -> AsyncIterator[str]:
    """The chunks of an answer; an error half way is the last item, because the status is sent already."""
    async with call:
        try:
            async for chunk in call:
                yield form % json.dumps({"text": chunk.answer})
        except poolinfer.PoolinferError as error:
            yield form % json.dumps(as_data(error))


# Both submit before they answer, so a full pool is a plain 503. A server whose client leaves closes the
# generator, and leaving `async with call` cancels the work.


@app.post("/stream")
async def stream(question: Question, pool: PoolOf) -> StreamingResponse:
    call = pool.stream(question.chat())
    return StreamingResponse(chunks(call, "%s\n"), media_type="application/x-ndjson")


@app.get("/events")
async def events(prompt: str, pool: PoolOf) -> StreamingResponse:
    call = pool.stream(Question(prompt=prompt).chat())
    return StreamingResponse(chunks(call, "data: %s\n\n"), media_type="text/event-stream")


@app.get("/stats")
async def stats(pool: PoolOf) -> dict[str, str]:
    return {"stats": str(pool.stats())}
