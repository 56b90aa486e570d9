# frozen_string_literal: true

# Lambent's Ruby runtime: polls the Runtime API, calls the handler, posts what it returned.
#
# One file, the standard library only, Ruby 2.7 and later. It behaves as AWS's own runtime client (aws_lambda_ric) does:
# handler names, error bodies, the context object, log lines, exit codes. Started with --disable-gems it loads RubyGems
# when a function first asks for a gem, and the Runtime API is spoken over a plain socket: a start takes a fifth of what
# it takes with RubyGems and net/http.

$stdout.sync = true

require 'json'
require 'socket'

module Lambent
  ROOT = '/2018-06-01/runtime/'
  ERROR_TYPE = 'Lambda-Runtime-Function-Error-Type'
  XRAY_CAUSE = 'Lambda-Runtime-Function-XRay-Error-Cause'
  MAX_CAUSE = 65_536 # bytes; longer ones do not travel in a header
  HARMLESS = [410, 413].freeze # too late, too large: the caller has been told, and this runtime goes on

  class ApiError < StandardError; end

  # An answer of the Runtime API: header names in any case, `body` in bytes. Marshallers get this.
  class Message
    attr_reader :status, :body

    def initialize(status, headers, body)
      @status = status
      @headers = headers
      @body = body
    end

    def [](name)
      @headers[name.downcase]
    end
  end

  # One keep-alive connection; one request at a time.
  class Connection
    def initialize(address)
      @address = address
      host, _, port = address.rpartition(':')
      @host = host.delete('[]')
      @port = port.to_i
      @common = "Host: #{address}\r\nUser-Agent: aws-lambda-ruby/#{RUBY_VERSION}-lambent\r\n"
    end

    def next
      exchange("GET #{ROOT}invocation/next HTTP/1.1\r\n#{@common}\r\n", '')
    end

    def post(where, body, headers)
      head = +"POST #{ROOT}#{where} HTTP/1.1\r\n#{@common}"
      headers.each { |name, value| head << "#{name}: #{value}\r\n" unless value.nil? }
      exchange("#{head}Content-Length: #{body.bytesize}\r\n\r\n", body)
    end

    private

    def exchange(head, body)
      fresh = @socket.nil?
      open if fresh
      begin
        @begun = false
        body.empty? ? @socket.write(head) : @socket.write(head, body)
        receive
      rescue SystemCallError, EOFError => e
        @socket = nil
        raise ApiError, e.message if fresh || @begun

        exchange(head, body) # an idle connection was closed at the moment it was used: once more on a new one
      end
    rescue SystemCallError => e
      raise ApiError, e.message
    end

    def open
      @socket = TCPSocket.new(@host, @port)
      @socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
      @socket.sync = true
    end

    def line
      @socket.gets("\r\n") || raise(EOFError, 'the Runtime API closed the connection')
    end

    def receive
      status = 100
      headers = {}
      while status < 200 # 100 Continue: the real one follows
        status = line[9, 3].to_i
        @begun = true
        headers = {}
        until (text = line) == "\r\n"
          name, value = text.split(':', 2)
          headers[name.downcase] = value.strip.force_encoding(Encoding::UTF_8)
        end
      end
      body = headers['transfer-encoding'].to_s.include?('chunked') ? chunks : take(headers['content-length'].to_i)
      if headers['connection'].to_s.casecmp?('close')
        @socket.close
        @socket = nil
      end
      Message.new(status, headers, body)
    end

    def take(size)
      body = @socket.read(size)
      raise EOFError, 'the Runtime API closed the connection' if body.bytesize < size

      body
    end

    def chunks
      body = +''.b
      while (size = line.to_i(16)).positive?
        body << take(size)
        line
      end
      nil until line == "\r\n" # trailers
      body
    end
  end

  # What functions log: through the platform's descriptor as one record each, else on standard output.
  class Sink
    FRAME = [0xa55a0003].pack('L>')

    def initialize(descriptor)
      @file = descriptor && IO.new(descriptor.to_i, 'wb')
      @file&.sync = true
    rescue SystemCallError
      @file = nil
    end

    def framed?
      !@file.nil?
    end

    def write(message)
      return $stdout.write(message) if @file.nil?

      data = message.b
      time = Process.clock_gettime(Process::CLOCK_REALTIME, :microsecond)
      @file.write(FRAME + [data.bytesize, time].pack('L>Q>') + data)
    end
  end

  class << self
    attr_accessor :sink, :request_id

    # After `require 'logger'`: loggers of standard output and error write records with the request id.
    def patch_logger
      return if @patched

      @patched = true
      formatter = Class.new(::Logger::Formatter) do
        def call(severity, time, progname, message)
          format("%s, [%s #%d] %5s %s -- %s: %s\n", severity[0], format_datetime(time), Process.pid, severity,
                 Lambent.request_id, progname, msg2str(message))
        end
      end
      device = Class.new(::Logger::LogDevice) do
        def initialize; end

        def write(message)
          Lambent.sink.write(message)
        end

        def reopen(*)
          self
        end

        def close; end
      end
      ::Logger.prepend(Module.new do
        define_method(:initialize) do |target = nil, *rest, **options|
          ours = target.nil? || target.equal?($stdout) || target.equal?($stderr)
          return super(target, *rest, **options) unless ours

          super(nil, *rest, **{ formatter: formatter.new }.merge(options))
          @logdev = device.new
        end
      end)
    end

    def load_gems
      @gems = true
      require 'rubygems'
    end

    def gems?
      @gems || $LOADED_FEATURES.any? { |file| file.end_with?('/rubygems.rb') }
    end
  end
