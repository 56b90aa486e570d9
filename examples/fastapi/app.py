"""A FastAPI application as a function: Mangum turns the events of an HTTP API or a function URL into its requests."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException, Request
from mangum import Mangum
from pydantic import BaseModel

app = FastAPI(title="Notes")
notes: dict[int, str] = {}  # of this environment: gone when it is


class Note(BaseModel):
    """What a caller posts."""

    text: str


@app.get("/")
async def index(request: Request, name: str = "world") -> dict[str, str]:
    """A greeting, with the id of the invocation that carried the request."""
    return {"hello": name, "request_id": request.scope["aws.context"].aws_request_id}


@app.post("/notes", status_code=201)
async def create(note: Note) -> dict[str, int]:
    """Keep a note."""
    notes[len(notes) + 1] = note.text
    return {"id": len(notes)}


@app.get("/notes/{number}")
async def read(number: int) -> dict[str, str]:
    """Give a note back."""
    if number not in notes:
        raise HTTPException(404, f"there is no note {number}")
    return {"text": notes[number]}


handler = Mangum(app, lifespan="off")
