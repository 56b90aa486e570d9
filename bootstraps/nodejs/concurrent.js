'use strict';

/**
 * Several invocations at a time (AWS_LAMBDA_MAX_CONCURRENCY), as AWS's client does it from its version 4 on.
 *
 * The first thread starts others, and each of them loads the function by itself: nothing is shared between threads. In
 * one thread as many invocations run as come, each in an asynchronous context of its own, from which the request id in
 * log lines and `awslambda.InvokeStore` are taken: what a handler keeps in its module is shared by them.
 *
 * The loops that ask for invocations are as many as may be in flight, spread over the threads. A loop asks again when its
 * invocation is answered, or has timed out: so one that never ends costs no place.
 */

const fs = require('fs');
const { AsyncLocalStorage } = require('async_hooks');
const { Worker, isMainThread, workerData } = require('worker_threads');

const PER_VCPU = 8; // threads, as AWS's client has
const RETRIES = 19;
const LONGEST_PAUSE_MS = 90_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const KEYS = {
  REQUEST_ID: Symbol.for('_AWS_LAMBDA_REQUEST_ID'),
  X_RAY_TRACE_ID: Symbol.for('_AWS_LAMBDA_X_RAY_TRACE_ID'),
  TENANT_ID: Symbol.for('_AWS_LAMBDA_TENANT_ID'),
};

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');

class CallbackHandlerDeprecated extends Error {}
CallbackHandlerDeprecated.prototype.name = 'Runtime.CallbackHandlerDeprecated';

