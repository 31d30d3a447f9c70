#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ntproto_proto::v2;
use ntproto_server::metrics::Metrics;
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;

const STARTED: f64 = 1_763_852_400.0;

/// What a server tells that began at [`STARTED`].
fn text(metrics: &Metrics) -> String {
    let text = metrics.render();
    let lines = text.lines().filter(|line| !line.starts_with("process_"));
    let own = format!("process_start_time_seconds {STARTED}\nprocess_resident_memory_bytes 30000000");
    lines.map(str::to_owned).chain([own]).collect::<Vec<_>>().join("\n")
}

/// A server between two looks, a second apart.
fn busy() -> Board {
    let metrics = Metrics::new();
    let mut board = Board::default();
    board.look(Sample::parse(&text(&metrics), 10.0, STARTED + 7_300.0));
    for n in 0..200 {
        metrics.committed(8, Duration::from_millis(if n % 50 == 0 { 20 } else { 2 }));
        metrics.rtt(Duration::from_millis(30));
        metrics.http("PATCH", "/v2/files/{id}", 204, Duration::from_millis(40));
    }
    metrics.http_bytes(3 << 20, 5000);
    metrics.opened(ntproto_core::binding::TransportId::Quic);
    metrics.opened(ntproto_core::binding::TransportId::Tcp);
    let mut counts = metrics.last_node();
    counts.hub.direct = 150;
    counts.hub.group = 40;
    counts.hub.pushed = 1234;
    counts.hub.answered = 301;
    counts.load.sessions = 2;
    metrics.node(counts);
    board.look(Sample::parse(&text(&metrics), 11.0, STARTED + 7_301.0));
    board
}

fn screen(board: &Board, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view(board, "127.0.0.1:9464", false, frame)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn a_busy_server() {
    insta::assert_snapshot!(screen(&busy(), 110, 24));
}

#[test]
fn a_narrow_screen_takes_more_lines() {
    insta::assert_snapshot!(screen(&busy(), 60, 36));
}

#[test]
fn an_administrator_is_told_less_and_a_server_that_is_gone_is_said_to_be() {
    let stats = v2::AdminStatsResponse {
        accounts: 12,
        groups: 3,
        connections: 9,
        sessions: 8,
        in_store: 1,
        ..Default::default()
    };
    let mut board = Board::default();
    board.look(Sample::of_stats(&stats, 1.0, STARTED));
    board.trouble = Some("the server can't be reached".into());
    insta::assert_snapshot!(screen(&board, 90, 14));
}

#[test]
fn figures_for_scripts_are_plain_numbers() {
    let json = busy().json();
    assert_eq!(json["messages"]["direct"], 150.0);
    assert_eq!(json["store"]["99 %"], 0.025);
    assert_eq!(json["http"]["in"], f64::from(3 << 20));
    assert_eq!((&json["ready"], &json["up_seconds"]), (&true.into(), &7301.0.into()));
    assert!(json["accounts"]["accounts"].is_null());
}

#[test]
fn a_server_that_was_started_anew_has_no_rates_at_first() {
    let mut board = busy();
    let metrics = Metrics::new();
    let text = text(&metrics).replace(&STARTED.to_string(), &(STARTED + 8000.0).to_string());
    board.look(Sample::parse(&text, 12.0, STARTED + 8_001.0));
    assert!(board.json()["messages"]["direct"].is_null());
}

proptest! {
    #[test]
    fn nothing_that_is_told_breaks_the_board(lines in "(?s)([a-z_]{1,20}(\\{[a-z=\", ]{0,20}\\})? [0-9.eNa+-]{1,9}\n|.){0,40}", width in 1..90u16, height in 1..40u16) {
        let mut board = Board::default();
        board.look(Sample::parse(&lines, 1.0, 0.0));
        board.look(Sample::parse(&lines, 2.0, 0.0));
        board.json();
        screen(&board, width, height);
    }
}
