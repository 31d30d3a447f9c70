//! The exchanges under way, whichever way they came: numbers of the machine's, and where answers go.

use std::collections::BTreeMap;

use async_channel::Sender;
use bytes::Bytes;
use http::Response;
use ntproto_http::server::{Answer, Came, Line};
use ntproto_net::{ExchangeId as NodeExchange, HttpAnswer, HttpEvent};
use ntproto_web::{CarrierId, ExchangeId, Input};

use crate::node::Command;

/// Where the answers of an exchange go.
enum Way {
    Https(Line),
    Node(NodeExchange),
}

struct Exchange {
    way: Way,
    /// Its whole answer was given.
    answered: bool,
}

/// All of them. Numbers of HTTPS exchanges are even, the node's odd.
pub(super) struct Exchanges {
    open: BTreeMap<ExchangeId, Exchange>,
    /// The node's, by its own numbers.
    by_node: BTreeMap<NodeExchange, ExchangeId>,
    next: u64,
    commands: Sender<Command>,
}

const fn even(n: u64) -> u64 {
    n << 1
}

const fn odd(n: u64) -> u64 {
    n << 1 | 1
}

impl Exchanges {
    pub(super) const fn new(commands: Sender<Command>) -> Self {
        Self { open: BTreeMap::new(), by_node: BTreeMap::new(), next: 0, commands }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// What an HTTPS connection brings, unless the machine is done with the exchange.
    pub(super) fn came(&mut self, came: Came) -> Option<Input> {
        let of = |exchange: ntproto_http::server::ExchangeId| ExchangeId(even(exchange.0));
        let input = match came {
            Came::Head { exchange, carrier, remote, request, end, line } => {
                let exchange = of(exchange);
                self.open.insert(exchange, Exchange { way: Way::Https(line), answered: false });
                let carrier = CarrierId(even(carrier.0));
                return Some(Input::Head { exchange, carrier, remote, request, end });
            }
            Came::Data { exchange, data } => Input::Data { exchange: of(exchange), data },
            Came::End { exchange } => Input::End { exchange: of(exchange) },
            Came::Room { exchange } => Input::Room { exchange: of(exchange) },
            Came::Gone { exchange } => Input::Gone { exchange: of(exchange) },
        };
        self.known(input)
    }

    /// What the node brings of HTTP/3.
    pub(super) fn node(&mut self, node: NodeExchange, event: HttpEvent) -> Option<Input> {
        if let HttpEvent::Head { request, end, remote } = event {
            let exchange = ExchangeId(odd(self.next));
            self.next += 1;
            self.open.insert(exchange, Exchange { way: Way::Node(node), answered: false });
            self.by_node.insert(node, exchange);
            let carrier = CarrierId(odd(node.conn.0));
            return Some(Input::Head { exchange, carrier, remote, request, end });
        }
        let exchange = *self.by_node.get(&node)?;
        let input = match event {
            HttpEvent::Head { .. } => return None,
            HttpEvent::Data(data) => Input::Data { exchange, data },
            HttpEvent::End => Input::End { exchange },
            HttpEvent::Room => Input::Room { exchange },
            HttpEvent::Gone => Input::Gone { exchange },
        };
        self.known(input)
    }

    /// Nobody is gone from an exchange that was answered, and one that is over hears nothing.
    fn known(&self, input: Input) -> Option<Input> {
        let (Input::Data { exchange, .. }
        | Input::End { exchange }
        | Input::Room { exchange }
        | Input::Gone { exchange }) = &input
        else {
            return Some(input);
        };
        self.open.contains_key(exchange).then_some(input)
    }

    pub(super) fn head(&mut self, exchange: ExchangeId, head: Response<()>, end: bool) {
        self.answer(exchange, end, |way, commands| match way {
            Way::Https(line) => drop(line.send(Answer::Head(head, end))),
            Way::Node(node) => tell(commands, *node, HttpAnswer::Head { response: head, end }),
        });
    }

    pub(super) fn body(&mut self, exchange: ExchangeId, data: Bytes, end: bool) {
        self.answer(exchange, end, |way, commands| match way {
            // One that is over tells so itself.
            Way::Https(line) => drop(line.send(Answer::Data(data, end))),
            Way::Node(node) => tell(commands, *node, HttpAnswer::Data { data, end }),
        });
    }

    pub(super) fn consumed(&mut self, exchange: ExchangeId, bytes: usize) {
        self.answer(exchange, false, |way, commands| match way {
            Way::Https(line) => drop(line.send(Answer::Consumed(bytes))),
            Way::Node(node) => tell(commands, *node, HttpAnswer::Consumed(bytes)),
        });
    }

    /// Its body is wanted. Over HTTP/3 nobody waits long to hear so, and nothing is said.
    pub(super) fn go_on(&mut self, exchange: ExchangeId) {
        self.answer(exchange, false, |way, _| match way {
            Way::Https(line) => drop(line.send(Answer::Continue)),
            Way::Node(_) => {}
        });
    }

    pub(super) fn reset(&mut self, exchange: ExchangeId) {
        let Some(open) = self.open.get(&exchange) else { return };
        match &open.way {
            Way::Https(line) => drop(line.send(Answer::Reset)),
            Way::Node(node) if open.answered => tell(&self.commands, *node, HttpAnswer::Enough),
            Way::Node(node) => tell(&self.commands, *node, HttpAnswer::Reset),
        }
    }

    /// The machine is done with it.
    pub(super) fn over(&mut self, exchange: ExchangeId) {
        if let Some(Exchange { way: Way::Node(node), .. }) = self.open.remove(&exchange) {
            self.by_node.remove(&node);
        }
    }

    fn answer(&mut self, exchange: ExchangeId, end: bool, give: impl FnOnce(&Way, &Sender<Command>)) {
        if let Some(open) = self.open.get_mut(&exchange) {
            open.answered |= end;
            give(&open.way, &self.commands);
        }
    }
}

fn tell(commands: &Sender<Command>, exchange: NodeExchange, answer: HttpAnswer) {
    // A node that has ended has no exchanges.
    let _ = commands.try_send(Command::Http(exchange, answer));
}
