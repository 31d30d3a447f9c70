//! One look at a server.

use std::collections::BTreeMap;

use ntproto_proto::v2;

/// Series that are kept of one look: a server tells some hundreds.
const MAX_SERIES: usize = 20_000;

/// What a server told, and when.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Seconds, from any moment.
    pub(crate) at: f64,
    /// The wall clock, in seconds since 1970.
    pub(crate) unix: f64,
    /// Name with labels, as they were written, and the value.
    series: BTreeMap<String, f64>,
}

impl Sample {
    /// Reads the text of `/metrics`. Lines that are none are passed over.
    pub(crate) fn parse(text: &str, at: f64, unix: f64) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| line.rsplit_once(' '));
        let series = series.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
        Self { at, unix, series: series.take(MAX_SERIES).collect() }
    }

    /// What an administrator is told, under the names of `/metrics`.
    pub(crate) fn of_stats(stats: &v2::AdminStatsResponse, at: f64, unix: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "it is shown")]
        let series = [
            ("accounts", stats.accounts),
            ("groups", stats.groups),
            ("ntproto_connections", stats.connections),
            ("ntproto_sessions", stats.sessions),
            ("ntproto_store_queue_transactions", stats.in_store),
        ]
        .map(|(name, value)| (name.to_owned(), value as f64));
        Self { at, unix, series: series.into() }
    }

    /// The sum of all series of a metric that have these labels; `None` when there are none.
    pub(crate) fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut sum = None;
        for (series, value) in self.of(metric) {
            if labels.iter().all(|(name, text)| label(series, name) == Some(text)) {
                sum = Some(sum.unwrap_or(0.0) + value);
            }
        }
        sum
    }

    /// The series of a metric: labels and value.
    fn of(&self, metric: &str) -> impl Iterator<Item = (&str, f64)> {
        let from = self.series.range(metric.to_owned()..);
        from.take_while(move |(name, _)| name.starts_with(metric)).filter_map(move |(name, value)| {
            let labels = name.strip_prefix(metric)?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, *value))
        })
    }

    /// Bounds of a histogram with how many were at or below each, all of its series together.
    pub(crate) fn buckets(&self, metric: &str) -> Vec<(f64, f64)> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (labels, count) in self.of(&format!("{metric}_bucket")) {
            let bound = match label(labels, "le") {
                Some("+Inf") => f64::INFINITY,
                Some(bound) => bound.parse().unwrap_or(f64::INFINITY),
                None => continue,
            };
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, sum)) => *sum += count,
                None => buckets.push((bound, count)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }

    /// The first value of a label among the series of a metric.
    pub(crate) fn label_of(&self, metric: &str, name: &str) -> Option<&str> {
        self.of(metric).find_map(|(labels, _)| label(labels, name))
    }
}

/// A label's value in `{a="b",c="d"}`.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.trim_matches(['{', '}']).split("\",").find_map(|pair| {
        let (key, value) = pair.split_once("=\"")?;
        (key == name).then(|| value.trim_end_matches('"'))
    })
}
