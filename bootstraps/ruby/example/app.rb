# frozen_string_literal: true

CALLS = { count: 0 }

def handler(event:, context:)
  CALLS[:count] += 1
  puts "call #{CALLS[:count]} of #{context.aws_request_id}"
  { hello: event['name'] || 'world', calls: CALLS[:count], left_ms: context.get_remaining_time_in_millis }
end
