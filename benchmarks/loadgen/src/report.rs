//! What a run found, as JSON written by hand (the values are numbers and plain text).

use crate::histogram::Histogram;
use std::collections::BTreeMap;
use std::fmt::Write;

const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999), ("max", 1.0)];

pub struct Sample {
    pub path: String,
    pub status: u16,
    pub problem: String,
    pub ns: u64,
    pub request_id: String,
    pub log_result: String,
}

pub struct Report {
    /// Latency from when the request was due.
    pub corrected: Histogram,
    /// Latency from when it was sent: what a client that waits for a free connection would believe.
    pub service: Histogram,
    /// Good answers that arrived within the measured seconds: the throughput.
    pub in_window: u64,
    /// Requests that were due within the measured seconds and got an answer, good or not.
    pub finished: u64,
    pub errors: BTreeMap<String, u64>,
    pub reconnects: u64,
    pub unanswered: u64,
    /// Nanoseconds from the first request to the last answer.
    pub elapsed: u64,
    pub samples: Vec<Sample>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            corrected: Histogram::new(),
            service: Histogram::new(),
            in_window: 0,
            finished: 0,
            errors: BTreeMap::new(),
            reconnects: 0,
            unanswered: 0,
            elapsed: 0,
            samples: Vec::new(),
        }
    }
}

fn text(out: &mut String, value: &str) {
    out.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            control if (control as u32) < 0x20 => write!(out, "\\u{:04x}", control as u32).expect("memory"),
            plain => out.push(plain),
        }
    }
    out.push('"');
}

fn latencies(out: &mut String, name: &str, histogram: &Histogram) {
    write!(out, "\"{name}\":{{\"count\":{}", histogram.total).expect("memory");
    if let Some(mean) = histogram.sum.checked_div(histogram.total) {
        write!(out, ",\"mean\":{mean}").expect("memory");
        for (label, fraction) in QUANTILES {
            write!(out, ",\"{label}\":{}", histogram.quantile(fraction)).expect("memory");
        }
    }
    out.push_str(",\"buckets\":[");
    for (position, (bound, count)) in histogram.buckets().enumerate() {
        write!(out, "{}[{bound},{count}]", if position == 0 { "" } else { "," }).expect("memory");
    }
    out.push_str("]}");
}

impl Report {
    pub fn to_json(&self, seconds: f64, cpu_ns: u64) -> String {
        let mut out = String::from("{");
        write!(
            out,
            "\"seconds\":{seconds},\"elapsed_ns\":{},\"in_window\":{},\"finished\":{},\"reconnects\":{},\"unanswered\":{},\"client_cpu_ns\":{cpu_ns}",
            self.elapsed, self.in_window, self.finished, self.reconnects, self.unanswered
        )
        .expect("memory");
        if seconds > 0.0 {
            write!(out, ",\"throughput\":{:.1}", self.in_window as f64 / seconds).expect("memory");
        }
        out.push_str(",\"errors\":{");
        for (position, (problem, count)) in self.errors.iter().enumerate() {
            if position > 0 {
                out.push(',');
            }
            text(&mut out, problem);
            write!(out, ":{count}").expect("memory");
        }
        out.push_str("},");
        latencies(&mut out, "latency_ns", &self.corrected);
        out.push(',');
        latencies(&mut out, "service_ns", &self.service);
        if !self.samples.is_empty() {
            out.push_str(",\"samples\":[");
            for (position, sample) in self.samples.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                out.push_str("{\"path\":");
                text(&mut out, &sample.path);
                write!(out, ",\"status\":{},\"ns\":{},\"problem\":", sample.status, sample.ns).expect("memory");
                text(&mut out, &sample.problem);
                out.push_str(",\"request_id\":");
                text(&mut out, &sample.request_id);
                out.push_str(",\"log_result\":");
                text(&mut out, &sample.log_result);
                out.push('}');
            }
            out.push(']');
        }
        out.push('}');
        out
    }
}
