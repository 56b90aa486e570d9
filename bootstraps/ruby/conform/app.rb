# frozen_string_literal: true

# The function that `lambent conform` tells what to do (docs/conform.md).

VERBS = %w[echo fail unserialisable size count context exit].freeze
CALLS = { count: 0 }

def handler(event:, context:)
  case event['do']
  when 'verbs' then VERBS
  when 'echo' then event['value']
  when 'fail' then raise ArgumentError, event['message']
  when 'unserialisable' then "\xff"
  when 'size' then 'x' * event['bytes']
  when 'count' then CALLS[:count] += 1
  when 'exit' then exit!(event['code'])
  else
    {
      requestId: context.aws_request_id,
      arn: context.invoked_function_arn,
      remainingMs: context.get_remaining_time_in_millis,
      traceId: ENV.fetch('_X_AMZN_TRACE_ID', nil),
      clientContext: context.client_context && context.client_context['custom']
    }
  end
end
