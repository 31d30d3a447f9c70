//! The dashboard asks for what a server really tells: every metric and every label of its queries is in `/metrics`.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Server, get, ok, run, scrape};
use serde_json::Value;

const DASHBOARD: &str = include_str!("../../../docs/grafana/ntproto.json");
const GUIDE: &str = include_str!("../../../docs/observability.md");
/// What in a query is no metric and no label.
const WORDS: [&str; 9] =
    ["sum", "min", "count", "rate", "increase", "histogram_quantile", "by", "time", "label_values"];
/// Labels that Prometheus adds to what it scrapes.
const ADDED: [&str; 1] = ["job"];

/// The metrics of a query, and its labels.
fn names(query: &str) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let (mut metrics, mut labels) = (BTreeSet::new(), BTreeSet::new());
    // Labels stand in braces, in front of an operator, and in the list after `by`.
    let (mut braces, mut after_by) = (false, false);
    let mut at = 0;
    while at < query.len() {
        let rest = &query[at..];
        let c = rest.chars().next().unwrap();
        let word =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        match c {
            '"' => at += rest[1..].find('"').unwrap() + 1,
            '[' => at += rest.find(']').unwrap(),
            '{' => braces = true,
            '}' => braces = false,
            ')' => after_by = false,
            _ if word > 0 && !c.is_ascii_digit() => {
                let name = &rest[..word];
                after_by |= name == "by";
                if !WORDS.contains(&name) {
                    if braces || after_by {
                        labels.insert(name)
                    } else {
                        metrics.insert(name)
                    };
                }
            }
            _ => {}
        }
        at += word.max(1);
    }
    (metrics, labels)
}

/// Each metric with the labels that its series have.
fn told(series: &BTreeMap<String, f64>) -> BTreeMap<String, BTreeSet<String>> {
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in series.keys() {
        let (metric, labels) = name.split_once('{').unwrap_or((name, ""));
        let labels =
            labels.split(['{', ',', '}']).filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        told.entry(metric.to_owned()).or_default().extend(labels);
    }
    told
}

/// A server that some have talked to.
fn used(home: &std::path::Path) -> BTreeMap<String, f64> {
    let more = ["--open-registration", "true", "--ops-listen", "127.0.0.1:0"];
    let server = Server::launch(home, "127.0.0.1:0", &more);
    for profile in ["a", "b"] {
        ok(home, &["register", "--open", "--connect", &server.connect, "--profile", profile]);
    }
    ok(home, &["send", "10002", "hello", "--profile", "a"]);
    ok(home, &["send", "10002", "over TCP", "--profile", "a", "--transport", "tcp"]);
    assert_eq!(run(home, &["send", "99999", "nobody", "--profile", "a"]).status.code(), Some(3));
    let ops = server.ops.unwrap();
    get(ops, "GET", "/readyz");
    scrape(ops)
}

#[test]
fn queries_are_taken_apart() {
    let query =
        r#"histogram_quantile(0.95, sum by (le, route) (rate(a_bucket{job=~"x y"}[5m]))) / b + time()"#;
    let (metrics, labels) = names(query);
    assert_eq!(metrics, BTreeSet::from(["a_bucket", "b"]));
    assert_eq!(labels, BTreeSet::from(["le", "route", "job"]));
}

#[test]
fn the_dashboard_and_the_guide_ask_for_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let told = told(&used(dir.path()));
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let targets =
        dashboard["panels"].as_array().unwrap().iter().flat_map(|p| p["targets"].as_array().unwrap());
    let queries: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() > 20);
    let mut asked = BTreeSet::new();
    for query in queries {
        let (metrics, labels) = names(query);
        assert!(!metrics.is_empty(), "{query}");
        for metric in &metrics {
            let has = told.get(*metric).unwrap_or_else(|| panic!("{metric} of {query} is not in /metrics"));
            for label in labels.iter().filter(|label| !ADDED.contains(label)) {
                assert!(has.contains(*label), "{label} of {query} is no label of {metric}");
            }
        }
        asked.extend(metrics.into_iter().map(family));
    }
    // The other way round: nothing is told that nobody sees, and the guide says what each is.
    for metric in told.keys() {
        assert!(asked.contains(family(metric)), "{metric} is on no panel");
        assert!(GUIDE.contains(&format!("`{}`", family(metric))), "{metric} is not in the guide");
    }
}

/// The metric of one of its series.
fn family(metric: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end)).unwrap_or(metric)
}
