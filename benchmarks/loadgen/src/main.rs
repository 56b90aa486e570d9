//! A load generator that costs the measured machine little: one thread, epoll, nothing allocated per request.
//!
//! Prints one JSON object. Latencies are in nanoseconds. In closed loop a request is due when it is sent; in open loop
//! it is due by the timetable, so that time spent waiting for a free connection counts (no coordinated omission).

mod connection;
mod histogram;
mod options;
mod report;
mod response;
mod sys;

use connection::{Connection, Outcome};
use options::Options;
use report::{Report, Sample};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use sys::{Alarm, Epoll, Event};

const ALARM: u64 = u64::MAX;
const SECOND: f64 = 1e9;
/// A server that only drops connections is not worth loading further.
const MAX_RECONNECTS: u64 = 200;

/// When requests are due.
struct Timetable {
    next: f64,
    gap: f64,
    random: Option<u64>,
}

impl Timetable {
    fn advance(&mut self) {
        self.next += match &mut self.random {
            None => self.gap,
            Some(state) => {
                // xorshift64*: any generator will do for arrival times.
                *state ^= *state >> 12;
                *state ^= *state << 25;
                *state ^= *state >> 27;
                let unit = (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64;
                -(1.0 - unit).ln() * self.gap
            }
        };
    }
}

struct Load {
    options: Options,
    epoll: Epoll,
    connections: Vec<Connection>,
    request: Rc<[u8]>,
    free: VecDeque<usize>,
    /// Open loop: due times that wait for a free connection.
    backlog: VecDeque<u64>,
    timetable: Option<Timetable>,
    next_path: usize,
    begin: u64,
    end: u64,
    report: Report,
}

fn render(options: &Options, path: &str) -> Rc<[u8]> {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        options.address,
        options.body.len()
    );
    for header in &options.headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&options.body);
    Rc::from(bytes)
}