end

# As in AWS's client: by default JSON both ways; functions may replace either method.
module AwsLambda
  class Marshaller
    MAX_NESTING = 1000 # AWS's client stops at 100, which is a default of JSON's and no limit of Lambda's

    class << self
      def marshall_request(raw_request)
        return raw_request.body unless raw_request['Content-Type'].to_s == 'application/json'

        JSON.parse(raw_request.body.force_encoding(Encoding::UTF_8), max_nesting: MAX_NESTING)
      end

      # The text and, if it is no JSON, its content type.
      def marshall_response(response)
        return [response, 'application/unknown'] if response.is_a?(IO) || (defined?(StringIO) && response.is_a?(StringIO))

        begin
          response.to_json
        rescue JSON::NestingError
          JSON.generate(response, max_nesting: MAX_NESTING)
        end
      end
    end
  end
end

class LambdaContext
  attr_reader :aws_request_id, :invoked_function_arn, :log_group_name, :log_stream_name, :function_name,
              :memory_limit_in_mb, :function_version, :identity, :tenant_id, :client_context, :deadline_ms

  def initialize(request)
    @clock_diff = Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond) -
                  Process.clock_gettime(Process::CLOCK_MONOTONIC, :millisecond)
    @deadline_ms = request['Lambda-Runtime-Deadline-Ms'].to_i
    @aws_request_id = request['Lambda-Runtime-Aws-Request-Id']
    @invoked_function_arn = request['Lambda-Runtime-Invoked-Function-Arn']
    @log_group_name = ENV['AWS_LAMBDA_LOG_GROUP_NAME']
    @log_stream_name = ENV['AWS_LAMBDA_LOG_STREAM_NAME']
    @function_name = ENV['AWS_LAMBDA_FUNCTION_NAME']
    @memory_limit_in_mb = ENV['AWS_LAMBDA_FUNCTION_MEMORY_SIZE']
    @function_version = ENV['AWS_LAMBDA_FUNCTION_VERSION']
    @identity = parsed(request['Lambda-Runtime-Cognito-Identity'])
    @tenant_id = request['Lambda-Runtime-Aws-Tenant-Id']
    @client_context = parsed(request['Lambda-Runtime-Client-Context'])
  end

  def get_remaining_time_in_millis
    left = @deadline_ms - Process.clock_gettime(Process::CLOCK_MONOTONIC, :millisecond) - @clock_diff
    left.positive? ? left : 0
  end

  private

  def parsed(text)
    JSON.parse(text) unless text.nil? || text.empty?
  end
