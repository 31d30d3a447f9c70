//! The way of a message, from the device that sends it to the one that reads it: one machine on each side.
//!
//! ```text
//!  Outgoing: New → Queued ⇄ Sending → Stored → Delivered → Read     Incoming: Notified → Kept → Told → Read
//!                       ↘ Unresolved ↗      ↘ Failed
//! ```
//!
//! A client's outbox and inbox go these ways. The functions say which steps there are, so that a screen, a log and a test
//! mean the same by a word: a step that is not here is a mistake.

/// Where a message is, as its sender can know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outgoing {
    /// It was asked for and is nowhere yet.
    #[default]
    New,
    /// On the sender's disk: it is sent sooner or later.
    Queued,
    /// On its way; it may have arrived.
    Sending,
    /// Its deadline passed on its way: what became of it is being found out.
    Unresolved,
    /// Stored at the server, and routed to the inboxes of all members with that.
    Stored,
    /// A device of another member holds it.
    Delivered,
    /// Another member has read it.
    Read,
    /// It was not stored and will not be.
    Failed,
}

/// What moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutgoingStep {
    /// The local disk has it.
    Kept,
    /// It was handed to the connection.
    Sent,
    /// The connection is gone, or the server asks for it later.
    Returned,
    /// Its deadline passed.
    Expired,
    /// The server answered that it is stored, or it was met in the inbox.
    Acknowledged,
    /// The server, or the disk, will never take it.
    Refused,
    /// A delivered receipt covers it.
    Delivered,
    /// A read receipt covers it.
    Read,
}

impl Outgoing {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::New,
        Self::Queued,
        Self::Sending,
        Self::Unresolved,
        Self::Stored,
        Self::Delivered,
        Self::Read,
        Self::Failed,
    ];

    /// Where a step leads; `None` if there is no such step.
    ///
    /// ```
    /// use ntproto_core::model::lifecycle::{Outgoing, OutgoingStep};
    /// let way = [OutgoingStep::Kept, OutgoingStep::Sent, OutgoingStep::Acknowledged, OutgoingStep::Read];
    /// let end = way.into_iter().try_fold(Outgoing::New, Outgoing::step);
    /// assert_eq!(end, Some(Outgoing::Read));
    /// assert_eq!(Outgoing::Failed.step(OutgoingStep::Sent), None);
    /// ```
    #[must_use]
    pub const fn step(self, step: OutgoingStep) -> Option<Self> {
        use Outgoing as S;
        use OutgoingStep as T;
        Some(match (self, step) {
            (S::New, T::Kept) => S::Queued,
            (S::Queued | S::Sending | S::Unresolved, T::Sent) => match self {
                // Only its fate is asked for.
                S::Unresolved => S::Unresolved,
                _ => S::Sending,
            },
            (S::Sending, T::Returned) => S::Queued,
            (S::Unresolved, T::Returned) => S::Unresolved,
            // It never left.
            (S::New | S::Queued, T::Expired) => S::Failed,
            (S::Sending, T::Expired) => S::Unresolved,
            (S::Queued | S::Sending | S::Unresolved, T::Acknowledged) => S::Stored,
            (S::New | S::Queued | S::Sending | S::Unresolved, T::Refused) => S::Failed,
            (S::Stored | S::Delivered, T::Delivered) => S::Delivered,
            // Read implies delivered.
            (S::Stored | S::Delivered | S::Read, T::Read) => S::Read,
            (S::Read, T::Delivered) => S::Read,
            _ => return None,
        })
    }

    /// Whether nothing comes after it but the same again.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Read | Self::Failed)
    }
}

impl OutgoingStep {
    /// Every step.
    pub const ALL: [Self; 8] = [
        Self::Kept,
        Self::Sent,
        Self::Returned,
        Self::Expired,
        Self::Acknowledged,
        Self::Refused,
        Self::Delivered,
        Self::Read,
    ];
}

