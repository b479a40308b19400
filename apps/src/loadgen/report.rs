//! Results as text for a reader and as JSON for a program.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::{ErrorKind, Pace, Plan, Results, Spread};

/// Which percentiles are told, and what they are called.
const PERCENTILES: [(f64, &str); 7] = [
    (0.5, "p50"),
    (0.75, "p75"),
    (0.9, "p90"),
    (0.99, "p99"),
    (0.999, "p99.9"),
    (0.9999, "p99.99"),
    (1.0, "max"),
];

/// A time in the unit that suits it.
fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.3} s", ns / 1e9),
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are told")]
fn whole(nanoseconds: u64) -> String {
    time(nanoseconds as f64)
}

/// A number of bytes in the unit that suits it.
fn bytes(count: f64) -> String {
    match count {
        count if count < 1e3 => format!("{count:.0} B"),
        count if count < 1e6 => format!("{:.1} kB", count / 1e3),
        count if count < 1e9 => format!("{:.1} MB", count / 1e6),
        count => format!("{:.2} GB", count / 1e9),
    }
}

fn percentiles(histogram: &Histogram<u64>) -> String {
    let mut text = format!("min {}  mean {}", whole(histogram.min()), time(histogram.mean()));
    for (quantile, name) in PERCENTILES {
        let _ = write!(text, "  {name} {}", whole(histogram.value_at_quantile(quantile)));
    }
    text
}

/// What was done, in half a line.
fn description(plan: &Plan) -> String {
    let pace = match plan.pace {
        Pace::Closed => "closed loop".to_owned(),
        Pace::Open { rate, spread: Spread::Fixed, .. } => format!("open loop, {rate}/s"),
        Pace::Open { rate, spread: Spread::Poisson, .. } => format!("open loop, {rate}/s (Poisson)"),
    };
    let manner = match (plan.close, plan.pipeline) {
        (true, _) => ", a connection each".to_owned(),
        (false, 1) => String::new(),
        (false, depth) => format!(", {depth} requests pipelined"),
    };
    format!("{} connections{manner}, {pace}", plan.connections)
}

fn errors(results: &Results) -> String {
    let mut text = results.errors_all().to_string();
    let kinds = ErrorKind::ALL.into_iter().filter(|kind| results.errors_of(*kind) > 0);
    let kinds: Vec<String> = kinds.map(|kind| format!("{} {kind}", results.errors_of(kind))).collect();
    if !kinds.is_empty() {
        let _ = write!(text, ": {}", kinds.join(", "));
    }
    if let Some(error) = &results.tls_error {
        let _ = write!(text, " ({error})");
    }
    text
}

/// Results for a reader. `lanes` are those that `total` is made of.
pub fn text(target: &str, plan: &Plan, total: &Results, lanes: &[Results]) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<12} {value}");
    };
    let ended = if total.interrupted { ", ended early" } else { "" };
    line("load", format!("{}, {}{ended}", description(plan), seconds(total.span)));
    line("requests", format!("{} answered, {:.1}/s", total.answered, total.rate(total.answered_in_time)));
    let mut latency = |name: &str, histogram: &Histogram<u64>| {
        if !histogram.is_empty() {
            line(name, percentiles(histogram));
        }
    };
    latency("latency", &total.latency);
    latency("connect", &total.connect);
    latency("TLS", &total.handshake);
    let unclosed = match total.unclosed {
        0 => String::new(),
        count => format!(", {count} not closed in time"),
    };
    line("connections", format!("{} opened{unclosed}", total.opened));
    #[expect(clippy::cast_precision_loss, reason = "four digits are told")]
    let amount = |count: u64| format!("{}, {}/s", bytes(count as f64), bytes(total.rate(count)));
    line("received", amount(total.received_bytes));
    line("sent", amount(total.sent_bytes));
    line("errors", errors(total));
    if lanes.len() > 1 {
        for (index, lane) in lanes.iter().enumerate() {
            let rate = lane.rate(lane.answered_in_time);
            let figures = |quantile| whole(lane.latency.value_at_quantile(quantile));
            let (median, worst) = (figures(0.5), figures(0.99));
            let value = format!(
                "{} answered, {rate:.1}/s, p50 {median}, p99 {worst}, {} errors",
                lane.answered,
                lane.errors_all()
            );
            line(&format!("lane {index}"), value);
        }
    }
    format!("loadgen: {target}\n{text}")
}

