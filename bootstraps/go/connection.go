package lambent

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
)

const bufferSize = 64 * 1024

// connection speaks HTTP/1.1 to the Runtime API, one request at a time, and connects anew when it was closed.
type connection struct {
	address string
	root    string // path before /invocation and /init
	common  string // headers of every request
	socket  net.Conn
	reader  *bufio.Reader
	heard   bool // something of the present answer has come
}

// message is an answer of the Runtime API; names of headers are in lower case.
type message struct {
	status  int
	headers map[string]string
	body    []byte
}

// connect prepares a connection to host:port; some emulators have the API under a path, which follows.
func connect(api string) *connection {
	address, path, _ := strings.Cut(api, "/")
	if path = strings.TrimSuffix(path, "/"); path != "" {
		path = "/" + path
	}
	return &connection{
		address: address,
		root:    path + "/2018-06-01/runtime",
		common:  fmt.Sprintf("Host: %s\r\nUser-Agent: aws-lambda-go/%s-lambent\r\n", address, runtime.Version()),
	}
}

func (connection *connection) next() (*message, error) {
	return connection.exchange("GET "+connection.root+"/invocation/next HTTP/1.1\r\n"+connection.common+"\r\n", nil)
}

// post sends body. extra: further header lines, each with its end.
func (connection *connection) post(path, extra string, body []byte) (*message, error) {
	head := fmt.Sprintf("POST %s%s HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n",
		connection.root, path, connection.common, extra, len(body))
	return connection.exchange(head, body)
}

func (connection *connection) exchange(head string, body []byte) (*message, error) {
	for {
		fresh := connection.socket == nil
		answer, err := connection.try(head, body)
		if err == nil || fresh || connection.heard {
			return answer, err
		}
		// An idle connection was closed at the moment it was used: once more, on a new one.
	}
}

func (connection *connection) try(head string, body []byte) (*message, error) {
	if err := connection.open(); err != nil {
		return nil, err
	}
	buffers := net.Buffers{[]byte(head), body}
	if _, err := buffers.WriteTo(connection.socket); err != nil {
		connection.close()
		return nil, err
	}
	return connection.receive()
}

// stream sends what comes out of body as it comes. An error of its is told in trailers, as the status is out already.
func (connection *connection) stream(path, extra string, body io.Reader) (*message, error) {
	if err := connection.open(); err != nil {
		return nil, err
	}
	_, err := fmt.Fprintf(connection.socket, "POST %s%s HTTP/1.1\r\n%s%s"+
		"Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"+
		"Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n",
		connection.root, path, connection.common, extra)
	piece := make([]byte, bufferSize)
	trailers := ""
	for err == nil {
		size, reading := body.Read(piece)
		if size > 0 {
			buffers := net.Buffers{[]byte(fmt.Sprintf("%x\r\n", size)), piece[:size], []byte("\r\n")}
			_, err = buffers.WriteTo(connection.socket)
		}
		if reading == io.EOF {
			break
		}
		if reading != nil {
			failure := failed(reading)
			failure.log()
			trailers = fmt.Sprintf("Lambda-Runtime-Function-Error-Type: %s\r\nLambda-Runtime-Function-Error-Body: %s\r\n",
				failure.category(), base64.StdEncoding.EncodeToString(failure.body()))
			break
		}
	}
	if err == nil {
		_, err = io.WriteString(connection.socket, "0\r\n"+trailers+"\r\n")
	}
	if err != nil {
		connection.close()
		return nil, err
	}
	return connection.receive()
}

func (connection *connection) open() (err error) {
	connection.heard = false
	if connection.socket == nil {
		if connection.socket, err = net.Dial("tcp", connection.address); err != nil {
			connection.socket = nil
			return err
		}
		connection.reader = bufio.NewReaderSize(connection.socket, bufferSize)
	}
	return nil
}

func (connection *connection) close() {
	connection.socket.Close()
	connection.socket = nil
}

func (connection *connection) receive() (*message, error) {
	answer, err := connection.read()
	if err != nil || strings.EqualFold(answer.headers["connection"], "close") {
		connection.close()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it closed the connection")
	}
	return answer, err
}

func (connection *connection) read() (answer *message, err error) {
	answer = &message{status: 100}
	for answer.status < 200 { // 100 Continue: the real one follows
		line, err := connection.line()
		if err != nil {
			return nil, err
		}
		connection.heard = true
		if len(line) < len("HTTP/1.1 200") {
			return nil, fmt.Errorf("no status line: %q", line)
		}
		if answer.status, err = strconv.Atoi(line[9:12]); err != nil {
			return nil, fmt.Errorf("no status line: %q", line)
		}
		if answer.headers, err = connection.fields(); err != nil {
			return nil, err
		}
	}
	if strings.Contains(strings.ToLower(answer.headers["transfer-encoding"]), "chunked") {
		answer.body, err = connection.chunks()
		return answer, err
	}
	size, _ := strconv.Atoi(answer.headers["content-length"])
	answer.body = make([]byte, max(size, 0))
	_, err = io.ReadFull(connection.reader, answer.body)
	return answer, err
}

func (connection *connection) line() (string, error) {
	line, err := connection.reader.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

func (connection *connection) fields() (map[string]string, error) {
	fields := make(map[string]string, 12)
	for {
		line, err := connection.line()
		if err != nil || line == "" {
			return fields, err
		}
		name, value, _ := strings.Cut(line, ":")
		fields[strings.ToLower(name)] = strings.TrimSpace(value)
	}
}

func (connection *connection) chunks() (body []byte, err error) {
	for {
		line, err := connection.line()
		if err != nil {
			return nil, err
		}
		number, _, _ := strings.Cut(line, ";")
		size, err := strconv.ParseInt(strings.TrimSpace(number), 16, 32)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("no chunk: %q", line)
		}
		if size == 0 {
			_, err = connection.fields() // trailers
			return body, err
		}
		start := len(body)
		body = append(body, make([]byte, size)...)
		if _, err = io.ReadFull(connection.reader, body[start:]); err != nil {
			return nil, err
		}
		if _, err = connection.line(); err != nil {
			return nil, err
		}
	}
}
