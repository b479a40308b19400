//! `/metrics`: what is on the board, as text that Prometheus reads. Nothing is counted here, and no lane pays for it
//! until somebody asks.

use std::fmt;

use bytes::Bytes;
use corelane::Instant;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::board::{Publisher, Snapshot};

/// The type that says how the text is to be read.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a text may be asked for again without being made again. Units: nanoseconds.
const FRESH: u64 = 100_000_000;

/// The page, made at most ten times a second.
#[derive(Debug)]
pub(super) struct Metrics {
    path: String,
    seen: Vec<Snapshot>,
    page: Option<(Instant, Bytes)>,
}

impl Metrics {
    pub fn new(path: String) -> Metrics {
        Metrics { path, seen: Vec::new(), page: None }
    }

    /// The target asks for it.
    pub fn is_asked(&self, target: &str) -> bool {
        target.strip_prefix(&self.path[..]).is_some_and(|rest| rest.is_empty() || rest.starts_with('?'))
    }

    /// It as of now, or nearly.
    pub fn page(&mut self, publisher: &Publisher, now: Instant) -> Bytes {
        if let Some((at, page)) = &self.page
            && now.0 < at.0 + FRESH
        {
            return page.clone();
        }
        publisher.board.look(&mut self.seen);
        let page = Bytes::from(render(&self.seen));
        self.page = Some((now, page.clone()));
        page
    }
}

/// The text.
pub fn render(lanes: &[Snapshot]) -> String {
    let mut registry = Registry::with_prefix("corelane");
    registry.register_collector(Box::new(Lanes(lanes.to_vec())));
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = text::encode(&mut page, &registry);
    page
}

#[derive(Debug)]
struct Lanes(Vec<Snapshot>);

/// A figure's labels beside its lane, and its value.
type Figure = (Option<(&'static str, String)>, u64);

impl Lanes {
    /// One metric, each lane's figures under a label that names it.
    fn metric(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        kind: MetricType,
        name: &str,
        help: &str,
        figures: impl Fn(&Snapshot) -> Vec<Figure>,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        for lane in &self.0 {
            let number = lane.report.lane.0.to_string();
            for (label, value) in figures(lane) {
                let labels: Vec<(&str, &str)> = core::iter::once(("lane", &number[..]))
                    .chain(label.as_ref().map(|(k, v)| (*k, &v[..])))
                    .collect();
                let family = metric.encode_family(&labels)?;
                match kind {
                    MetricType::Counter => ConstCounter::new(value).encode(family)?,
                    _ => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(family)?,
                }
            }
        }
        Ok(())
    }
}

/// Figures of a table such as `drops.reason`.
fn table(snapshot: &Snapshot, prefix: &str, label: &'static str) -> Vec<Figure> {
    let figures = snapshot.report.figures();
    let named =
        figures.iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), *value)));
    named.map(|(name, value)| (Some((label, name)), value)).collect()
}

impl Collector for Lanes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let (counter, gauge) = (MetricType::Counter, MetricType::Gauge);
        let one = |value: u64| vec![(None, value)];
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.metric(encoder, counter, "http_requests", "Requests that could be read", |lane| {
            one(lane.server.requests)
        })?;
        self.metric(encoder, counter, "http_answers", "Answers by class of status", |lane| {
            let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(lane.server.answers);
            classes.map(|(class, count)| (Some(("class", (*class).to_owned())), count)).collect()
        })?;
        self.metric(encoder, gauge, "http_connections", "Connections that are open", |lane| {
            one(wide(lane.server.connections))
        })?;
        self.metric(encoder, counter, "http_refused_connections", "Connections beyond the limit", |lane| {
            one(lane.server.refused)
        })?;
        self.metric(encoder, counter, "http_timed_out", "Connections whose client took too long", |lane| {
            one(lane.server.timed_out)
        })?;
        self.metric(encoder, counter, "log_dropped_records", "Records missing in the access log", |lane| {
            one(lane.server.log_dropped)
        })?;
        self.metric(encoder, counter, "frames", "Frames by what became of them", |lane| {
            table(lane, "frames.", "kind")
        })?;
        self.metric(
            encoder,
            counter,
            "dropped_frames",
            "Received frames that were dropped, by reason",
            |lane| table(lane, "drops.", "reason"),
        )?;
        self.metric(encoder, counter, "unsent_frames", "Own frames that could not go, by reason", |lane| {
            table(lane, "unsent.", "reason")
        })?;
        self.metric(encoder, counter, "payload_bytes", "Payload by direction", |lane| {
            let report = &lane.report;
            let sent = report.attached_bytes + report.copied_bytes;
            let label = |way: &str| Some(("direction", way.to_owned()));
            vec![(label("received"), report.counters.delivered_bytes), (label("sent"), sent)]
        })?;
        self.metric(encoder, counter, "tcp", "TCP's counters by name", |lane| table(lane, "tcp.", "event"))?;
        self.metric(encoder, gauge, "pool_frames", "Frames of the pools", |lane| {
            table(lane, "pools.", "pool")
        })?;
        self.metric(encoder, gauge, "lane", "What the lane holds, by name", |lane| {
            let figures = lane.report.figures().into_iter().filter(|(name, _)| !name.contains('.'));
            figures.map(|(name, value)| (Some(("figure", name)), value)).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::httpd::board::tests::snapshots;

    #[test]
    fn each_lane_has_its_own_lines() {
        // Shows both lanes' figures under one description, that each sample's name was described before, and the end.
        let mut lanes = snapshots(2);
        lanes[1].server.requests = 9;
        lanes[1].report.counters.drops[0] = 3;
        let page = render(&lanes);
        assert!(page.contains("corelane_http_requests_total{lane=\"0\"} 0\n"), "{page}");
        assert!(page.contains("corelane_http_requests_total{lane=\"1\"} 9\n"), "{page}");
        assert!(
            page.contains("# TYPE corelane_http_requests counter\n") && page.ends_with("# EOF\n"),
            "{page}"
        );
        assert!(
            page.lines().any(|line| line.starts_with("corelane_dropped_frames_total{lane=\"1\",reason=")
                && line.ends_with(" 3"))
        );
        let mut described = String::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                described = rest.split(' ').next().unwrap_or_default().to_owned();
            } else if !line.starts_with('#') {
                assert!(line.starts_with(&described), "{line} is not of {described}");
            }
        }
        assert_eq!(page.matches("# TYPE corelane_tcp counter").count(), 1);
    }

    #[test]
    fn the_path_is_met_exactly() {
        // Shows the path alone, with a query, and what only begins like it.
        let metrics = Metrics::new("/metrics".to_owned());
        assert!(metrics.is_asked("/metrics") && metrics.is_asked("/metrics?a"));
        assert!(!metrics.is_asked("/metrics/") && !metrics.is_asked("/metricsx") && !metrics.is_asked("/"));
    }
}
