'use strict';

/**
 * Handlers that stream their response: awslambda.streamifyResponse(async (event, responseStream, context) => …).
 *
 * Loaded only for them. The stream is a real Writable over the runtime's one connection: what the function writes goes
 * out as chunks of the post of its response, and `write` says false while the Runtime API does not read. An error after
 * the first byte is told in trailers; one before it as well, as AWS's client does.
 *
 * While the function may write, the connection does not keep the event loop alive: so a stream that nobody can end any
 * more is noticed, where AWS's client waits for the time limit.
 */

const { Writable } = require('stream');

const ERROR_BODY = 'Lambda-Runtime-Function-Error-Body';
const INTEGRATION = 'application/vnd.awslambda.http-integration-response';
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');
const COPIED = 65536; // bytes; pieces up to this size are copied to travel in one write with their frame
const END = Buffer.from('\r\n');

class InvalidStreamingOperation extends Error {}
InvalidStreamingOperation.prototype.name = 'Runtime.InvalidStreamingOperation';

/** The body of a post that is sent in pieces. */
class Body {
  /** `head()` gives the post's head when its first piece is there; done(error, answer) is called when it is answered. */
  constructor(connection, head, done) {
    this.connection = connection;
    this.head = head;
    this.done = done;
    this.socket = null; // set once something was sent
    this.ended = false;
    this.answered = false; // what is written from now on has nobody to go to
  }

  /** Send pieces, none of them empty; `then` when they are on their way. */
  write(pieces, then) {
    const parts = [];
    for (const piece of pieces) {
      parts.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, END);
    }
    this.send(parts, then);
  }

  /** Send the end, with trailers. */
  end(trailers, then) {
    this.ended = true;
    const lines = Object.keys(trailers).map((name) => `${name}: ${trailers[name]}\r\n`);
    this.send([Buffer.from(`0\r\n${lines.join('')}\r\n`)], then);
    if (!this.answered) {
      this.socket.ref(); // until it is answered
    }
  }

  send(parts, then) {
    if (this.answered) {
      then();
      return;
    }
    const { connection } = this;
    const first = this.socket === null;
    if (first) {
      if (connection.socket === null) {
        connection.open();
      }
      this.socket = connection.socket;
    }
    const { socket } = this;
    socket.cork(); // one write for all of it
    if (first) {
      connection.send([Buffer.from(this.head())], (error, answer) => this.over(error, answer));
      connection.waiting.fresh = true; // it cannot be sent again
      socket.unref();
    }
    const size = parts.reduce((sum, part) => sum + part.length, 0);
    const writes = size <= COPIED ? [Buffer.concat(parts)] : parts;
    writes.forEach((part, index) => socket.write(part, index === writes.length - 1 ? then : undefined));
    socket.uncork();
  }

  over(error, answer) {
    this.answered = true;
    if (!this.ended && this.connection.socket !== null) {
      this.connection.socket = null; // answered before its end: what this one would be read as next is still the body
      this.socket.destroy();
    }
    this.done(error, answer);
  }
}

/** What the handler writes to. */
class ResponseStream extends Writable {
  constructor(body, highWaterMark) {
    super({ highWaterMark });
    this.body = body;
    this.contentType = 'application/octet-stream';
    this.written = false;
    this.trailers = {};
    this.on('error', () => {}); // the handler's promise tells, as with AWS's; without a listener it would be thrown
  }

  setContentType(contentType) {
    if (this.written) {
      throw new InvalidStreamingOperation('Cannot set content-type, too late.');
    }
    this.contentType = contentType;
  }

  /** Anything but text and bytes is written as JSON. */
  write(chunk, encoding, callback) {
    let data = chunk;
    if (typeof chunk !== 'string' && !Buffer.isBuffer(chunk) && !(chunk && chunk.constructor === Uint8Array)) {
      data = JSON.stringify(chunk);
    }
    if (this.written) {
      return super.write(data, encoding, callback);
    }
    this.cork();
    try {
      if (typeof this._onBeforeFirstWrite === 'function') {
        this._onBeforeFirstWrite((first) => super.write(first));
      }
      this.written = true;
      return super.write(data, encoding, callback);
    } finally {
      this.uncork();
    }
  }

  _write(chunk, _, callback) {
    this.body.write(chunk.length ? [chunk] : [], callback);
  }

