// An example function: says who called, when the time is up, and counts the calls of this environment.

let calls = 0;

exports.handler = async (event, context) => {
  calls += 1;
  console.log('call %d with %d ms left', calls, context.getRemainingTimeInMillis());
  return { hello: event.name || 'world', calls, requestId: context.awsRequestId };
};
