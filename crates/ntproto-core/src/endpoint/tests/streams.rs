//! Streams cut, damaged and made up.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Cut anywhere, the stream means the same.
    #[test]
    fn pieces_of_any_size(cuts in prop::collection::vec(1..40usize, 1..50)) {
        let mut pair = Pair::new();
        let mut cuts = cuts.into_iter().cycle();
        let mut deliver = |server: &mut ServerEndpoint, now, channel, mut data: &[u8]| {
            while !data.is_empty() {
                let (piece, rest) = data.split_at(cuts.next().unwrap().min(data.len()));
                server.handle(now, Input::Bytes { channel, data: piece });
                data = rest;
            }
        };
        for (channel, data) in pair.client_sends() {
            deliver(&mut pair.server, pair.now, channel, &data);
        }
        pair.server_sends();
        pair.server.call(pair.now, &mut pair.rng, server::Command::Grant(grant())).unwrap();
        for (channel, data) in pair.server_sends() {
            pair.client.handle(pair.now, Input::Bytes { channel, data: &data });
        }
        for n in 0..5u8 {
            pair.client.call(pair.now, client::Command::Send(Channel::Message, packet(Kind::Push, &[n; 300]))).unwrap();
        }
        pair.server_events.clear();
        for (channel, data) in pair.client_sends() {
            deliver(&mut pair.server, pair.now, channel, &data);
        }
        pair.server_sends();
        prop_assert_eq!(pair.server_events.len(), 5);
    }

    /// One damaged bit anywhere in an open connection, checksum repaired: the connection ends with the
    /// one error, nothing of the frame is seen, the end is told once.
    //= proof: sealed-5
    #[test]
    fn damage_ends_it(bit in any::<prop::sample::Index>(), body in prop::collection::vec(any::<u8>(), 0..50)) {
        let mut pair = Pair::open();
        pair.client.call(pair.now, client::Command::Send(Channel::Message, packet(Kind::Push, &body))).unwrap();
        let (channel, mut data) = pair.client_sends().remove(0);
        data.truncate(data.len() - TRAILER_LEN);
        let bit = bit.index(data.len() * 8);
        data[bit / 8] ^= 1 << (bit % 8);
        append_checksum(&mut data, 0);
        pair.server.handle(pair.now, Input::Bytes { channel, data: &data });
        pair.server.handle(pair.now, Input::Bytes { channel, data: &data });
        pair.server_sends();
        // A damaged length may leave the server waiting for the rest of a longer frame.
        if (4..8).contains(&(bit / 8)) && pair.server_closed().is_empty() {
            prop_assert!(pair.server_events.is_empty());
        } else {
            let closed = pair.server_closed();
            prop_assert_eq!(closed.len(), 1);
            let told = matches!(closed[0], Closed::PeerError(PeerError::Forged | PeerError::Frame(_)));
            prop_assert!(told, "{:?}", closed);
            prop_assert_eq!(pair.server_events.len(), 1);
            let known = bit / 8 == 0 || (4..8).contains(&(bit / 8)) || bit / 8 == 3;
            prop_assert!(known || closed[0].code() == ErrorCode::Protocol);
        }
    }

    /// Whatever arrives, on either side, in any phase: no panic, at most one end, bounded memory.
    #[test]
    fn noise(inputs in prop::collection::vec((0..4u8, prop::collection::vec(any::<u8>(), 0..100), any::<bool>()), 0..20), open in any::<bool>()) {
        let mut pair = if open { Pair::open() } else { Pair::new() };
        for (n, (kind, data, to_server)) in inputs.into_iter().enumerate() {
            let channel = Channel::ALL[usize::from(kind)];
            let mut framed = Vec::new();
            encode(data.first().copied().unwrap_or(1) % 40, Flags(0), channel, n as u64, &data, &mut framed);
            let data = if n % 2 == 0 { &data } else { &framed };
            if to_server {
                pair.server.handle(pair.now, Input::Bytes { channel, data });
            } else {
                pair.client.handle(pair.now, Input::Bytes { channel, data });
            }
            pair.client_sends();
            pair.server_sends();
        }
        prop_assert!(pair.client_closed().len() <= 1);
        prop_assert!(pair.server_closed().len() <= 1);
    }
}
