//! People, groups and members, as they stand on the wire.

use ntproto_proto::v2::{Friend, Group, Member, User};
use proptest::prelude::*;

/// A number of 64 bits: small, any, or around 2⁵³, where JavaScript's end.
///
/// ```
/// use ntproto_strategies::entities::number;
/// use proptest::prelude::*;
/// proptest!(|(n in number())| prop_assert_eq!(n.to_string().parse(), Ok(n)));
/// ```
pub fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..3u64, any::<u64>(), (1u64 << 53) - 2..(1u64 << 53) + 3]
}

/// A text: none, what can be shown, or anything in UTF-8.
pub fn words() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "\\PC{0,12}", any::<String>()]
}

/// JSON of an application's, with the white space, escapes, doubled names and long numbers that are in nobody's way; or none.
///
/// ```
/// use ntproto_strategies::entities::json;
/// use proptest::prelude::*;
/// proptest!(|(text in json())| prop_assert_eq!(text.trim(), &*text));
/// ```
pub fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?[1-9][0-9]{0,30}(\\.[0-9]{1,5})?(e[0-9]{1,3})?",
        "\"([a-z \u{e9}\u{1f41d}\\[{:]|\\\\[\"\\\\/nt]|\\\\u00[4-7][0-9]){0,8}\"",
    ];
    let any = leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(" , "))),
            prop::collection::vec(("[a-b]{0,2}", inner), 0..4).prop_map(|all| {
                let all: Vec<_> =
                    all.into_iter().map(|(name, value)| format!("\"{name}\" :{value}")).collect();
                format!("{{{}\n}}", all.join(","))
            }),
        ]
    });
    prop_oneof![Just(String::new()), any]
}

/// A friend: states that are known and some that are not yet.
pub fn friend() -> impl Strategy<Value = Friend> {
    (number(), -1..6i32, words(), any::<bool>(), number(), words(), number(), json()).prop_map(
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

/// A profile, with a few friends. Fields that are phased out are empty.
pub fn user() -> impl Strategy<Value = User> {
    let numbers = (number(), number(), number());
    let texts = (words(), words(), words(), json());
    (numbers, texts, prop::collection::vec(friend(), 0..4)).prop_map(
        |((uin, version, created_ms), (nick, avatar, bio, extra), friends)| User {
            uin,
            nick,
            avatar,
            bio,
            friends,
            extra,
            version,
            created_ms,
            ..Default::default()
        },
    )
}

/// A group.
pub fn group() -> impl Strategy<Value = Group> {
    let numbers = (number(), number(), number(), number());
    let small = (any::<u32>(), -1..4i32, any::<u32>(), any::<bool>(), any::<bool>());
    (numbers, small, words(), words(), json()).prop_map(
        |(
            (group, owner, created_ms, version),
            (members, join, permissions, muted, dissolved),
            name,
            notice,
            extra,
        )| {
            Group {
                group,
                name,
                notice,
                owner,
                members,
                join,
                muted,
                permissions,
                extra,
                created_ms,
                version,
                dissolved,
            }
        },
    )
}

/// A member.
pub fn member() -> impl Strategy<Value = Member> {
    (number(), -1..5i32, words(), number(), number(), number()).prop_map(
        |(uin, role, nick, joined_ms, joined_seq, muted_until_ms)| Member {
            uin,
            role,
            nick,
            joined_ms,
            joined_seq,
            muted_until_ms,
        },
    )
}
