//! Whatever the size of the terminal, whatever is typed.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn never_panics(
        sizes in prop::collection::vec((1..90u16, 1..30u16), 1..5),
        texts in prop::collection::vec("\\PC{0,60}", 0..8),
        keys in prop::collection::vec(0..10u8, 0..20),
    ) {
        let mut chat = Chat::online(40, 10);
        for (seq, text) in texts.iter().enumerate() {
            chat.receive(seq as u64 + 1, text);
            chat.msg(Msg::Paste(text.clone()));
        }
        for (width, height) in sizes {
            chat.msg(Msg::Resize(width, height));
            for key in &keys {
                match key {
                    0 => chat.key(KeyCode::PageUp),
                    1 => chat.key(KeyCode::PageDown),
                    2 => chat.key(KeyCode::Left),
                    3 => chat.key(KeyCode::Up),
                    4 => chat.key(KeyCode::F(1)),
                    5 => chat.key(KeyCode::Enter),
                    6 => chat.news(News::Link(Link::Offline { why: "x".repeat(200), retry_at_ms: T0 + 10 })),
                    7 => chat.key(KeyCode::F(2)),
                    8 => chat.ctrl('n'),
                    _ => chat.msg(Msg::Wheel { up: true }),
                }
            }
            let _ = chat.screen();
        }
    }
}
