'use strict';

/**
 * Lambent's Node.js runtime: polls the Runtime API, calls the handler, posts what it returned.
 *
 * No packages, Node 16 and later. It behaves as AWS's own runtime client (aws-lambda-ric) does: handler names, error
 * bodies, context object, callbackWaitsForEmptyEventLoop, log lines, exit codes. The Runtime API is spoken over a plain
 * socket: `http` costs several milliseconds to load and a tenth of one per message. Handlers that stream are in
 * `streaming.js`, several invocations at a time in `concurrent.js`, loaded only for them.
 *
 * While the handler runs the socket does not keep the event loop alive (unref), so that "the loop is empty" means what
 * it means on Lambda: nothing of the function's own is going on.
 */

const fs = require('fs');
const net = require('net');
const path = require('path');
const util = require('util');
const { pathToFileURL } = require('url');

const ROOT = '/2018-06-01/runtime/';
const ERROR_TYPE = 'Lambda-Runtime-Function-Error-Type';
const XRAY_CAUSE = 'Lambda-Runtime-Function-XRay-Error-Cause';
const SMALL = 65536; // bytes; bodies up to this size are copied to travel in one write with their head

// ---------------------------------------------------------------------------------------------------------------------
// The Runtime API.

/** One keep-alive connection; one request at a time. */
class Connection {
  constructor(address) {
    const at = address.lastIndexOf(':');
    this.host = address.slice(0, at).replace(/^\[|\]$/g, '') || '127.0.0.1';
    this.port = Number(address.slice(at + 1));
    this.common = `Host: ${address}\r\nUser-Agent: aws-lambda-nodejs/${process.version}-lambent\r\n`;
    this.poll = Buffer.from(`GET ${ROOT}invocation/next HTTP/1.1\r\n${this.common}\r\n`);
    this.socket = null;
    this.waiting = null; // {message, done, fresh} of the request under way
    this.reset();
  }

  reset() {
    this.parts = []; // received and not yet consumed
    this.size = 0;
    this.head = null; // the parsed head of the response that is coming
    this.headSize = 0;
  }

  /** Wait for the next invocation: done(error, {status, headers, body}). */
  next(done) {
    this.send([this.poll], done);
  }

  /** POST `body` (text): done(error, {status, headers, body}). */
  post(where, body, headers, done) {
    const data = Buffer.from(body);
    let head = `POST ${ROOT}${where} HTTP/1.1\r\n${this.common}Content-Type: application/json\r\n`;
    for (const name of Object.keys(headers)) {
      head += `${name}: ${headers[name]}\r\n`;
    }
    head = Buffer.from(`${head}Content-Length: ${data.length}\r\n\r\n`);
    this.send(data.length > SMALL ? [head, data] : [Buffer.concat([head, data])], done);
  }

  send(message, done) {
    const fresh = this.socket === null;
    if (fresh) {
      this.open();
    }
    this.waiting = { message, done, fresh };
    this.socket.ref();
    if (message.length === 1) {
      this.socket.write(message[0]);
    } else {
      this.socket.cork();
      message.forEach((part) => this.socket.write(part));
      this.socket.uncork();
    }
  }

  open() {
    const socket = net.connect({ host: this.host, port: this.port, noDelay: true });
    socket.setNoDelay(true); // Node 16.17 and later know the option, earlier ones this
    socket.on('data', (data) => this.received(data));
    socket.on('error', (error) => this.lost(socket, error));
    socket.on('close', () => this.lost(socket, new Error('the Runtime API closed the connection')));
    this.socket = socket;
    this.reset();
  }

  lost(socket, error) {
    if (socket !== this.socket) {
      return;
    }
    this.socket = null;
    const request = this.waiting;
    this.waiting = null;
    if (request !== null) {
      // The server closed an idle connection at the moment it was used: once more on a new one.
      if (!request.fresh && this.size === 0) {
        this.send(request.message, request.done);
      } else {
        request.done(error);
      }
    }
  }

