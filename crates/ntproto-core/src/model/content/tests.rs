use super::*;
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use ntproto_proto::v2::{Reaction, Reply};
use proptest::prelude::*;

fn mention(uin: u64, start: u32, length: u32) -> Mention {
    Mention { uin, start, length }
}

fn text(text: &str) -> Content {
    Content { text: text.into(), ..Default::default() }
}

fn file(name: &str) -> Attachment {
    let (file, sha256) = (vec![1; 16].into(), vec![2; 32].into());
    Attachment { file, key: vec![3; 32].into(), size: 4, sha256, name: name.into(), mime: "image/png".into() }
}

fn files<const N: usize>(attachments: [Attachment; N]) -> Content {
    Content { attachments: attachments.into(), ..Default::default() }
}

#[test]
fn files_need_no_text_and_names_are_no_paths() {
    let sent = files([file("a b.png"), Attachment { key: Bytes::new(), mime: String::new(), ..file("ü") }]);
    assert_eq!(decode(&encode(&sent).unwrap()), Body::Content(sent.clone()));
    let bad = ["", ".", "..", "a/b", "..\\b", "c:", "a\0", "a\u{85}b", &"x".repeat(MAX_FILE_NAME + 1)];
    for name in bad {
        let Body::Content(shown) = decode(&raw(&Content { attachments: vec![file(name)], ..text("a") }))
        else {
            panic!()
        };
        assert_eq!(shown, text("a"), "{name:?}");
        assert_eq!(decode(&raw(&files([file(name)]))), Body::Unknown);
    }
    let shown = alloc::format!("{:?}", sent);
    assert!(!shown.contains("a b.png") && !shown.contains("3, 3"), "{shown}");
}

/// As a client would that checks nothing.
fn raw(content: &Content) -> Vec<u8> {
    let mut body = vec![MARK];
    content.encode(&mut body).unwrap();
    body
}

#[test]
fn what_is_not_ours_is_text_or_nothing() {
    assert_eq!(decode(b""), Body::Text(""));
    assert_eq!(decode("é".as_bytes()), Body::Text("é"));
    assert_eq!(decode(&[0xFF]), Body::Unknown);
    assert_eq!(decode(&[MARK]), Body::Unknown, "neither text nor reaction");
}

#[test]
fn of_what_breaks_a_rule_the_rest_is_shown() {
    let content = Content {
        mentions: vec![
            mention(1, 0, 2),
            mention(2, 1, 2),
            mention(3, 2, 1),
            mention(4, 3, 1),
            mention(5, 0, 0),
        ],
        reply: Some(Reply { conv_seq: 7, sender: 1, excerpt: "é".repeat(MAX_EXCERPT + 1) }),
        ..text("abc")
    };
    let Body::Content(shown) = decode(&raw(&content)) else { panic!() };
    assert_eq!(shown.mentions, [mention(1, 0, 2), mention(3, 2, 1)]);
    assert_eq!(shown.reply.unwrap().excerpt, "é".repeat(MAX_EXCERPT));

    let reaction = Reaction { conv_seq: 7, text: "👍".into(), remove: false };
    let Body::Content(shown) = decode(&raw(&Content { reaction: Some(reaction.clone()), ..content })) else {
        panic!()
    };
    assert_eq!(shown, Content { reaction: Some(reaction), ..Default::default() });
}