  _writev(items, callback) {
    this.body.write(items.map((item) => item.chunk).filter((chunk) => chunk.length), callback);
  }

  _final(callback) {
    this.body.end(this.trailers, callback);
  }

  /** End with trailers, behind what was written; too late, and nothing, when it was ended before. */
  endWith(trailers) {
    this.trailers = trailers;
    if (!this.destroyed) {
      this.end();
    } else if (!this.body.ended) {
      this.body.end(trailers, () => {});
    }
  }
}

/**
 * A response that says what an HTTP client gets: status, headers, cookies.
 *
 * As on Lambda, the first call of `write` sends it: a stream that is ended without one has none.
 */
class HttpResponseStream {
  static from(underlyingStream, prelude) {
    underlyingStream.setContentType(INTEGRATION);
    const text = JSON.stringify(prelude);
    underlyingStream._onBeforeFirstWrite = (write) => {
      write(text);
      write(new Uint8Array(8));
    };
    return underlyingStream;
  }
}

/** `Runtime.invoke` for a handler that streams. */
function invoker(runtime, kit) {
  const { ROOT, ERROR_TYPE, errorBody, fillContext, headerText, logError } = kit;
  const { connection, handler } = runtime;
  const highWaterMark = parseInt(handler[HIGH_WATER_MARK], 10) || undefined;

  return (headers, payload) => {
    const { id, echo } = runtime.take(headers);
    let waits = true;
    let settled = false; // the handler is done
    let answer = null;

    /** Ask for the next invocation when both sides are done with this one, and nothing of it is going on. */
    const proceed = () => {
      if (!settled || answer === null) {
        return;
      }
      const poll = () => setImmediate(() => runtime.poll());
      if (waits) {
        runtime.onEmptyLoop = () => {
          runtime.onEmptyLoop = () => {};
          poll();
        };
      } else {
        runtime.onEmptyLoop = () => {};
        poll();
      }
    };
    const head = () => {
      const extra = Object.keys(echo).map((name) => `${name}: ${echo[name]}\r\n`);
      return (
        `POST ${ROOT}invocation/${id}/response HTTP/1.1\r\n${connection.common}${extra.join('')}` +
        `Content-Type: ${headerText(stream.contentType)}\r\nLambda-Runtime-Function-Response-Mode: streaming\r\n` +
        `Trailer: ${ERROR_TYPE}\r\nTrailer: ${ERROR_BODY}\r\nTransfer-Encoding: chunked\r\n\r\n`
      );
    };
    const body = new Body(connection, head, (error, result) => {
      runtime.posted(id, error, result);
      answer = result;
      proceed();
    });
    const stream = new ResponseStream(body, highWaterMark);
    const fail = (error) => {
      logError('Invoke Error', error);
      settled = true;
      if (!stream.writableEnded || (stream.destroyed && !body.ended)) {
        const told = errorBody(error);
        const encoded = Buffer.from(JSON.stringify(told)).toString('base64');
        stream.endWith({ [ERROR_TYPE]: headerText(told.errorType), [ERROR_BODY]: encoded });
      }
      proceed();
    };
    const succeed = (result) => {
      if (result !== undefined) {
        console.warn('Streaming handlers ignore return values.');
      }
      if (answer !== null && !body.ended) {
        fail('Response stream is not finished.'); // it was refused before its end: only the log can tell
        return;
      }
      settled = true;
      proceed();
    };
    runtime.onEmptyLoop = () => {
      runtime.onEmptyLoop = () => {};
      if (answer !== null && body.ended) {
        settled = true; // the response is complete; that the handler did not come to its end is its own affair
        proceed();
      } else {
        fail('Response stream is not finished.'); // and nothing is left that could end it
      }
    };
    const context = {
      get callbackWaitsForEmptyEventLoop() {
        return waits;
      },
      set callbackWaitsForEmptyEventLoop(value) {
        waits = value;
      },
    };
    try {
      fillContext(context, headers);
      const result = handler(JSON.parse(payload.toString()), stream, context);
      if (result && typeof result.then === 'function') {
        result.then(succeed, fail);
      } else {
        fail('Streaming does not support non-async handlers.');
      }
    } catch (error) {
      fail(error);
    }
  };
}

module.exports = { HttpResponseStream, InvalidStreamingOperation, invoker };