  received(data) {
    this.parts.push(data);
    this.size += data.length;
    if (this.head !== null && this.head.length >= 0 && this.size < this.headSize + this.head.length) {
      return; // a large body: joined once, when it is whole
    }
    const all = this.parts.length === 1 ? data : Buffer.concat(this.parts);
    this.parts = [all];
    if (this.head === null && !this.parseHead(all)) {
      return;
    }
    const rest = all.subarray(this.headSize);
    const body = this.head.length >= 0 ? rest.subarray(0, this.head.length) : unchunk(rest);
    if (body === null || body.length < this.head.length) {
      return;
    }
    const { status, headers } = this.head;
    const { done } = this.waiting;
    this.waiting = null;
    this.reset();
    if ((headers.connection || '').toLowerCase() === 'close') {
      const old = this.socket;
      this.socket = null;
      old.end();
    } else {
      this.socket.unref();
    }
    done(null, { status, headers, body });
  }

  parseHead(all) {
    const end = all.indexOf('\r\n\r\n');
    if (end < 0) {
      return false;
    }
    const lines = all.toString('utf8', 0, end).split('\r\n');
    const status = Number(lines[0].slice(9, 12));
    if (status < 200) {
      this.parts = [all.subarray(end + 4)]; // 100 Continue: the real one follows
      this.size = this.parts[0].length;
      return this.parseHead(this.parts[0]);
    }
    const headers = {};
    for (let i = 1; i < lines.length; i++) {
      const colon = lines[i].indexOf(':');
      headers[lines[i].slice(0, colon).toLowerCase()] = lines[i].slice(colon + 1).trim();
    }
    const chunked = (headers['transfer-encoding'] || '').includes('chunked');
    this.head = { status, headers, length: chunked ? -1 : Number(headers['content-length'] || 0) };
    this.headSize = end + 4;
    return true;
  }
}

