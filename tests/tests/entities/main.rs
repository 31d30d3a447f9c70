//! People and groups in both of their forms, held against Python's protobuf as a second implementation, both ways.
//!
//! `extra` is JSON in ours and a string in protobuf's. So the test writes, for Python, the text of `extra` as a string, and takes it out of the
//! string again on the way back; everything else is compared as it is.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ntproto_core::model::json::Entity;
use ntproto_proto::v2::{Friend, Group, Member, User};
use ntproto_strategies::entities;
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::TestRunner;
use prost::Message;
use serde_json::value::{RawValue, to_raw_value};

/// The package on PyPI, at the version that is held against.
const PROTOBUF: &str = "protobuf==7.36.2";
/// Of each entity.
const SAMPLES: usize = 300;

type Fields = BTreeMap<String, Box<RawValue>>;

/// Our form with every `extra` changed, a friend's too.
fn with_extra(text: &str, change: fn(&RawValue) -> Box<RawValue>) -> String {
    let mut fields: Fields = serde_json::from_str(text).unwrap();
    if let Some(extra) = fields.get_mut("extra") {
        *extra = change(extra);
    }
    if let Some(friends) = fields.get_mut("friends") {
        let all: Vec<Box<RawValue>> = serde_json::from_str(friends.get()).unwrap();
        let all: Vec<_> = all.iter().map(|one| with_extra(one.get(), change)).collect();
        *friends = RawValue::from_string(format!("[{}]", all.join(","))).unwrap();
    }
    serde_json::to_string(&fields).unwrap()
}

fn to_protobufs(ours: &str) -> String {
    with_extra(ours, |extra| to_raw_value(extra.get()).unwrap())
}

fn from_protobufs(theirs: &str) -> String {
    with_extra(theirs, |extra| {
        RawValue::from_string(serde_json::from_str::<String>(extra.get()).unwrap()).unwrap()
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Entities of one kind as lines for Python, and what they are.
fn samples<T: Entity + Message + Default>(
    kind: &str,
    strategy: impl Strategy<Value = T>,
    lines: &mut String,
) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    let drawn = (0..SAMPLES).map(|_| strategy.new_tree(&mut runner).unwrap().current());
    let all: Vec<T> = [T::default()].into_iter().chain(drawn).collect();
    for one in &all {
        let json = to_protobufs(&one.to_json().unwrap());
        let line = [kind, &hex(&one.encode_to_vec()), &json];
        writeln!(lines, "{}", serde_json::to_string(&line).unwrap()).unwrap();
    }
    all
}

/// What Python made of them is what they were.
fn compare<'a, T: Entity + Message + Default + PartialEq + Debug>(
    all: &[T],
    answers: &mut impl Iterator<Item = &'a str>,
) {
    for one in all {
        let [binary, json]: [String; 2] = serde_json::from_str(answers.next().unwrap()).unwrap();
        assert!(&T::decode(&unhex(&binary)[..]).unwrap() == one, "binary: {one:?} from {binary}");
        assert!(&T::from_json(&from_protobufs(&json)).unwrap() == one, "JSON: {one:?} from {json}");
    }
}

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|why| format!("{command:?}: {why}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!(
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// A Python with the package, in an environment of its own below the target directory.
fn python() -> Result<PathBuf, String> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-protobuf");
    let python = home.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let done = home.join("installed");
    if fs::read_to_string(&done).is_ok_and(|version| version == PROTOBUF) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
    run(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        PROTOBUF,
    ]))?;
    fs::write(done, PROTOBUF).map_err(|why| why.to_string())?;
    Ok(python)
}

#[test]
fn pythons_protobuf_agrees_in_both_forms() {
    let python = match python() {
        Ok(python) => python,
        Err(why) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("no Python: {why}"),
        Err(why) => return println!("skipped, as there is no Python with {PROTOBUF}: {why}"),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema =
        protox::compile(["ntproto/v2/people.proto", "ntproto/v2/groups.proto"], [root.join("../proto")]);
    let scratch = tempfile::tempdir().unwrap();
    let [schema_at, lines_at] = ["schema", "lines"].map(|name| scratch.path().join(name));
    fs::write(&schema_at, schema.unwrap().encode_to_vec()).unwrap();

    let mut lines = String::new();
    let users: Vec<User> = samples("User", entities::user(), &mut lines);
    let friends: Vec<Friend> = samples("Friend", entities::friend(), &mut lines);
    let groups: Vec<Group> = samples("Group", entities::group(), &mut lines);
    let members: Vec<Member> = samples("Member", entities::member(), &mut lines);
    fs::write(&lines_at, lines).unwrap();

    let script = root.join("tests/entities/check.py");
    let output = run(Command::new(python).arg(script).args([&schema_at, &lines_at])).unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    let mut answers = answers.lines();
    compare(&users, &mut answers);
    compare(&friends, &mut answers);
    compare(&groups, &mut answers);
    compare(&members, &mut answers);
    assert_eq!(answers.next(), None);
}
