//! People and groups in both forms: what is read as JSON is written to what reads the same, and so is what comes in protobuf.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ntproto_core::model::json::{Entity, JsonError};
use ntproto_core::model::people::nick;
use ntproto_proto::v2::{Friend, Group, Member, User};
use prost::Message;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Json(u8, &'a str),
    /// JSON in the place of `extra`.
    Extra(u8, &'a str),
    /// JSON in the place of a number.
    Number(u8, &'a str),
    Binary(u8, &'a [u8]),
    /// `extra` as protobuf has it.
    Text(u8, &'a str),
}

/// What there is of it after it was JSON: fields that are phased out have moved, and white space around `extra` is gone.
trait Settled: Entity + Message + Default + PartialEq + Clone {
    fn settled(self) -> Self;
    fn of_extra(extra: &str) -> Self;
}

impl Settled for User {
    #[allow(deprecated)]
    fn settled(self) -> Self {
        let nick = nick(&self).into();
        let friends = self.friends.into_iter().map(Settled::settled).collect();
        Self { nick, nickname: String::new(), friends, extra: white(&self.extra), ..self }
    }
    fn of_extra(extra: &str) -> Self {
        Self { extra: extra.into(), ..Self::default() }
    }
}

impl Settled for Friend {
    fn settled(self) -> Self {
        Self { extra: white(&self.extra), ..self }
    }
    fn of_extra(extra: &str) -> Self {
        Self { extra: extra.into(), ..Self::default() }
    }
}

impl Settled for Group {
    fn settled(self) -> Self {
        Self { extra: white(&self.extra), ..self }
    }
    fn of_extra(extra: &str) -> Self {
        Self { extra: extra.into(), ..Self::default() }
    }
}

impl Settled for Member {
    fn settled(self) -> Self {
        self
    }
    fn of_extra(_: &str) -> Self {
        Self::default()
    }
}

/// Without what JSON takes for white space.
fn white(extra: &str) -> String {
    extra.trim_matches([' ', '\t', '\n', '\r']).into()
}

fn json<T: Settled>(text: &str) {
    let Ok(read) = T::from_json(text) else { return };
    let written = read.to_json().expect("what was read can be written");
    assert!(T::from_json(&written).expect("and read again") == read, "{written}");
    assert_eq!(T::from_json(&written).map(|again| again.to_json()), Ok(Ok(written)));
    assert!(T::decode(&read.encode_to_vec()[..]).expect("protobuf") == read);
}

fn binary<T: Settled>(entity: T) {
    assert!(T::decode(&entity.encode_to_vec()[..]).expect("protobuf") == entity);
    match entity.to_json() {
        Ok(text) => assert!(T::from_json(&text).expect("JSON") == entity.settled(), "{text}"),
        Err(why) => assert!(matches!(why, JsonError::Extra(_) | JsonError::TooManyFriends), "{why}"),
    }
}

/// Runs one of the four.
macro_rules! each {
    ($n:expr, $f:ident, $make:expr) => {
        match $n % 4 {
            0 => $f::<User>($make),
            1 => $f::<Friend>($make),
            2 => $f::<Group>($make),
            _ => $f::<Member>($make),
        }
    };
}

fn raw<T: Settled>(bytes: &[u8]) {
    if let Ok(entity) = T::decode(bytes) {
        binary(entity);
    }
}

fn text<T: Settled>(extra: &str) {
    binary(T::of_extra(extra));
}

fuzz_target!(|input: Input| {
    match input {
        Input::Json(n, text) => each!(n, json, text),
        Input::Extra(n, extra) => {
            let text = format!("{{\"uin\":\"7\",\"extra\":{extra}}}");
            each!(n, json, &text);
        }
        Input::Number(n, number) => {
            let text =
                format!("{{\"uin\":{number},\"version\":{number},\"members\":{number},\"role\":{number}}}");
            each!(n, json, &text);
        }
        Input::Binary(n, bytes) => each!(n, raw, bytes),
        Input::Text(n, extra) => each!(n, text, extra),
    }
});