#[test]
fn what_is_refused_and_why() {
    let reaction = |conv_seq, len| Content {
        reaction: Some(Reaction { conv_seq, text: "x".repeat(len), remove: true }),
        ..Default::default()
    };
    let reply = |conv_seq, len| Content {
        reply: Some(Reply { conv_seq, sender: 0, excerpt: "x".repeat(len) }),
        ..text("a")
    };
    let cases = [
        (text(""), BadContent::Empty),
        (text(&"x".repeat(MAX_BODY)), BadContent::TooLarge),
        (Content { mentions: vec![mention(1, 0, 2)], ..text("a") }, BadContent::Mentions),
        (Content { mentions: vec![mention(1, u32::MAX, u32::MAX)], ..text("a") }, BadContent::Mentions),
        (Content { mentions: vec![mention(1, 1, 1), mention(1, 0, 1)], ..text("ab") }, BadContent::Mentions),
        (Content { mentions: vec![mention(1, 0, 1); MAX_MENTIONS + 1], ..text("ab") }, BadContent::Mentions),
        (reply(0, 1), BadContent::Reply),
        (reply(1, MAX_EXCERPT + 1), BadContent::Reply),
        (Content { attachments: vec![file("a"); MAX_ATTACHMENTS + 1], ..text("a") }, BadContent::Attachments),
        (files([file("../a")]), BadContent::Attachments),
        (files([Attachment { key: vec![1; 31].into(), ..file("a") }]), BadContent::Attachments),
        (files([Attachment { file: vec![1; 15].into(), ..file("a") }]), BadContent::Attachments),
        (files([Attachment { sha256: vec![].into(), ..file("a") }]), BadContent::Attachments),
        (files([Attachment { mime: "a\u{1b}".into(), ..file("a") }]), BadContent::Attachments),
        (reaction(0, 1), BadContent::Reaction),
        (reaction(1, 0), BadContent::Reaction),
        (reaction(1, MAX_REACTION + 1), BadContent::Reaction),
        (Content { text: "a".into(), ..reaction(1, 1) }, BadContent::Reaction),
    ];
    let mut texts = BTreeSet::new();
    for (content, why) in cases {
        assert_eq!(encode(&content), Err(why));
        texts.insert(why.to_string());
    }
    assert_eq!(texts.len(), 6);
    assert!(encode(&reaction(1, MAX_REACTION)).is_ok() && encode(&reply(1, MAX_EXCERPT)).is_ok());
}

fn content() -> impl Strategy<Value = Content> {
    let mentions =
        prop::collection::vec((0..3u64, 0..8u32, 0..4u32).prop_map(|(u, s, n)| mention(u, s, n)), 0..4);
    let reply = (0..3u64, any::<u64>(), "\\PC{0,250}");
    let reply = reply.prop_map(|(conv_seq, sender, excerpt)| Reply { conv_seq, sender, excerpt });
    let reaction = (0..3u64, "\\PC{0,20}", any::<bool>());
    let reaction = reaction.prop_map(|(conv_seq, text, remove)| Reaction { conv_seq, text, remove });
    let attachments = prop::collection::vec("[a./é]{0,4}".prop_map(|name| file(&name)), 0..3);
    ("[aé李🐝]{0,8}", mentions, prop::option::of(reply), attachments, prop::option::weighted(0.2, reaction))
        .prop_map(|(text, mentions, reply, attachments, reaction)| Content {
            text,
            mentions,
            reply,
            reaction,
            attachments,
        })
}

proptest! {
    #[test]
    fn what_is_sent_is_what_is_shown(content in content()) {
        if let Ok(body) = encode(&content) {
            prop_assert!(body.len() <= MAX_BODY && str::from_utf8(&body).is_err());
            prop_assert_eq!(decode(&body), Body::Content(content));
        }
    }

    /// Whatever others send, what is shown of it could have been sent: every mention stands in the text.
    //= proof: content-1
    //= proof: content-2
    #[test]
    fn what_is_shown_keeps_the_rules(content in content(), bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut marked = vec![MARK];
        marked.extend(&bytes);
        for body in [raw(&content), bytes, marked] {
            if let Body::Content(shown) = decode(&body) {
                prop_assert!(encode(&shown).is_ok());
                prop_assert!(shown.attachments.iter().all(|file| !file.name.contains('/')));
                for mention in &shown.mentions {
                    prop_assert!(!shown.text[span(&shown.text, mention).unwrap()].is_empty());
                }
            }
        }
    }
}
