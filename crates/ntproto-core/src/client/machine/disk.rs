//! What is written to the local disk, and what its completion sets free.

use super::{Client, Op};
use crate::client::{
    Apply, ClientEvent, ClientTxn, Failure, OpId, Output, RequestId, SendOutcome, Stopped, StoreError,
};
use crate::time::Now;

impl Client {
    pub(super) fn store(&mut self, txn: ClientTxn, op: Op) {
        self.last_op += 1;
        let id = OpId(self.last_op);
        self.ops.insert(id, op);
        self.out.push_back(Output::Store(id, txn));
    }

    pub(super) fn store_done(&mut self, now: Now, id: OpId, result: Result<(), StoreError>) {
        let Some(op) = self.ops.remove(&id) else { return };
        match (op, result) {
            (Op::Enqueue(order), Ok(())) => {
                if let Some(client_msg_id) = self.outbox.stored(order) {
                    self.event(ClientEvent::Queued { request: RequestId(order), client_msg_id });
                }
            }
            (Op::Enqueue(order), Err(e @ StoreError::Full)) => {
                let settled = self.outbox.settle(order, SendOutcome::Failed(Failure::Store(e)));
                self.outbox.remove(order);
                if let Some(settled) = settled {
                    let (request, client_msg_id) = (RequestId(order), settled.client_msg_id);
                    self.event(ClientEvent::SendFailed { request, client_msg_id, why: Failure::Store(e) });
                }
            }
            (Op::Apply(apply), Ok(())) => self.applied(apply),
            (Op::Read(reads), Ok(())) => {
                self.reading = false;
                self.inbox.reads_stored(&reads);
            }
            // What was taken over is not on the disk, or what was refused may be: only a restart from
            // the disk is safe.
            (_, Err(e)) => self.stop(now, Stopped::Store(e)),
            (Op::Other, Ok(())) => {}
        }
    }

    pub(super) fn applied(&mut self, apply: Apply) {
        self.applying = false;
        //= spec: messages-16
        self.inbox.applied(&apply);
        if apply.skipped {
            self.event(ClientEvent::Skipped);
        }
        for inbound in apply.messages {
            self.event(ClientEvent::Message(inbound));
        }
        for receipt in apply.receipts {
            self.event(ClientEvent::Receipt(receipt));
        }
        if let Some(profile) = apply.profile {
            self.event(ClientEvent::Profile(*profile));
        }
        for friend in apply.friends {
            self.event(ClientEvent::Friend(friend));
        }
        for group in apply.groups {
            self.event(ClientEvent::Group(group));
        }
        for gap in apply.gaps {
            self.event(ClientEvent::Gap(gap));
        }
        for (_, packet) in apply.others {
            self.event(ClientEvent::Other(packet));
        }
        for settled in apply.settled {
            self.outbox.remove(settled.order);
            let (request, client_msg_id) = (RequestId(settled.order), settled.client_msg_id);
            self.event(match settled.outcome {
                SendOutcome::Stored { conversation, conv_seq, stored_ms } => {
                    ClientEvent::Sent { request, client_msg_id, conversation, conv_seq, stored_ms }
                }
                SendOutcome::Failed(why) => ClientEvent::SendFailed { request, client_msg_id, why },
            });
        }
    }
}
