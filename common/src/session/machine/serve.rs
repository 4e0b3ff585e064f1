//! What we owe the peer for its requests: values, progress, and one answer.

use super::super::chain;
use super::super::outbox::Class;
use super::{EncodeError, Session, ValueError, class_of};
use crate::ids::RequestId;
use crate::wire::codec::{MAX_CODE_LEN, within};
use crate::wire::flight::{Flight, Progress};
use crate::wire::{Fault, FaultCode, Message, Raw, Response};

/// Characters that are left of the text of a fault that exceeds the frame limit.
const CUT_MESSAGE: usize = 1024;

impl<T> Session<T> {
    /// Answers a request of the peer. A result that exceeds the frame limit becomes the fault `too_large`, a fault
    /// that does loses its details.
    ///
    /// Returns false when no answer was owed: it was answered before, or the session ended.
    pub fn respond(&mut self, id: &RequestId, result: Result<Raw, Fault>) -> bool {
        let Some(owed) = self.inbound.finish(id) else { return false };
        let response = Message::Response(Response { id: id.clone(), result });
        let payload = self.encode(&response).or_else(|error| {
            let Message::Response(Response { id, result }) = response else { return Err(error) };
            self.encode(&Message::Response(Response { id, result: Err(fitting(result, &error)) }))
        });
        if let Ok(payload) = payload {
            let class = if owed.has_items { Class::Items } else { class_of(&payload) };
            self.outbox.push(class, payload);
        }
        true
    }

    /// Refuses a request that nothing ran of. It is the peer's own doing, so it counts against it.
    pub(super) fn refuse(&mut self, id: RequestId, fault: Fault) {
        let response = Message::Response(Response { id, result: Err(fault) });
        if let Ok(payload) = self.encode(&response) {
            self.send_echo(payload);
        }
    }

    /// Sends a value of a request of the peer. To a peer of protocol 0, which knows none, nothing is sent.
    ///
    /// # Errors
    /// [`ValueError`]; then nothing was sent, no credit was spent and the number was not used.
    pub fn value(&mut self, id: &RequestId, data: Raw) -> Result<(), ValueError> {
        let limit = self.terms.frame_limit();
        let oldest = self.terms.is_oldest();
        let owed = self.inbound.get_mut(id).ok_or(ValueError::Ended)?;
        if oldest {
            return Ok(());
        }
        let (len, n) = (data.len(), owed.next_value);
        let value = Flight::Value { request: id.clone(), n, data };
        let payload = within(value.payload(), limit).map_err(ValueError::Unacceptable)?;
        if !owed.credit.spend(len) {
            return Err(ValueError::NoCredit { len });
        }
        owed.next_value += 1;
        owed.has_items = true;
        self.outbox.push(Class::Items, payload);
        Ok(())
    }

    /// Sends how far a request of the peer is. Progress that the peer would not accept, and what nobody waits for, is
    /// dropped.
    pub fn progress(&mut self, id: &RequestId, progress: Progress) {
        let limit = self.terms.frame_limit();
        let oldest = self.terms.is_oldest();
        let Some(owed) = self.inbound.get_mut(id) else { return };
        let progress = Flight::Progress { request: id.clone(), progress };
        if !oldest && let Ok(payload) = within(progress.payload(), limit) {
            owed.has_items = true;
            self.outbox.push(Class::Items, payload);
        }
    }
}

/// What is said in place of an answer that the peer would not accept.
fn fitting(result: Result<Raw, Fault>, error: &EncodeError) -> Fault {
    let why = chain(error);
    match result {
        Ok(_) => Fault::new(FaultCode::TooLarge, format!("the answer does not fit: {why}")),
        Err(fault) => {
            let text: String = fault.message.chars().take(CUT_MESSAGE).collect();
            let code =
                if fault.code.as_str().len() > MAX_CODE_LEN { FaultCode::Internal } else { fault.code };
            Fault::new(code, format!("{text} (details left out: {why})"))
        }
    }
}
