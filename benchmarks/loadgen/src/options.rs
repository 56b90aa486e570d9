//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};

pub const USAGE: &str = "\
usage: lambent-loadgen [options] HOST:PORT PATH
       lambent-loadgen [options] --each FILE HOST:PORT

Closed loop: each connection sends its next request when it has its answer.
Open loop (--rate): requests are due at a fixed rate whatever the answers do, and latency counts from when a request was due.

  --connections N     connections, each with one request in flight (1)
  --duration S        measured seconds (1)
  --warmup S          seconds of the same load before, not recorded (0.2)
  --rate R            open loop: requests per second in all
  --poisson SEED      open loop: random arrivals (exponential gaps) in place of equal gaps
  --payload BYTES     size of the body, a JSON string (16)
  --body TEXT         the body itself
  --header 'N: V'     one more request header; may be repeated
  --expect BYTES      an answer of another length is an error
  --each FILE         one request to each path in FILE, in order, over the given connections; every sample is listed
  --gap-ms MS         with --each: pause before each request (0)
  --timeout S         give up when no answer came for so long (10)
";

pub struct Options {
    pub address: SocketAddr,
    pub path: String,
    pub connections: usize,
    pub duration: f64,
    pub warmup: f64,
    pub rate: Option<f64>,
    pub poisson: Option<u64>,
    pub body: Vec<u8>,
    pub headers: Vec<String>,
    pub expect: Option<u64>,
    pub each: Option<Vec<String>>,
    pub gap_ms: u64,
    pub timeout: f64,
}

/// A JSON string literal of exactly `size` bytes (two at least).
fn json_string(size: usize) -> Vec<u8> {
    let mut body = vec![b'x'; size.max(2)];
    body[0] = b'"';
    *body.last_mut().expect("two bytes at least") = b'"';
    body
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{name}: {text:?} is not a number that fits"))
}

pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut arguments = arguments;
    let mut places = Vec::new();
    let mut options = Options {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        path: String::new(),
        connections: 1,
        duration: 1.0,
        warmup: 0.2,
        rate: None,
        poisson: None,
        body: json_string(16),
        headers: Vec::new(),
        expect: None,
        each: None,
        gap_ms: 0,
        timeout: 10.0,
    };
    while let Some(argument) = arguments.next() {
        if !argument.starts_with("--") {
            places.push(argument);
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{argument}: its value is missing\n{USAGE}"))?;
        match argument.as_str() {
            "--connections" => options.connections = number(&argument, &value)?,
            "--duration" => options.duration = number(&argument, &value)?,
            "--warmup" => options.warmup = number(&argument, &value)?,
            "--rate" => options.rate = Some(number(&argument, &value)?),
            "--poisson" => options.poisson = Some(number(&argument, &value)?),
            "--payload" => options.body = json_string(number(&argument, &value)?),
            "--body" => options.body = value.into_bytes(),
            "--header" => options.headers.push(value),
            "--expect" => options.expect = Some(number(&argument, &value)?),
            "--each" => {
                let text = std::fs::read_to_string(&value).map_err(|error| format!("--each {value}: {error}"))?;
                options.each = Some(text.lines().filter(|line| !line.is_empty()).map(String::from).collect());
            }
            "--gap-ms" => options.gap_ms = number(&argument, &value)?,
            "--timeout" => options.timeout = number(&argument, &value)?,
            _ => return Err(format!("{argument}: no such option\n{USAGE}")),
        }
    }
    let (address, path) = match (places.as_slice(), options.each.is_some()) {
        ([address, path], false) => (address, path.as_str()),
        ([address], true) => (address, ""),
        _ => return Err(USAGE.to_string()),
    };
    if options.connections == 0 || options.rate.is_some_and(|rate| rate.is_nan() || rate <= 0.0) {
        return Err("connections and rate must be positive".to_string());
    }
    options.path = path.to_string();
    options.address = address
        .to_socket_addrs()
        .map_err(|error| format!("{address}: {error}"))?
        .next()
        .ok_or_else(|| format!("{address}: no address"))?;
    Ok(options)
}