/** The data of a chunked body, or null while it is not whole. */
function unchunk(data) {
  const parts = [];
  let at = 0;
  for (;;) {
    const end = data.indexOf('\r\n', at);
    if (end < 0) {
      return null;
    }
    const size = parseInt(data.toString('latin1', at, end), 16);
    if (size === 0) {
      const trailers = data.indexOf('\r\n\r\n', end);
      return trailers < 0 ? null : Buffer.concat(parts);
    }
    at = end + 2 + size + 2;
    if (data.length < at) {
      return null;
    }
    parts.push(data.subarray(end + 2, at - 2));
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Errors.

class ImportModuleError extends Error {}
class HandlerNotFound extends Error {}
class MalformedHandlerName extends Error {}
class UserCodeSyntaxError extends Error {}
class MalformedStreamingHandler extends Error {}
class UnhandledPromiseRejection extends Error {
  constructor(reason, promise) {
    super(reason);
    this.reason = reason;
    this.promise = promise;
  }
}
for (const one of [
  ImportModuleError, HandlerNotFound, MalformedHandlerName, UserCodeSyntaxError, MalformedStreamingHandler,
  UnhandledPromiseRejection,
]) {
  one.prototype.name = `Runtime.${one.name}`;
}

const plain = (text) => (typeof text === 'string' ? text.replace(/\x7F/g, '%7F') : text);

/** The error body for whatever was thrown. */
function errorBody(error) {
  try {
    const shaped = error && [error.name, error.message, error.stack].every((one) => one && typeof one === 'string');
    if (util.types.isNativeError(error) || shaped) {
      return { errorType: plain(error.name), errorMessage: plain(error.message), trace: plain(error.stack).split('\n') };
    }
    return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
  } catch (_) {
    return {
      errorType: 'handled',
      errorMessage:
        'callback called with Error argument, but there was a problem while retrieving one or more of its message, ' +
        'name, and stack',
    };
  }
}

/** X-Ray's form of an error, as a header value; '' when there is none or it would be too long for a header. */
function xrayCause(error) {
  try {
    const stack = [];
    for (const line of (plain(error.stack) || '').split('\n').slice(1)) {
      const text = line.trim().replace(/[()]/g, '').replace(/^\S* /, '');
      const at = text.lastIndexOf(' ');
      const place = text.slice(at + 1).split(':');
      stack.push({ path: place[0], line: parseInt(place[1], 10), label: at > 0 ? text.slice(0, at) : 'anonymous' });
    }
    const cause = JSON.stringify({
      working_directory: process.cwd(),
      exceptions: [{ type: plain(error.name), message: plain(error.message), stack }],
      paths: [...new Set(stack.map((entry) => entry.path))],
    }).replace(/[^ -~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
    return cause.length < SMALL ? cause : '';
  } catch (_) {
    return '';
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Logs: the console, with time, request id and level.

// Symbols of the global registry, as in aws-lambda-ric: libraries look the request id up there.
const REQUEST_ID = Symbol.for('aws.lambda.runtime.requestId');
const TENANT_ID = Symbol.for('aws.lambda.runtime.tenantId');
const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');
const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];
let logError = () => {};

function writeAll(fd, data) {
  for (let at = 0; at < data.length; ) {
    try {
      at += fs.writeSync(fd, data, at);
    } catch (error) {
      if (error.code !== 'EAGAIN') {
        return; // nobody reads: not the function's fault
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

function jsonRecord(time, level, params) {
  const record = { timestamp: time, level, requestId: global[REQUEST_ID] };
  if (global[TENANT_ID] !== undefined && global[TENANT_ID] !== null) {
    record.tenantId = global[TENANT_ID];
  }
  const describe = (error) => ({
    errorType: (error.constructor && error.constructor.name) || 'UnknownError',
    errorMessage: error.message,
    stackTrace: typeof error.stack === 'string' ? error.stack.split('\n') : error.stack,
  });
  if (params.length === 1) {
    record.message = params[0];
    try {
      return JSON.stringify(record, (_, value) => (value instanceof Error ? { ...describe(value), ...value } : value));
    } catch (_) {
      record.message = util.format(params[0]);
      return JSON.stringify(record);
    }
  }
  record.message = util.format(...params);
  const error = params.find((one) => one instanceof Error);
  return JSON.stringify(error === undefined ? record : Object.assign(record, describe(error)));
}

function patchConsole() {
  const json = (process.env.AWS_LAMBDA_LOG_FORMAT || '').toUpperCase() === 'JSON';
  const fd = process.env._LAMBDA_TELEMETRY_LOG_FD;
  delete process.env._LAMBDA_TELEMETRY_LOG_FD;
  const log = (level, params) => {
    const now = new Date();
    const time = now.toISOString();
    const name = LEVELS[level];
    const text = json
      ? jsonRecord(time, name, params)
      : `${time}\t${global[REQUEST_ID]}\t${name}\t${util.format(...params)}`;
    if (fd === undefined) {
      writeAll(1, Buffer.from(`${text.replace(/\n/g, '\r')}\n`));
      return;
    }
    const body = Buffer.from(json ? text : `${text}\n`);
    const frame = Buffer.alloc(16);
    frame.writeUInt32BE((0xa55a0002 | ((level + 1) << 2) | (json ? 0 : 1)) >>> 0, 0);
    frame.writeUInt32BE(body.length, 4);
    frame.writeBigInt64BE(BigInt(now.valueOf()) * 1000n, 8);
    writeAll(Number(fd), Buffer.concat([frame, body]));
  };
  const least = LEVELS.indexOf((process.env.AWS_LAMBDA_LOG_LEVEL || '').toUpperCase());
  ['trace', 'debug', 'info', 'warn', 'error', 'fatal'].forEach((name, level) => {
    console[name] = level >= least || name === 'fatal' ? (...params) => log(level, params) : () => {};
  });
  console.log = console.info;
  const asError = (error) => (error instanceof Error ? error : new Error(error));
  const inside = (_, value) => {
    if (!(value instanceof Error)) {
      return value;
    }
    const out = { errorType: value.name, errorMessage: value.message, code: value.code, ...value };
    return typeof value.stack === 'string' ? { ...out, stack: value.stack.split('\n') } : out;
  };
  const formatted = (error) => {
    try {
      return `\t${JSON.stringify(error, inside)}`;
    } catch (_) {
      return `\t${JSON.stringify(errorBody(error))}`;
    }
  };
  logError = json
    ? (_, error) => console.error(asError(error))
    : (text, error) => console.error(text, formatted(asError(error)));
}

// ---------------------------------------------------------------------------------------------------------------------
// The handler.

/** Whether the nearest package.json above `file` makes a .js file an ES module. */
function inModulePackage(file) {
  for (let folder = path.dirname(file); !folder.endsWith('/node_modules'); folder = path.dirname(folder)) {
    try {
      return JSON.parse(fs.readFileSync(path.join(folder, 'package.json'))).type === 'module';
    } catch (error) {
      if (error.code !== 'ENOENT') {
        console.warn(`${folder}/package.json cannot be read, it will be ignored for ES module detection purposes.`, error);
        return false;
      }
    }
    if (folder === '/') {
      return false;
    }
  }
  return false;
}

/** What functions find in `awslambda`: AWS's marks on a handler that streams, and the rest, loaded when it is needed. */
function installGlobal() {
  if (['1', 'true'].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) {
    return;
  }
  globalThis.awslambda = {
    streamifyResponse(handler, options) {
      handler[STREAMING] = 'response';
      if (options && typeof options.highWaterMark === 'number') {
        handler[HIGH_WATER_MARK] = parseInt(options.highWaterMark, 10);
      }
      return handler;
    },
    get HttpResponseStream() {
      return require('./streaming.js').HttpResponseStream;
    },
  };
}

async function importModule(root, folder, name) {
  const base = path.resolve(root, folder, name);
  if (fs.existsSync(base) && fs.statSync(base).isFile()) {
    return require(base);
  }
  const esm = (file) => import(pathToFileURL(file).href);
  if (fs.existsSync(`${base}.js`)) {
    return inModulePackage(`${base}.js`) ? esm(`${base}.js`) : require(`${base}.js`);
  }
  if (fs.existsSync(`${base}.mjs`)) {
    return esm(`${base}.mjs`);
  }
  if (fs.existsSync(`${base}.cjs`)) {
    return require(`${base}.cjs`);
  }
  return require(require.resolve(name, { paths: [root, folder] }));
}

/** The function that `handler` ("folder/module.function") stands for. Throws one of the errors above. */
async function loadHandler(root, handler) {
  if (handler.includes('..')) {
    throw new MalformedHandlerName(
      `'${handler}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
    );
  }
  const last = path.basename(handler);
  const folder = handler.substring(0, handler.indexOf(last));
  const match = last.match(/^([^.]*)\.(.*)$/);
  if (match === null) {
    throw new MalformedHandlerName('Bad handler');
  }
  installGlobal();
  let module;
  try {
    module = await importModule(root, folder, match[1]);
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw new UserCodeSyntaxError(error);
    }
    if (error && error.code === 'MODULE_NOT_FOUND') {
      throw new ImportModuleError(error);
    }
    throw error;
  }
  const found = match[2].split('.').reduce((object, key) => object && object[key], module);
  if (!found) {
    throw new HandlerNotFound(`${handler} is undefined or not exported`);
  }
  if (typeof found !== 'function') {
    throw new HandlerNotFound(`${handler} is not a function`);
  }
  return found;
}

// ---------------------------------------------------------------------------------------------------------------------
// Invocations.

class Runtime {
  constructor(address) {
    this.address = address;
    this.connection = new Connection(address);
    this.handler = null;
    this.onEmptyLoop = () => {};
    this.current = null; // {id, headers} of the invocation under way, or of the last one
  }

  async start(root, handler) {
    process.on('uncaughtException', (error) => {
      logError('Uncaught Exception', error);
      this.die(error, 129);
    });
    process.on('unhandledRejection', (reason, promise) => {
      const error = new UnhandledPromiseRejection(reason, promise);
      logError('Unhandled Promise Rejection', error);
      this.die(error, 128);
    });
    process.on('beforeExit', () => this.onEmptyLoop());
    try {
      this.handler = await loadHandler(root, handler);
      if (this.handler[STREAMING] !== undefined && this.handler[STREAMING] !== null && this.handler[STREAMING] !== false) {
        if (this.handler[STREAMING] !== 'response') {
          throw new MalformedStreamingHandler('Only response streaming is supported.');
        }
        const kit = { ROOT, ERROR_TYPE, errorBody, fillContext, headerText, logError };
        this.invoke = require('./streaming.js').invoker(this, kit);
      }
    } catch (error) {
      logError('Uncaught Exception', error);
      this.die(error, 129);
      return;
    }
    this.poll();
  }

  /** Report `error` for the invocation (or Init) under way, on a connection of its own, and end the process. */
  die(error, code) {
    const connection = new Connection(this.address);
    const body = errorBody(error);
    const leave = () => process.exit(code);
    if (this.current === null) {
      connection.post('init/error', JSON.stringify(body), errorTypeHeader(body.errorType), leave);
    } else {
      const { id, headers } = this.current;
      connection.post(`invocation/${id}/error`, JSON.stringify(body), errorHeaders(headers, error), leave);
    }
  }

  poll() {
    this.connection.next((error, event) => {
      if (error || event.status !== 200) {
        const why = error ? error.message : `${event.status} ${event.body}`;
        writeAll(2, Buffer.from(`bootstrap: the Runtime API gave no invocation: ${why}\n`));
        process.exit(1);
      }
      // Not from here: the function's stack traces would be full of the socket's frames.
      process.nextTick(() => this.invoke(event.headers, event.body));
    });
  }

  /** An invocation begins: {id, echo}, the latter the headers that its answer has to have. */
  take(headers) {
    const id = headers['lambda-runtime-aws-request-id'];
    const attempt = headers['lambda-runtime-invocation-id'];
    const echo = attempt === undefined ? {} : { 'Lambda-Runtime-Invocation-Id': attempt };
    this.current = { id, headers: echo };
    global[REQUEST_ID] = id;
    global[TENANT_ID] = headers['lambda-runtime-aws-tenant-id'];
    return { id, echo };
  }

  /** What came of posting the answer to `id`; ends the process when it cannot go on. */
  posted(id, error, answer) {
    // 410, 413: too late, or too large; its caller has been told, and this runtime goes on.
    if (error || (answer.status >= 300 && answer.status !== 413 && answer.status !== 410)) {
      const why = error ? error.message : `${answer.status} ${answer.body}`;
      writeAll(2, Buffer.from(`bootstrap: the Runtime API refused the result of ${id}: ${why}\n`));
      process.exit(1);
    }
  }

  invoke(headers, body) {
    const { id, echo } = this.take(headers);
    const posted = (error, answer) => {
      this.posted(id, error, answer);
      this.poll();
    };
    let completed = false;
    const complete = (result) => {
      if (completed) {
        console.error(
          'Invocation has already been reported as done. Cannot call complete more than once per invocation.',
        );
        return;
      }
      completed = true;
      this.connection.post(`invocation/${id}/response`, serialized(result), echo, posted);
    };
    const fail = (error) => {
      logError('Invoke Error', error);
      completed = true;
      this.connection.post(`invocation/${id}/error`, JSON.stringify(errorBody(error)), errorHeaders(echo, error), posted);
    };
    let waits = true;
    const finish = (error, result, now) => {
      this.onEmptyLoop = () => {};
      if (error !== undefined && error !== null) {
        fail(error);
      } else if (now || !waits) {
        complete(result);
      } else {
        this.onEmptyLoop = () => {
          this.onEmptyLoop = () => {};
          setImmediate(() => complete(result));
        };
      }
    };
    // Whichever way the function reports first counts, the others are silently nothing.
    let finished = false;
    const first = (report) => (...values) => {
      if (!finished) {
        report(...values);
        finished = true; // not before: a result that cannot be written may still be followed by its error
      }
    };
    const succeed = first((result) => finish(null, result, true));
    const failed = first((error) => finish(error === undefined || error === null ? 'handled' : error));
    const callback = first((error, result) => finish(error, result, false));
    const context = {
      get callbackWaitsForEmptyEventLoop() {
        return waits;
      },
      set callbackWaitsForEmptyEventLoop(value) {
        waits = value;
      },
      succeed,
      fail: failed,
      done: first((error, result) => finish(error, result, true)),
    };
    // A handler that neither returns a promise nor calls back: null, once nothing of it is going on.
    this.onEmptyLoop = () => {
      this.onEmptyLoop = () => {};
      finished = true;
      complete(null);
    };
    try {
      fillContext(context, headers);
      const result = this.handler(JSON.parse(body.toString()), context, callback);
      if (result && typeof result.then === 'function') {
        result.then(succeed, failed).catch(failed);
      }
    } catch (error) {
      callback(error);
    }
  }
}

function fillContext(context, headers) {
  const trace = headers['lambda-runtime-trace-id'];
  if (trace === undefined) {
    delete process.env._X_AMZN_TRACE_ID;
  } else {
    process.env._X_AMZN_TRACE_ID = trace;
  }
  describe(context, headers);
}

/** Write into `context` what it says of the invocation. */
function describe(context, headers) {
  const parsed = (name, what) => {
    if (headers[name] === undefined) {
      return undefined;
    }
    try {
      return JSON.parse(headers[name]);
    } catch (error) {
      throw new Error(`Cannot parse ${what} as json: ${error.toString()}`);
    }
  };
  const deadline = headers['lambda-runtime-deadline-ms'];
  Object.assign(context, fixedContext, {
    clientContext: parsed('lambda-runtime-client-context', 'ClientContext'),
    identity: parsed('lambda-runtime-cognito-identity', 'CognitoIdentity'),
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    awsRequestId: headers['lambda-runtime-aws-request-id'],
    tenantId: headers['lambda-runtime-aws-tenant-id'],
    getRemainingTimeInMillis: () => deadline - Date.now(),
  });
}

let fixedContext;

function serialized(result) {
  try {
    const text = JSON.stringify(result === undefined ? null : result);
    return text === undefined ? 'null' : text; // a function, a symbol
  } catch (_) {
    throw new Error('Unable to stringify response body');
  }
}

const headerText = (text) => String(text).replace(/[^ -~]/g, '?');

const errorTypeHeader = (type) => ({ [ERROR_TYPE]: headerText(type) });

function errorHeaders(echo, error) {
  const cause = xrayCause(error);
  const out = { ...echo };
  if (error && typeof error.name === 'string' && error.name.startsWith('Runtime.')) {
    Object.assign(out, errorTypeHeader(error.name));
  }
  return cause ? { ...out, [XRAY_CAUSE]: cause } : out;
}

// ---------------------------------------------------------------------------------------------------------------------
// Standing by: the engine may start this process before it has a function for it, to save it the wait.

/** The next `size` bytes of standard input, null at its end. */
function read(size) {
  const data = Buffer.allocUnsafe(size);
  for (let at = 0; at < size; ) {
    const got = fs.readSync(0, data, at, size - at);
    if (got === 0) {
      return null;
    }
    at += got;
  }
  return data;
}

/** Wait for the order that says for which function this is; take on its environment and working directory. */
function standBy() {
  const head = read(5); // length, kind
  const order = head && read(head.readUInt32LE(0));
  if (!order) {
    process.exit(0); // not needed after all
  }
  const [, , cwd, count, ...strings] = order.toString().split('\0'); // user and limits hold already
  delete process.env.LAMBENT_STANDBY; // all others that are there are the function's too
  for (const entry of strings.slice(Number(count))) {
    const at = entry.indexOf('=');
    const name = entry.slice(0, at);
    if (process.env[name] === undefined) { // to set TZ, even to what it is, takes milliseconds
      process.env[name] = entry.slice(at + 1);
    }
  }
  const answer = Buffer.alloc(8);
  answer.writeInt32LE(7, 4);
  try {
    process.chdir(cwd);
  } catch (error) {
    answer.writeInt32LE(-error.errno, 0);
    answer.writeInt32LE(2, 4);
  }
  fs.writeSync(0, answer);
  fs.closeSync(0);
  fs.openSync('/dev/null'); // takes the lowest number, 0
}

if (process.env.LAMBENT_STANDBY) {
  standBy();
}
fixedContext = {
  functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
  functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
  memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
  logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
  logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
};
patchConsole();
const root = process.env.LAMBDA_TASK_ROOT || process.cwd();
const handlerName = process.argv[2] || process.env._HANDLER || '';
const many = parseInt(process.env.AWS_LAMBDA_MAX_CONCURRENCY, 10);
if (many > 0) {
  const kit = {
    Connection, UnhandledPromiseRejection, REQUEST_ID, TENANT_ID,
    loadHandler, describe, serialized, errorBody, errorHeaders, errorTypeHeader, writeAll,
    logError: (text, error) => logError(text, error), // it is set by now, and may be again
  };
  require('./concurrent.js').run(many, kit, __filename, root, handlerName);
} else {
  new Runtime(process.env.AWS_LAMBDA_RUNTIME_API).start(root, handlerName);
}