end

# The object that top-level handler methods are called on.
class LambdaHandler
  attr_reader :file

  def initialize(name)
    parts = name.split('.')
    if parts.size == 3
      @file, @class_name, @method_name = parts
    elsif parts.size == 2
      @file, @method_name = parts
    else
      raise ArgumentError, "Invalid handler #{parts}, must be of form FILENAME.METHOD or FILENAME.CLASS.METHOD where " \
                           'FILENAME corresponds with an existing Ruby source file FILENAME.rb, CLASS is an optional ' \
                           'module/class namespace and METHOD is a callable method. If using CLASS, METHOD must be a ' \
                           'class-level method.'
    end
  end

  def call(event, context)
    receiver = @class_name ? Kernel.const_get(@class_name) : self
    AwsLambda::Marshaller.marshall_response(receiver.__send__(@method_name, event: event, context: context))
  end
end

module Lambent
  # What went wrong, in the form that callers get. `kind`: Function, Runtime or Init.
  class Failure
    STANDARD = %w[ArgumentError NoMethodError Exception StandardError NameError LoadError SystemExit
                  SystemStackError].freeze

    def initialize(error, kind)
      name = error.class.to_s
      @type = "#{kind}<#{name}>"
      @shown_type = STANDARD.include?(name) ? @type : 'Function<UserException>'
      @message = error.message
      @trace = (error.backtrace_locations || []).first(100).reject { |one| one.path == __FILE__ }
    end

    def body
      { errorMessage: @message, errorType: @type, stackTrace: @trace.map(&:to_s) }
    end

    def text
      JSON.generate(body)
    rescue StandardError # a message that is no Unicode
      JSON.generate(body.merge(errorMessage: @message.to_s.dup.force_encoding(Encoding::UTF_8).scrub))
    end

    def headers
      stack = @trace.first(15).map { |one| { path: one.path, line: one.lineno, label: one.label } }
      paths = Lambent.gems? ? Gem.paths.path : []
      cause = JSON.generate({ working_directory: Dir.pwd, paths: paths,
                              exceptions: [{ message: @message, type: @type, stack: stack }] }, ascii_only: true)
      { ERROR_TYPE => @shown_type, XRAY_CAUSE => cause.bytesize < MAX_CAUSE ? cause : nil }
    rescue StandardError
      { ERROR_TYPE => @shown_type }
    end

    def log(what)
      puts what
      puts JSON.pretty_generate(body)
    rescue StandardError
      puts text
    end
  end

  class Runtime
    JSON_TYPE = { 'Content-Type' => 'application/json' }.freeze

    def initialize(address)
      @connection = Connection.new(address)
    end

    # Load the handler and serve invocations; returns the exit code. The codes are those of AWS's client.
    def run(task_root, name)
      $LOAD_PATH.unshift(task_root) unless $LOAD_PATH.include?(task_root)
      begin
        @handler = LambdaHandler.new(name)
        require @handler.file
      rescue Exception => e # rubocop:disable Lint/RescueException -- whatever the function's code raises
        failure = Failure.new(e, 'Init')
        failure.log("Init error when loading handler #{name}")
        @connection.post('init/error', failure.text, JSON_TYPE.merge(failure.headers.slice(ERROR_TYPE)))
        return 252
      end
      loop do
        code = serve(@connection.next)
        return code unless code.nil?
      end
    rescue ApiError => e
      warn("bootstrap: the Runtime API is gone: #{e.message}")
      1
    end

    private

    def serve(message)
      if message.status != 200
        warn("bootstrap: the Runtime API gave no invocation: #{message.status} #{message.body}")
        return 1
      end
      id = Lambent.request_id = $_global_aws_request_id = message['Lambda-Runtime-Aws-Request-Id']
      ENV['_X_AMZN_TRACE_ID'] = message['Lambda-Runtime-Trace-Id']
      echo = { 'Lambda-Runtime-Invocation-Id' => message['Lambda-Runtime-Invocation-Id'] }
      code = nil
      begin
        event = AwsLambda::Marshaller.marshall_request(message)
        result, type = @handler.call(event, LambdaContext.new(message))
        result = result.read if type == 'application/unknown'
        answer = @connection.post("invocation/#{id}/response", result,
                                  { 'Content-Type' => type || 'application/json' }.merge(echo))
      rescue ApiError
        raise
      rescue Exception => e # rubocop:disable Lint/RescueException
        code = critical?(e) ? 255 : nil
        failure = Failure.new(e, 'Function')
        failure.log(code ? 'Critical exception from handler' : 'Error raised from handler method')
        answer = @connection.post("invocation/#{id}/error", failure.text,
                                  JSON_TYPE.merge(failure.headers).merge(echo))
      end
      return code if answer.status < 300 || HARMLESS.include?(answer.status)

      warn("bootstrap: the Runtime API refused the result of #{id}: #{answer.status} #{answer.body}")
      1
    end

    # A name that is not there, and what is no StandardError (exit, out of memory), end the process.
    def critical?(error)
      error.is_a?(NameError) || !error.is_a?(StandardError)
    end
  end
