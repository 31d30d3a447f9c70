//! The key schedule: known answers (computed apart from this code, with Python's hmac and hashlib), and what must differ.

use std::collections::BTreeSet;

use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::schedule::{Direction, KeySchedule, NoiseSplit, rekey};
use ntproto_core::crypto::secret::Secret;
use ntproto_core::wire::channel::Channel;

use crate::{PROVIDERS, hex_array};

/// Each channel's number, direction, key and IV, for k1 = 01…, k2 = 02…, h = 03…, QUIC with exporter 04….
const CHANNELS: &[(Direction, Channel, &str, &str)] = &[
    (
        Direction::ClientToServer,
        Channel::Control,
        "520f8b28d85cb738cb8a755a2ce33daf9074243bb6712a749e1b87e0245ad6fd",
        "dc62e869e0f1f78400d3985b",
    ),
    (
        Direction::ClientToServer,
        Channel::Message,
        "6108d14ab5072926d85f198f73aef3148fda31707c90a2c8b85056bd244f4058",
        "4a4f6cb3832103cd3d9d7d0e",
    ),
    (
        Direction::ClientToServer,
        Channel::Sync,
        "381476455fb792dbe8407fdf5df33e6a08fd1a6e320765db79f82c8a6ae3b8d3",
        "ca0c7d6beceece7d4e9efcf6",
    ),
    (
        Direction::ClientToServer,
        Channel::Media,
        "d87fd82051402a440bec2821cccd83c5ca8c17399151e012700d0a56b9e8f80b",
        "4df2473588531a2bb78d41f9",
    ),
    (
        Direction::ServerToClient,
        Channel::Control,
        "6a6eb2113a8bc72743553dfd8c3bec91dab070ef2adc02ecb2ce27bd1296db5a",
        "0ec06bab837d1ba9ca2522e7",
    ),
    (
        Direction::ServerToClient,
        Channel::Message,
        "24a288d88248ce54998e787037833343c9ba998ee044422c474a66034bb50327",
        "2e54fd991dad3b203fbbac95",
    ),
    (
        Direction::ServerToClient,
        Channel::Sync,
        "b10437c01d46e044510c0357275b6eed9c988d75b1bb820371f30d3b944e392c",
        "e9747bb9266c860d0e4d2d2f",
    ),
    (
        Direction::ServerToClient,
        Channel::Media,
        "09458fae00534a5b9ca4a27e8558c3ed1b87fa6379f7f2566a0b720b2cf67adb",
        "c69f696057b262bf5b24066e",
    ),
];
const SESSION_KEY: &str = "397615d9c799dc80cef150004cea9ee20f5992637d28d5a1b5dce292deaac94a";
const EXPORTER: &str = "0868ade45a676acb79a787d51703147831e8073a7950287e258517daa36cec59";
const HTTP_TOKEN: &str = "5f52c9ec7e0e6479b886857d96831ab13216f4e58241534adfe26b1f468b0b87";
/// The key after the first key of (client to server, CONTROL), and the one after that.
const REKEYED: [&str; 2] = [
    "d20bf11b97e4e4ba70d5a15943489bde688fc49db5cf5ffc300ef6b943989a5b",
    "ccabd09900d53414ace43f014ff0edb69c8e1a5afd1d993cde9b44d6b88cf4a4",
];

fn split() -> NoiseSplit {
    NoiseSplit { k1: Secret::new([1; 32]), k2: Secret::new([2; 32]), h: [3; 32] }
}

const BINDING: Binding = Binding { transport: TransportId::Quic, exporter: [4; 32] };

/// Every output of a schedule, keys and IVs alike.
fn outputs(provider: &'static dyn CryptoProvider, split: &NoiseSplit, binding: &Binding) -> Vec<Vec<u8>> {
    let schedule = KeySchedule::new(provider, split, binding);
    let mut all = vec![schedule.session_key().expose().to_vec(), schedule.exporter().expose().to_vec()];
    all.push(schedule.http_token().expose().to_vec());
    for direction in [Direction::ClientToServer, Direction::ServerToClient] {
        for channel in Channel::ALL {
            let (key, iv) = schedule.channel_key(direction, channel);
            all.push(key.expose().to_vec());
            all.push(iv.to_vec());
        }
    }
    all
}

#[test]
fn known_answers() {
    for (name, provider) in PROVIDERS {
        let schedule = KeySchedule::new(*provider, &split(), &BINDING);
        for &(direction, channel, key, iv) in CHANNELS {
            let (got_key, got_iv) = schedule.channel_key(direction, channel);
            assert_eq!(*got_key.expose(), hex_array(key), "{name}: {direction:?} {channel:?}");
            assert_eq!(got_iv, hex_array(iv), "{name}: {direction:?} {channel:?}");
        }
        assert_eq!(CHANNELS.len(), 8);
        assert_eq!(*schedule.session_key().expose(), hex_array(SESSION_KEY), "{name}");
        assert_eq!(*schedule.exporter().expose(), hex_array(EXPORTER), "{name}");
        assert_eq!(*schedule.http_token().expose(), hex_array(HTTP_TOKEN), "{name}");
        let (first, _) = schedule.channel_key(Direction::ClientToServer, Channel::Control);
        let second = rekey(*provider, &first);
        assert_eq!(*second.expose(), hex_array(REKEYED[0]), "{name}");
        assert_eq!(*rekey(*provider, &second).expose(), hex_array(REKEYED[1]), "{name}");
    }
}

/// No output equals another, and every input changes every output.
#[test]
fn everything_is_bound() {
    for (name, provider) in PROVIDERS {
        let with = |k1, k2, h, transport, exporter| {
            let split = NoiseSplit { k1: Secret::new(k1), k2: Secret::new(k2), h };
            outputs(*provider, &split, &Binding { transport, exporter })
        };
        let (one, two, three, four) = ([1; 32], [2; 32], [3; 32], [4; 32]);
        let mut all = Vec::new();
        all.extend(with(one, two, three, TransportId::Quic, four));
        all.extend(with(two, one, three, TransportId::Quic, four));
        all.extend(with([9; 32], two, three, TransportId::Quic, four));
        all.extend(with(one, [9; 32], three, TransportId::Quic, four));
        all.extend(with(one, two, [9; 32], TransportId::Quic, four));
        all.extend(with(one, two, three, TransportId::Tcp, four));
        all.extend(with(one, two, three, TransportId::Web, four));
        all.extend(with(one, two, three, TransportId::Quic, [0; 32]));
        assert_eq!(all.len(), 8 * 19);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{name}");
    }
}

#[test]
fn directions_are_opposite() {
    assert_eq!(Direction::ClientToServer.opposite(), Direction::ServerToClient);
    assert_eq!(Direction::ServerToClient.opposite(), Direction::ClientToServer);
}