impl Load {
    fn new(options: Options) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let connections = (0..options.connections)
            .map(|key| Connection::open(options.address, &epoll, key as u64))
            .collect::<io::Result<Vec<_>>>()?;
        let begin = sys::now() + (options.warmup * SECOND) as u64;
        let end = begin + (options.duration * SECOND) as u64;
        let timetable = options.rate.map(|rate| Timetable {
            next: sys::now() as f64,
            gap: SECOND / rate,
            random: options.poisson.map(|seed| seed | 1),
        });
        let request = render(&options, &options.path);
        let (begin, end) = if options.each.is_some() { (0, u64::MAX) } else { (begin, end) };
        Ok(Self {
            free: (0..connections.len()).collect(),
            backlog: VecDeque::new(),
            next_path: 0,
            report: Report::default(),
            options,
            epoll,
            connections,
            request,
            timetable,
            begin,
            end,
        })
    }

    fn send(&mut self, key: usize, due: u64) -> io::Result<()> {
        let outcome = self.connections[key].send(&self.request, due);
        self.settle(key, outcome)
    }

    /// Sends whatever may be sent now on the free connections.
    fn dispatch(&mut self) -> io::Result<()> {
        if self.timetable.is_some() {
            while !self.free.is_empty() && !self.backlog.is_empty() {
                let (key, due) = (self.free.pop_front().expect("free"), self.backlog.pop_front().expect("due"));
                self.send(key, due)?;
            }
            return Ok(());
        }
        while let Some(key) = self.free.pop_front() {
            if let Some(paths) = &self.options.each {
                let Some(path) = paths.get(self.next_path) else { break };
                if self.options.gap_ms > 0 {
                    std::thread::sleep(std::time::Duration::from_millis(self.options.gap_ms));
                }
                self.request = render(&self.options, path);
                self.connections[key].index = self.next_path;
                self.next_path += 1;
            }
            let now = sys::now();
            if now >= self.end {
                break;
            }
            self.send(key, now)?;
        }
        Ok(())
    }

    /// Books an answer or a failure and frees the connection.
    fn settle(&mut self, key: usize, outcome: Outcome) -> io::Result<()> {
        let now = sys::now();
        let connection = &mut self.connections[key];
        let (broken, problem) = match outcome {
            Outcome::Waiting => return Ok(()),
            Outcome::Failed(reason) => (true, Some(reason)),
            Outcome::Answered => {
                let answer = &connection.response;
                let problem = if answer.status != 200 {
                    Some(format!("status {}", answer.status))
                } else if answer.function_error {
                    Some("function error".to_string())
                } else if self.options.expect.is_some_and(|length| length != answer.length) {
                    Some(format!("{} bytes of answer", answer.length))
                } else {
                    None
                };
                (answer.closes, problem)
            }
        };
        if let Some(paths) = &self.options.each {
            self.report.samples.push(Sample {
                path: paths[connection.index].clone(),
                status: connection.response.status,
                problem: problem.clone().unwrap_or_default(),
                ns: now - connection.due,
                request_id: connection.response.request_id.clone(),
                log_result: connection.response.log_result.clone(),
            });
        }
        if connection.due >= self.begin {
            self.report.finished += 1;
            if now < self.end {
                self.report.in_window += u64::from(problem.is_none());
            }
            match problem {
                None => {
                    self.report.corrected.record(now - connection.due);
                    self.report.service.record(now - connection.sent);
                }
                Some(problem) => *self.report.errors.entry(problem).or_insert(0) += 1,
            }
        } else if now >= self.begin && now < self.end && problem.is_none() {
            self.report.in_window += 1;
        }
        if broken {
            self.report.reconnects += 1;
            if self.report.reconnects > MAX_RECONNECTS && self.report.in_window == 0 && self.options.each.is_none() {
                return Err(io::Error::other(format!("{MAX_RECONNECTS} connections lost, not one good answer")));
            }
            let index = self.connections[key].index;
            self.connections[key] = Connection::open(self.options.address, &self.epoll, key as u64)?;
            self.connections[key].index = index;
        }
        self.free.push_back(key);
        Ok(())
    }

    fn run(&mut self) -> io::Result<()> {
        let started = sys::now();
        let alarm = Alarm::new()?;
        self.epoll.add(alarm.fd(), sys::EPOLLIN, ALARM)?;
        let timeout = (self.options.timeout * SECOND) as u64;
        let mut buffer = vec![0; 256 * 1024];
        let mut events = vec![Event::default(); self.connections.len() + 1];
        let mut last_answer = sys::now();
        loop {
            let now = sys::now();
            if let Some(timetable) = &mut self.timetable {
                while timetable.next <= now as f64 && timetable.next < self.end as f64 {
                    self.backlog.push_back(timetable.next as u64);
                    timetable.advance();
                }
                if timetable.next < self.end as f64 {
                    alarm.set(timetable.next as u64)?;
                }
            }
            self.dispatch()?;
            let idle = self.free.len() == self.connections.len() || self.connections.iter().all(|one| !one.busy);
            let over = match (&self.timetable, &self.options.each) {
                (Some(timetable), _) => timetable.next >= self.end as f64 && self.backlog.is_empty(),
                (None, Some(paths)) => self.next_path >= paths.len(),
                (None, None) => now >= self.end,
            };
            if over && idle {
                break;
            }
            let finished = self.report.finished;
            for event in self.epoll.wait(&mut events, 100)? {
                if event.data == ALARM {
                    alarm.clear();
                    continue;
                }
                let key = event.data as usize;
                if self.connections[key].busy {
                    last_answer = last_answer.max(self.connections[key].sent);
                    let outcome = self.connections[key].advance(&mut buffer);
                    self.settle(key, outcome)?;
                }
            }
            if self.report.finished != finished || idle {
                last_answer = sys::now();
            } else if sys::now() > last_answer + timeout {
                break;
            }
        }
        self.report.elapsed = sys::now() - started;
        self.report.unanswered =
            self.connections.iter().filter(|one| one.busy).count() as u64 + self.backlog.len() as u64;
        Ok(())
    }
}

fn main() {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{}", message.trim_end());
            std::process::exit(2);
        }
    };
    sys::sharpen_timers();
    let address = options.address;
    let result = Load::new(options).and_then(|mut load| load.run().map(|()| load));
    match result {
        Ok(load) => {
            let seconds = if load.options.each.is_some() { 0.0 } else { load.options.duration };
            println!("{}", load.report.to_json(seconds, sys::cpu_time()));
        }
        Err(error) => {
            eprintln!("{address}: {error}");
            std::process::exit(1);
        }
    }
}
