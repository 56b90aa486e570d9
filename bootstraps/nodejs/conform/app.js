// The function that `lambent conform` tells what to do (docs/conform.md).
'use strict';

const VERBS = ['echo', 'fail', 'unserialisable', 'size', 'count', 'context', 'exit'];
let calls = 0;

exports.handler = async (event, context) => {
  switch (event.do) {
    case 'verbs': return VERBS;
    case 'echo': return event.value;
    case 'fail': throw new TypeError(event.message);
    case 'unserialisable': return { big: 1n };
    case 'size': return 'x'.repeat(event.bytes);
    case 'count': calls += 1; return calls;
    case 'exit': return process.exit(event.code);
    default: return {
      requestId: context.awsRequestId,
      arn: context.invokedFunctionArn,
      remainingMs: context.getRemainingTimeInMillis(),
      traceId: context.xRayTraceId || process.env._X_AMZN_TRACE_ID, // the environment is shared by those that run at once
      clientContext: context.clientContext && context.clientContext.custom,
    };
  }
};