/** What a handler cannot be here. */
function checkHandler(handler) {
  if (handler[STREAMING] !== undefined) {
    throw new Error('Handlers that stream do not work with several invocations at a time yet.');
  }
  if (handler.length > 2) {
    throw new CallbackHandlerDeprecated(
      'Handlers with a callback do not work with several invocations at a time (AWS_LAMBDA_MAX_CONCURRENCY). ' +
        'Make the handler async, or return a promise.',
    );
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Threads.

/** How many threads: AWS_LAMBDA_NODEJS_WORKER_COUNT, or eight for each vCPU that the control group has; `many` at most. */
function threads(many) {
  const asked = parseInt(process.env.AWS_LAMBDA_NODEJS_WORKER_COUNT, 10);
  return Math.max(1, Math.min(many, asked > 0 ? asked : PER_VCPU * vcpus()));
}

function vcpus() {
  try {
    const [quota, period] = fs.readFileSync('/sys/fs/cgroup/cpu.max', 'utf8').trim().split(/\s+/).map(Number);
    return quota > 0 && period > 0 ? Math.ceil(quota / period) : 1;
  } catch (_) {
    return 1;
  }
}

/** Start `count` threads; the process ends when the last one has, with the worst of their exit codes. */
function startThreads(count, many, file) {
  const each = Math.floor(many / count);
  const more = many % count;
  let alive = count;
  let worst = 0;
  for (let number = 0; number < count; number++) {
    const thread = new Worker(file, { workerData: { loops: each + (number < more ? 1 : 0) } });
    thread.on('error', () => {
      worst = Math.max(worst, 1);
    });
    thread.on('exit', (code) => {
      worst = Math.max(worst, code);
      alive -= 1;
      if (alive === 0) {
        process.exit(worst);
      }
    });
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// What is known of the invocation that a line of code runs for.

const store = new AsyncLocalStorage();

/** awslambda.InvokeStore, where AWS's libraries look (@aws/lambda-invoke-store). */
const invokeStore = {
  getContext: () => store.getStore(),
  hasContext: () => store.getStore() !== undefined,
  get: (key) => (store.getStore() || {})[key],
  set: (key, value) => {
    if (Object.values(KEYS).includes(key)) {
      throw new Error(`Cannot modify protected Lambda context field: ${String(key)}`);
    }
    const context = store.getStore();
    if (context === undefined) {
      throw new Error('No context available');
    }
    context[key] = value;
  },
  run: (context, work) => store.run(context, work),
  getRequestId: () => invokeStore.get(KEYS.REQUEST_ID) || '-',
  getXRayTraceId: () => invokeStore.get(KEYS.X_RAY_TRACE_ID),
  getTenantId: () => invokeStore.get(KEYS.TENANT_ID),
};

/** The globals that the log and libraries read. */
function setGlobals(kit) {
  Object.defineProperty(globalThis, kit.REQUEST_ID, { get: () => invokeStore.get(KEYS.REQUEST_ID) });
  Object.defineProperty(globalThis, kit.TENANT_ID, { get: () => invokeStore.getTenantId() });
  if (!['1', 'true'].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) {
    globalThis.awslambda = { ...globalThis.awslambda, InvokeStore: invokeStore };
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// One thread's invocations.

class Thread {
  constructor(kit, address) {
    this.kit = kit;
    this.address = address;
    this.handler = null;
    this.inHand = new Set(); // {id, echo, connection, timer} of each invocation that is not answered
    this.posting = 0; // answers under way
    this.ending = null; // {error, code} when the thread is to end
  }

  async start(root, handler, loops) {
    process.on('uncaughtException', (error) => this.end('Uncaught Exception', error, 129));
    process.on('unhandledRejection', (reason, promise) => {
      this.end('Unhandled Promise Rejection', new this.kit.UnhandledPromiseRejection(reason, promise), 128);
    });
    try {
      this.handler = await this.kit.loadHandler(root, handler);
      checkHandler(this.handler);
    } catch (error) {
      this.kit.logError('Init Error', error);
      const body = this.kit.errorBody(error);
      // Another thread may have said so already, or be at work: then this is refused, and concerns nobody.
      this.connect().post('init/error', JSON.stringify(body), this.kit.errorTypeHeader(body.errorType), () =>
        process.exit(129),
      );
      return;
    }
    for (let number = 0; number < loops; number++) {
      this.poll(this.connect(), 0);
    }
  }

  connect() {
    return new this.kit.Connection(this.address);
  }

  poll(connection, failures) {
    if (this.ending !== null) {
      return;
    }
    connection.next((error, event) => {
      if (!error && event.status === 200) {
        // Not from here: the function's stack traces would be full of the socket's frames.
        setImmediate(() => this.invoke(connection, event.headers, event.body));
        return;
      }
      if (failures >= RETRIES) {
        const why = error ? error.message : `${event.status} ${event.body}`;
        this.kit.writeAll(2, Buffer.from(`bootstrap: the Runtime API gave no invocation: ${why}\n`));
        process.exit(1);
      }
      setTimeout(() => this.poll(connection, failures + 1), Math.min(100 * 2 ** failures, LONGEST_PAUSE_MS));
    });
  }

  invoke(connection, headers, body) {
    const attempt = headers['lambda-runtime-invocation-id'];
    const invocation = {
      id: headers['lambda-runtime-aws-request-id'],
      echo: attempt === undefined ? {} : { 'Lambda-Runtime-Invocation-Id': attempt },
      connection,
      timer: undefined,
    };
    this.inHand.add(invocation);
    if (this.ending !== null) {
      this.fail(invocation, this.ending.error);
      return;
    }
    const left = headers['lambda-runtime-deadline-ms'] - Date.now();
    if (left < LONGEST_TIMER_MS) {
      invocation.timer = setTimeout(() => {
        invocation.connection = null;
        this.poll(connection, 0);
      }, left);
    }
    const known = {
      [KEYS.REQUEST_ID]: invocation.id,
      [KEYS.X_RAY_TRACE_ID]: headers['lambda-runtime-trace-id'],
      [KEYS.TENANT_ID]: headers['lambda-runtime-aws-tenant-id'],
    };
    store.run(known, async () => {
      let text;
      try {
        const context = { xRayTraceId: known[KEYS.X_RAY_TRACE_ID] };
        this.kit.describe(context, headers);
        text = this.kit.serialized(await this.handler(JSON.parse(body.toString()), context));
      } catch (error) {
        this.kit.logError('Invoke Error', error);
        this.fail(invocation, error);
        return;
      }
      this.post(invocation, 'response', text, invocation.echo);
    });
  }

  fail(invocation, error) {
    const body = JSON.stringify(this.kit.errorBody(error));
    this.post(invocation, 'error', body, this.kit.errorHeaders(invocation.echo, error));
  }

  /** A refused answer (too late, too large) concerns its caller, who has been told, and not this thread. */
  post(invocation, verb, text, headers) {
    if (!this.inHand.delete(invocation)) {
      return; // it was answered when the thread was to end
    }
    clearTimeout(invocation.timer);
    const late = invocation.connection === null; // its loop has gone on without it
    const connection = late ? this.connect() : invocation.connection;
    this.posting += 1;
    connection.post(`invocation/${invocation.id}/${verb}`, text, headers, (error, answer) => {
      this.posting -= 1;
      if (error || answer.status >= 300) {
        const why = error ? error.message : `${answer.status} ${answer.body}`;
        const what = `bootstrap: the Runtime API refused the result of ${invocation.id}: ${why}\n`;
        this.kit.writeAll(2, Buffer.from(what));
      }
      if (!late) {
        this.poll(connection, 0);
      } else if (connection.socket !== null) {
        connection.socket.end();
      }
      this.leave();
    });
  }

  /** An error that nobody caught: nobody knows whose it was, so it ends all that this thread has in hand, and the thread. */
  end(text, error, code) {
    this.kit.logError(text, error);
    if (this.ending === null) {
      this.ending = { error, code };
    }
    // Not from here: after an uncaught exception Node does not look after ticks in a thread until the loop turns.
    setImmediate(() => {
      [...this.inHand].forEach((invocation) => this.fail(invocation, error));
      this.leave();
    });
  }

  leave() {
    if (this.ending !== null && this.inHand.size === 0 && this.posting === 0) {
      process.exit(this.ending.code);
    }
  }
}

/**
 * Serve up to `many` invocations at a time.
 *
 * `kit` is what bootstrap.js has for it, `file` its path, which each thread runs; `root` and `handler` name the handler.
 */
exports.run = (many, kit, file, root, handler) => {
  const count = threads(many);
  if (isMainThread && count > 1) {
    startThreads(count, many, file);
    return;
  }
  setGlobals(kit);
  new Thread(kit, process.env.AWS_LAMBDA_RUNTIME_API).start(root, handler, isMainThread ? many : workerData.loops);
};