fn seconds(span: Duration) -> String {
    format!("{:.2} s", span.as_secs_f64())
}

fn histogram_value(histogram: &Histogram<u64>) -> Value {
    let mut map = Map::new();
    map.insert("count".into(), histogram.len().into());
    if !histogram.is_empty() {
        map.insert("min".into(), histogram.min().into());
        map.insert("mean".into(), histogram.mean().into());
        for (quantile, name) in PERCENTILES {
            map.insert(name.into(), histogram.value_at_quantile(quantile).into());
        }
    }
    map.into()
}

fn value(results: &Results) -> Value {
    let errors: Map<String, Value> = ErrorKind::ALL
        .into_iter()
        .map(|kind| (kind.name().to_owned(), results.errors_of(kind).into()))
        .collect();
    json!({
        "requests": results.answered,
        "requests_per_second": results.rate(results.answered_in_time),
        "seconds": results.span.as_secs_f64(),
        "latency_ns": histogram_value(&results.latency),
        "connect_ns": histogram_value(&results.connect),
        "handshake_ns": histogram_value(&results.handshake),
        "connections_opened": results.opened,
        "connections_unclosed": results.unclosed,
        "received_bytes": results.received_bytes,
        "received_bytes_per_second": results.rate(results.received_bytes),
        "sent_bytes": results.sent_bytes,
        "sent_bytes_per_second": results.rate(results.sent_bytes),
        "errors": results.errors_all(),
        "errors_by_kind": errors,
        "tls_error": results.tls_error,
        "interrupted": results.interrupted,
    })
}

/// Results for a program: one object on one line.
pub fn json(target: &str, plan: &Plan, total: &Results, lanes: &[Results]) -> String {
    let mut object = value(total);
    object["target"] = target.into();
    object["connections"] = plan.connections.into();
    object["lanes"] = lanes.iter().map(value).collect();
    object.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loadgen::Exchange;
    use crate::loadgen::results::record;

    fn results() -> Results {
        let mut results = Results::default();
        for micros in 1..=1000 {
            record(&mut results.latency, Duration::from_micros(micros));
        }
        (results.answered, results.answered_in_time, results.span) = (1000, 900, Duration::from_secs(2));
        results.received_bytes = 3_000_000;
        results.fail(ErrorKind::Refused, 2);
        (results.opened, results.unclosed) = (5, 3);
        results
    }

    #[test]
    fn text_says_what_json_says() {
        // Shows rate, percentiles, bytes and errors in both, and that a lane's own line comes with several lanes alone.
        let plan = Plan::new(([10, 0, 0, 1], 80).into(), Exchange::ping(1));
        let all = results();
        let lines = text("tcp://h:7", &plan, &all, &[all.clone(), all.clone()]);
        for part in [
            "1 connections, closed loop, 2.00 s",
            "1000 answered, 450.0/s",
            "p50 500",
            "3.0 MB, 1.5 MB/s",
            "2: 2 refused",
            "5 opened, 3 not closed in time",
            "lane 1",
        ] {
            assert!(lines.contains(part), "{part} is not in {lines}");
        }
        assert!(!text("x", &plan, &all, core::slice::from_ref(&all)).contains("lane 0"));
        let object: Value =
            serde_json::from_str(&json("tcp://h:7", &plan, &all, core::slice::from_ref(&all))).unwrap();
        assert_eq!((object["requests"].as_u64(), object["errors"].as_u64()), (Some(1000), Some(2)));
        assert_eq!(object["errors_by_kind"]["refused"].as_u64(), Some(2));
        assert_eq!(object["requests_per_second"].as_f64(), Some(450.0));
        assert_eq!(object["lanes"].as_array().map(Vec::len), Some(1));
        let median = object["latency_ns"]["p50"].as_u64().unwrap_or(0);
        assert!((499_000..502_000).contains(&median), "{median}");
    }

    #[test]
    fn figures_have_units() {
        // Shows the unit at each size.
        let times = [999.0, 1500.0, 2.5e6, 3.25e9].map(time);
        assert_eq!(times, ["999 ns", "1.5 us", "2.50 ms", "3.250 s"]);
        assert_eq!([12.0, 1.5e3, 2.5e6, 3e9].map(bytes), ["12 B", "1.5 kB", "2.5 MB", "3.00 GB"]);
    }
}
