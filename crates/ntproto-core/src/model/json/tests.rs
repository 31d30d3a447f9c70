use super::*;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;

fn user(text: &str) -> Result<User, JsonError> {
    User::from_json(text)
}

#[test]
fn empty_is_left_out() {
    assert_eq!(User::default().to_json().unwrap(), "{}");
    assert_eq!(user("{}").unwrap(), User::default());
    assert_eq!(Member::default().to_json().unwrap(), "{}");
    assert_eq!(user(r#"{"uin":null,"nick":null,"friends":null}"#).unwrap(), User::default());
}

#[test]
fn whole() {
    let friend = Friend {
        uin: 10002,
        state: FriendState::Friend.into(),
        remark: "B\"ob".into(),
        blocked: true,
        since_ms: 1,
        message: "hi".into(),
        version: u64::MAX,
        extra: "[]".into(),
    };
    let whole =
        User { uin: 10001, nick: "Ada".into(), friends: vec![friend], version: 2, ..Default::default() };
    let text = whole.to_json().unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"uin":"10001","nick":"Ada","friends":[{"uin":"10002","state":"FRIEND_STATE_FRIEND","remark":"B\"ob","#,
            r#""blocked":true,"since_ms":"1","message":"hi","version":"18446744073709551615","extra":[]}],"version":"2"}"#
        )
    );
    assert_eq!(user(&text).unwrap(), whole);
    let group =
        Group { group: 7, members: 3, join: JoinPolicy::Open.into(), permissions: 3, ..Default::default() };
    let text = group.to_json().unwrap();
    assert_eq!(text, r#"{"group":"7","members":3,"join":"JOIN_POLICY_OPEN","permissions":3}"#);
    assert_eq!(Group::from_json(&text).unwrap(), group);
}

/// Every way a number of 64 bits may and may not stand there.
//= proof: people-5
#[test]
fn numbers() {
    let uin = |value: &str| user(&format!("{{\"uin\":{value}}}")).map(|user| user.uin);
    let bad = |why| Err(JsonError::Number { field: "uin", why });
    for (text, n) in [
        ("7", 7),
        ("\"7\"", 7),
        ("\"\\u0037\"", 7),
        ("0", 0),
        ("9007199254740992", 1 << 53),
        ("\"9007199254740993\"", (1 << 53) + 1),
        ("\"18446744073709551615\"", u64::MAX),
    ] {
        assert_eq!(uin(text), Ok(n), "{text}");
    }
    for (text, why) in [
        ("9007199254740993", BadNumber::Inexact),
        ("18446744073709551615", BadNumber::Inexact),
        ("99999999999999999999999", BadNumber::Inexact),
        ("\"18446744073709551616\"", BadNumber::TooLarge),
        ("-1", BadNumber::Negative),
        ("\"-1\"", BadNumber::Negative),
        ("1.5", BadNumber::Fraction),
        ("1.0", BadNumber::Fraction),
        ("1e3", BadNumber::Fraction),
        ("\"1.5\"", BadNumber::Fraction),
        ("\"\"", BadNumber::NoNumber),
        ("\"-\"", BadNumber::NoNumber),
        ("\" 1\"", BadNumber::NoNumber),
        ("\"+1\"", BadNumber::NoNumber),
        ("\"1x\"", BadNumber::NoNumber),
        ("\"0x10\"", BadNumber::NoNumber),
        ("true", BadNumber::NoNumber),
        ("[1]", BadNumber::NoNumber),
        ("{}", BadNumber::NoNumber),
    ] {
        assert_eq!(uin(text), bad(why), "{text}");
    }
    assert!(matches!(uin("01"), Err(JsonError::Syntax { .. })));
    let members = |value: &str| Group::from_json(&format!("{{\"members\":{value}}}")).map(|g| g.members);
    assert_eq!((members("4294967295"), members("\"5\"")), (Ok(u32::MAX), Ok(5)));
    assert_eq!(members("4294967296"), Err(JsonError::Number { field: "members", why: BadNumber::TooLarge }));
}

#[test]
fn names_and_numbers_that_have_none() {
    let role = |value: &str| Member::from_json(&format!("{{\"role\":{value}}}")).map(|m| m.role);
    assert_eq!((role("\"ROLE_ADMIN\""), role("1"), role("9"), role("-2")), (Ok(1), Ok(1), Ok(9), Ok(-2)));
    let bad = Err(JsonError::Name { field: "role" });
    for value in ["\"ADMIN\"", "1.5", "3000000000", "true", "{}", "\"1\""] {
        assert_eq!(role(value), bad, "{value}");
    }
    let newer = Member { role: 9, ..Default::default() };
    assert_eq!(newer.to_json().unwrap(), r#"{"role":9}"#);
}

/// What nobody may touch: spaces, order, doubled names, numbers beyond all types.
//= proof: people-6
#[test]
fn extra_is_kept_byte_for_byte() {
    for extra in [
        "{ \"b\":1e400 ,\"a\" : 1.10, \"a\":2}",
        "0.1000",
        "\"\\u00e9\\/\"",
        "[]",
        "false",
        "123456789012345678901234567890",
    ] {
        let read = user(&format!("{{\"extra\":{extra},\"uin\":\"1\"}}")).unwrap();
        assert_eq!(read.extra, extra);
        assert_eq!(read.to_json().unwrap(), format!("{{\"uin\":\"1\",\"extra\":{extra}}}"));
    }
}

#[test]
fn extra_has_limits() {
    let bad = |why| Err(JsonError::Extra(why));
    let both = |extra: &str| {
        let written = User { extra: extra.into(), ..Default::default() }.to_json().map(drop);
        let read = user(&format!("{{\"extra\":{extra}}}")).map(drop);
        (written, read)
    };
    let nested = |n| "[".repeat(n) + &"]".repeat(n);
    assert_eq!(both(&nested(MAX_DEPTH)), (Ok(()), Ok(())));
    assert_eq!(both(&nested(MAX_DEPTH + 1)), (bad(BadExtra::TooDeep), bad(BadExtra::TooDeep)));
    let brackets = format!("\"{}\\\"{0}\"", "[".repeat(100));
    assert_eq!(both(&brackets), (Ok(()), Ok(())), "what stands in a string does not nest");
    let long = |n: usize| format!("\"{}\"", "x".repeat(n - 2));
    assert_eq!(both(&long(MAX_EXTRA)), (Ok(()), Ok(())));
    assert_eq!(both(&long(MAX_EXTRA + 1)), (bad(BadExtra::TooLarge), bad(BadExtra::TooLarge)));
    for text in ["{", "nul", "1 2", "\u{FEFF}1", "'a'"] {
        assert_eq!(both(text).0, bad(BadExtra::NotJson), "{text}");
    }
    let spaced = User { extra: " {} \n".into(), ..Default::default() };
    assert_eq!(spaced.to_json().unwrap(), r#"{"extra":{}}"#, "what surrounds it is none of it");
}

#[test]
fn unknown_fields_are_ignored_and_known_ones_stand_once() {
    let text = r#"{"zodiac":{"sign":[1,2,{"a":null}]},"uin":"5","createdMs":"x"}"#;
    assert_eq!(user(text).unwrap(), User { uin: 5, ..Default::default() });
    for text in [
        "",
        "[]",
        "{\"uin\":1",
        "{\"nick\":5}",
        "{\"uin\":1,\"uin\":2}",
        "{} {}",
        "{\"friends\":{}}",
        "{\"friends\":[[]]}",
        "{\"friends\":[null]}",
    ] {
        assert!(matches!(user(text), Err(JsonError::Syntax { line: 0..=1, .. })), "{text}");
    }
    let deep = format!("{{\"uin\":1,\"zodiac\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(user(&deep).unwrap().uin, 1, "what is ignored is not followed");
    assert_eq!(user(&" ".repeat(MAX_JSON + 1)), Err(JsonError::TooLarge));
    let friends = "{},".repeat(MAX_FRIENDS + 1);
    let crowd = format!("{{\"friends\":[{}]}}", friends.trim_end_matches(','));
    assert_eq!(user(&crowd), Err(JsonError::TooManyFriends));
}

#[test]
#[allow(deprecated)]
fn what_older_programs_write_is_read() {
    assert_eq!(user(r#"{"nickname":"Old"}"#).unwrap(), User { nick: "Old".into(), ..Default::default() });
    assert_eq!(user(r#"{"nickname":"Old","nick":"New"}"#).unwrap().nick, "New");
    let old = User { nickname: "Old".into(), ..Default::default() };
    assert_eq!(old.to_json().unwrap(), r#"{"nick":"Old"}"#);
}

#[test]
fn each_reason_reads_differently() {
    use BadExtra as X;
    use BadNumber as N;
    let numbers = [N::NoNumber, N::Negative, N::Fraction, N::Inexact, N::TooLarge];
    let all = numbers.into_iter().map(|why| JsonError::Number { field: "uin", why }).chain(
        [X::NotJson, X::TooLarge, X::TooDeep].map(JsonError::Extra).into_iter().chain([
            JsonError::TooLarge,
            JsonError::Syntax { line: 1, column: 2 },
            JsonError::Name { field: "role" },
            JsonError::TooManyFriends,
        ]),
    );
    let texts: Vec<_> = all.map(|why| why.to_string()).collect();
    assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len());
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..3u64, any::<u64>(), (1u64 << 53) - 2..(1u64 << 53) + 3]
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "\\PC{0,12}", any::<String>()]
}

/// JSON of an application's, as it may well write it.
fn anything() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just(" true".to_owned()),
        "-?[1-9][0-9]{0,30}(\\.[0-9]{1,5})?(e[0-9]{1,3})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let any = leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(" , "))),
            prop::collection::vec(("[a-b]{0,2}", inner), 0..4).prop_map(|all| {
                let all: Vec<_> = all.into_iter().map(|(k, v)| format!("\"{k}\" :{v}")).collect();
                format!("{{{}}}", all.join(","))
            }),
        ]
    });
    prop_oneof![Just(String::new()), any.prop_map(|text| text.trim().to_owned())]
}

fn friend() -> impl Strategy<Value = Friend> {
    (number(), -1..6i32, words(), any::<bool>(), number(), words(), number(), anything()).prop_map(
        |(uin, state, remark, blocked, since_ms, message, version, extra)| Friend {
            uin,
            state,
            remark,
            blocked,
            since_ms,
            message,
            version,
            extra,
        },
    )
}

/// The same, with numbers where there are strings and fit.
fn with_numbers(text: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
    for field in ["uin", "version", "created_ms"] {
        let Some(n) = value.get(field).and_then(|v| v.as_str()).and_then(|v| v.parse::<u64>().ok()) else {
            continue;
        };
        if n <= MAX_EXACT {
            value[field] = n.into();
        }
    }
    value.to_string()
}

proptest! {
    #[test]
    fn there_and_back(
        (uin, version, created_ms) in (number(), number(), number()),
        (nick, avatar, bio) in (words(), words(), words()),
        friends in prop::collection::vec(friend(), 0..4),
        extra in anything(),
    ) {
        let user = User { uin, nick, avatar, bio, friends, extra, version, created_ms, ..Default::default() };
        let text = user.to_json().unwrap();
        prop_assert_eq!(&User::from_json(&text).unwrap(), &user);
        let plain = User { extra: String::new(), friends: Vec::new(), ..user };
        let text = with_numbers(&plain.to_json().unwrap());
        prop_assert_eq!(User::from_json(&text).unwrap(), plain);
    }

    #[test]
    fn nothing_panics(text in prop_oneof![any::<String>(), "[{}\\[\\]\",:a-z0-9 .e-]{0,40}"]) {
        let _ = user(&text);
        let _ = user(&format!("{{\"extra\":{text}}}"));
        let _ = user(&format!("{{\"uin\":{text},\"friends\":[{{\"state\":{text}}}]}}"));
        let _ = User { extra: text, ..Default::default() }.to_json();
    }
}
