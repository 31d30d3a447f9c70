//! The text that Prometheus reads (exposition format 0.0.4).

use std::fmt::Write as _;

use super::cell::{Counters, Histogram};
use super::label::Label;

/// The media type of the text.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes families, one after another.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        // No value of a label needs escaping: they are all written down in `label`.
        for (n, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{text}\"", if n == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.line(name, &[], value);
    }

    pub(super) fn counters<L: Label>(&mut self, name: &str, help: &str, counters: &Counters<L>) {
        self.labelled(name, "counter", help, L::NAME, counters.each());
    }

    pub(super) fn labelled(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'static str, u64)>,
    ) {
        self.head(name, kind, help);
        values.for_each(|(text, value)| self.line(name, &[(label, text)], value));
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, "gauge", help);
        self.line(name, &[], value);
    }

    /// A gauge that is always 1 and says something by its label.
    pub(super) fn info(&mut self, name: &str, help: &str, label: (&str, &str)) {
        self.head(name, "gauge", help);
        self.line(name, &[label], 1);
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        self.buckets(name, &[], histogram);
    }

    pub(super) fn histograms<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        each: impl Iterator<Item = ([&'static str; N], &'a Histogram)>,
    ) {
        self.head(name, "histogram", help);
        for (texts, histogram) in each {
            let labels: Vec<_> = labels.into_iter().zip(texts).collect();
            self.buckets(name, &labels, histogram);
        }
    }

    fn buckets(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let (buckets, sum, count) = histogram.read();
        let bucket = format!("{name}_bucket");
        for (bound, below) in buckets {
            let bound = bound.to_string();
            self.line(&bucket, &[labels, &[("le", &bound)]].concat(), below);
        }
        self.line(&bucket, &[labels, &[("le", "+Inf")]].concat(), count);
        self.line(&format!("{name}_sum"), labels, sum);
        self.line(&format!("{name}_count"), labels, count);
    }
}
