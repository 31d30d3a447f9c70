//! A client on bare metal: no operating system, no std, one loop (docs/embedding.md).
//!
//! Behind the serial port is whatever makes a TCP connection of it: a modem, a network co-processor, or QEMU.
//! The device signs in as an account of its own where registration is open, and answers each message that it gets.
//!
//! What it must know of its server, and the seed all its randomness grows from, stand in flash: see [`board::Provision`].
#![no_std]
#![no_main]

extern crate alloc;

mod board;

use alloc::vec::Vec;
use core::mem::MaybeUninit;

use cortex_m_rt::entry;
use embedded_alloc::LlffHeap;
use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::client::{Client, ClientConfig, ClientEvent, Command, Credential, Input, Output, Saved};
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::ChannelSet;
use ntproto_core::wire::demux::Demux;

use board::{Board, Provision};

/// What the client may use beside its stack. A frame is held whole, so this bounds the largest that can come.
const HEAP: usize = 160 * 1024;
/// What is written at once.
const TX: usize = 4096;
/// What is read at once.
const RX: usize = 256;

#[global_allocator]
static ALLOCATOR: LlffHeap = LlffHeap::empty();

#[entry]
fn main() -> ! {
    static mut MEMORY: [MaybeUninit<u8>; HEAP] = [MaybeUninit::uninit(); HEAP];
    // SAFETY: `entry` gives out `MEMORY` once, and nothing was allocated yet.
    unsafe { ALLOCATOR.init(MEMORY.as_mut_ptr() as usize, HEAP) };
    let provision = Provision::read();
    let mut board = Board::take(provision.time);

    let mut rng = Rng::new(provision.seed);
    let keys = DeviceKeys::generate(&mut rng, &RUSTCRYPTO);
    let config = ClientConfig {
        enrol: Some(Credential::Open),
        device_name: "cortex-m4".into(),
        transports: Vec::from([TransportId::Tcp]),
        ..ClientConfig::new(&RUSTCRYPTO, provision.server_key, keys)
    };
    let mut client = Client::new(config, Saved::default(), rng.array(), board.now());
    let mut demux = Demux::new();
    let mut tx = TxBuf::new(TX);
    let mut rx = [0; RX];
    // A client that was just made is not running, so it can be started.
    let _ = client.call(board.now(), Command::Start);
    loop {
        let now = board.now();
        match client.poll_output(now, Some(&mut tx)) {
            Output::Connect { .. } => {
                demux = Demux::new();
                let binding = Binding { transport: TransportId::Tcp, exporter: [0; 32] };
                client.handle(now, Input::Connected(binding));
                client.handle(now, Input::Writable(ChannelSet::ALL));
            }
            Output::Transmit { .. } => {
                board.send(tx.as_slice());
                tx.clear();
            }
            // The disk of this device is its memory: what is in it lasts until a reset, and so does its account.
            Output::Store(op, _) => client.handle(now, Input::StoreDone(op, Ok(()))),
            Output::Event(event) => tell(&mut client, &mut board, event),
            Output::Disconnect(_) => client.handle(now, Input::Disconnected),
            Output::Wait { at, .. } => {
                let count = board.receive(&mut rx);
                let mut data = &rx[..count];
                while let Some((channel, piece)) = demux.next(&mut data) {
                    client.handle(now, Input::Bytes { channel, data: &piece });
                }
                if at.is_some_and(|at| now.mono >= at) {
                    client.handle(now, Input::Timeout);
                } else if count == 0 {
                    board.sleep();
                }
            }
        }
    }
}

/// The application: an echo.
fn tell(client: &mut Client, board: &mut Board, event: ClientEvent) {
    let now = board.now();
    match event {
        ClientEvent::Online { uin, .. } => board.log("online as", uin.0),
        ClientEvent::Message(inbound) => {
            let own = client.identity().is_some_and(|(uin, _)| uin.0 == inbound.message.sender);
            if !own {
                board.log("message", inbound.position);
                let mut body = Vec::from(*b"echo: ");
                body.extend_from_slice(&inbound.message.body);
                let answer = Command::Send {
                    trace: None,
                    conversation: inbound.conversation,
                    client_msg_id: None,
                    body: body.into(),
                    deadline: None,
                    action: ntproto_core::client::SendAction::Message,
                };
                if client.call(now, answer).is_err() {
                    board.log("no room to answer", inbound.position);
                }
            }
            // Refused only when the client has stopped.
            let _ = client.call(now, Command::Confirm(inbound.position));
        }
        ClientEvent::Sent { conv_seq, .. } => board.log("stored as", conv_seq),
        ClientEvent::Stopped(_) => board.halt("stopped"),
        _ => {}
    }
}