end

module Kernel
  lambent_require = instance_method(:require)

  # RubyGems comes when a file is not found without it; the logger is patched when it comes.
  define_method(:require) do |name|
    begin
      found = lambent_require.bind(self).call(name)
    rescue LoadError => e
      raise if e.path.to_s != name.to_s || Lambent.gems?

      Lambent.load_gems
      return require(name)
    end
    Lambent.patch_logger if name == 'logger'
    found
  end
  private :require
  define_singleton_method(:require) { |name| TOPLEVEL_BINDING.receiver.__send__(:require, name) }
end

# AWS's client has these loaded; here they come when they are named.
class Module
  LAMBENT_LATE = { Gem: 'rubygems', Logger: 'logger', StringIO: 'stringio', Net: 'net/http', URI: 'uri' }.freeze
  private_constant :LAMBENT_LATE

  prepend(Module.new do
    def const_missing(name)
      file = LAMBENT_LATE[name]
      return super if file.nil? || !require(file)

      Object.const_get(name)
    end
  end)
end

# The engine may start this process before it has a function for it, to save it the wait: then the order that says for
# which it is comes on standard input (engine/sandbox/namespaces/standby.py).
module Lambent
  DONE = [0, 7].pack('l<2')

  def self.stand_by
    head = $stdin.binmode.read(5) # length, kind
    order = $stdin.read(head.unpack1('L<')) if head&.bytesize == 5
    exit!(0) if order.nil? # not needed after all
    _user, _limits, cwd, count, *strings = order.split("\0", -1) # user and limits hold already
    ENV.delete('LAMBENT_STANDBY') # all others that are there are the function's too
    ENV.update(strings.drop(count.to_i).to_h { |entry| entry.split('=', 2) })
    answer = DONE
    begin
      Dir.chdir(cwd)
    rescue SystemCallError => e
      answer = [e.errno, 2].pack('l<2')
    end
    IO.for_fd(0, 'wb', autoclose: false).syswrite(answer)
    $stdin.reopen(File::NULL)
  end
end
Lambent.stand_by if ENV['LAMBENT_STANDBY']

Lambent.sink = Lambent::Sink.new(ENV.delete('_LAMBDA_TELEMETRY_LOG_FD'))
if Lambent.sink.framed?
  module Kernel
    def puts(*lines)
      text = lines.flatten.map { |one| one.to_s.encode(Encoding::UTF_8) }.join("\n")
      Lambent.sink.write(text.end_with?("\n") ? text : "#{text}\n")
      nil
    end
  end
end

if $PROGRAM_NAME == __FILE__
  handler = ARGV[0] || ENV['_HANDLER'].to_s
  ARGV.clear
  root = ENV['LAMBDA_TASK_ROOT'] || Dir.pwd
  exit(Lambent::Runtime.new(ENV.fetch('AWS_LAMBDA_RUNTIME_API')).run(root, handler))
end
