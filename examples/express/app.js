// An Express application as a function: serverless-http turns the events of an HTTP API into its requests.
'use strict';

const express = require('express');
const serverless = require('serverless-http');

const app = express();
const notes = new Map(); // of this environment: gone when it is

app.use(express.json());
app.get('/', (request, response) => {
  response.json({ hello: request.query.name || 'world', request_id: request.requestContext.requestId });
});
app.post('/notes', (request, response) => {
  const id = notes.size + 1;
  notes.set(id, request.body.text);
  response.status(201).json({ id });
});
app.get('/notes/:id', (request, response) => {
  const text = notes.get(Number(request.params.id));
  if (text === undefined) {
    response.status(404).json({ detail: `there is no note ${request.params.id}` });
  } else {
    response.json({ text });
  }
});

exports.handler = serverless(app, { request: (request, event) => { request.requestContext = event.requestContext; } });