/// Where a message is on a device that receives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Incoming {
    /// The server told of it, by a push or a page.
    #[default]
    Notified,
    /// On this device's disk, together with the place in the inbox: a delivered receipt is owed.
    Kept,
    /// The application was told, and the server that it was delivered, in whatever order.
    Told,
    /// The application is done with it: it is not told again.
    Confirmed,
    /// Its user has read it, here or on another device.
    Read,
}

/// What moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IncomingStep {
    /// The transaction is durable.
    Kept,
    /// The application is told: again, after a restart.
    Told,
    /// The application confirms it.
    Confirmed,
    /// The user has read it.
    Read,
    /// The connection or the process is gone: what is not on the disk comes again.
    Lost,
}

impl Incoming {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Notified, Self::Kept, Self::Told, Self::Confirmed, Self::Read];

    /// Where a step leads; `None` if there is no such step.
    ///
    /// ```
    /// use ntproto_core::model::lifecycle::{Incoming, IncomingStep};
    /// assert_eq!(Incoming::Notified.step(IncomingStep::Told), None, "nothing is told before it is kept");
    /// ```
    #[must_use]
    pub const fn step(self, step: IncomingStep) -> Option<Self> {
        use Incoming as S;
        use IncomingStep as T;
        Some(match (self, step) {
            // It comes again by the next page: the cursor has not moved.
            (S::Notified, T::Lost) => S::Notified,
            (S::Notified, T::Kept) => S::Kept,
            (S::Kept | S::Told, T::Told) => S::Told,
            (S::Kept | S::Told, T::Lost) => S::Kept,
            (S::Told | S::Confirmed, T::Confirmed) => S::Confirmed,
            (S::Confirmed, T::Lost) => S::Confirmed,
            (S::Kept | S::Told | S::Confirmed | S::Read, T::Read) => S::Read,
            (S::Read, T::Told | T::Confirmed | T::Lost) => S::Read,
            _ => return None,
        })
    }
}

impl IncomingStep {
    /// Every step.
    pub const ALL: [Self; 5] = [Self::Kept, Self::Told, Self::Confirmed, Self::Read, Self::Lost];
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloc::string::String;
    use core::fmt::{Debug, Write as _};

    use proptest::prelude::*;

    use super::*;

    fn draw<S: Copy + Debug, T: Copy + Debug>(
        name: &str,
        states: &[S],
        steps: &[T],
        step: impl Fn(S, T) -> Option<S>,
    ) -> (String, String) {
        let mut table = String::new();
        let mut graph = alloc::format!("digraph {name} {{\n  node [shape=box]\n");
        for from in states {
            writeln!(table, "{from:?}").unwrap();
            for by in steps {
                if let Some(to) = step(*from, *by) {
                    writeln!(table, "  {:<14} → {to:?}", alloc::format!("{by:?}")).unwrap();
                    writeln!(graph, "  \"{from:?}\" -> \"{to:?}\" [label=\"{by:?}\"]").unwrap();
                }
            }
        }
        (table, graph + "}")
    }

    #[test]
    fn the_tables_and_the_graphs() {
        let (table, graph) = draw("outgoing", &Outgoing::ALL, &OutgoingStep::ALL, Outgoing::step);
        insta::assert_snapshot!("outgoing_table", table);
        insta::assert_snapshot!("outgoing_graph", graph);
        let (table, graph) = draw("incoming", &Incoming::ALL, &IncomingStep::ALL, Incoming::step);
        insta::assert_snapshot!("incoming_table", table);
        insta::assert_snapshot!("incoming_graph", graph);
    }

    proptest! {
        /// What is stored is never failed, what failed is never anything else, and nothing that was read is less than that.
        #[test]
        fn an_outcome_is_final(steps in prop::collection::vec(prop::sample::select(&OutgoingStep::ALL[..]), 0..30)) {
            let mut state = Outgoing::New;
            for step in steps {
                let Some(next) = state.step(step) else { continue };
                prop_assert!(state != Outgoing::Failed);
                if state >= Outgoing::Stored {
                    prop_assert!(next >= state && next != Outgoing::Failed);
                }
                state = next;
            }
        }
    }
}
