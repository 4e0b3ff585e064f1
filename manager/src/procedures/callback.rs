//! The end of a job as a call of a procedure: one argument, `event`, has what the body of a webhook has.

use std::time::Duration;

use redpoll_common::session::StopReason;
use redpoll_common::wire::{Fault, Raw};
use redpoll_manager_core::jobs::NotTaken;
use redpoll_net::service::detached_call;
use redpoll_net::transport::PeerInfo;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Offering, calls};

/// How much longer than its grace a procedure that is stopped is waited for, before it is killed.
const MARGIN: Duration = Duration::from_secs(1);

impl Offering {
    /// Whether a job may name this as its callback.
    pub fn takes_callbacks(&self, name: &str) -> bool {
        self.current.load().find(name).is_some_and(|entry| entry.manifest().callback)
    }

    /// Every name that a job may give as its callback.
    pub fn callbacks(&self) -> Vec<String> {
        let offered = self.current.load();
        offered.entries.keys().filter(|name| self.takes_callbacks(name)).cloned().collect()
    }

    /// Calls a procedure with the body of a delivery; done when it has a result. Stopped at the deadline.
    ///
    /// # Errors
    /// Why it was not taken, for a person.
    pub(crate) async fn deliver(&self, name: &str, body: &[u8], deadline: Instant) -> Result<(), NotTaken> {
        let offered = self.current.load_full();
        let entry = calls::entry(&offered, name).map_err(|fault| said(name, &fault))?;
        if !entry.manifest().callback {
            return Err(format!("{name} on the manager does not say callback = true").into());
        }
        let event: serde_json::Value =
            serde_json::from_slice(body).map_err(|error| format!("the event cannot be read: {error}"))?;
        let kwargs = Raw::encode(&serde_json::json!({ "event": event }))
            .map_err(|error| format!("the event cannot be an argument: {error}"))?;
        let caller = PeerInfo {
            identity: self.own.clone(),
            address: "callback".into(),
            ip: None,
            speaks_rp1: true,
            certificate: None,
        };
        let (call, mut output, stop) = detached_call(caller, name, Raw::empty_array(), kwargs);
        let mut answer = Box::pin(calls::run(offered, call));
        // what it gives beside its result is nobody's; taken, so that it need not wait
        let both = async {
            let mut more = true;
            loop {
                tokio::select! {
                    biased; // the answer is what is waited for
                    answer = &mut answer => return answer,
                    item = output.next(), if more => more = item.is_some(),
                }
            }
        };
        if let Ok(answer) = timeout_at(deadline, both).await {
            return answer.map(drop).map_err(|fault| said(name, &fault));
        }
        stop.stop(StopReason::TimedOut);
        // it ends its program in order; dropped, the program is killed
        let ended = timeout(self.setting.limits.grace + MARGIN, answer).await;
        let how = if ended.is_ok() { "was ended" } else { "was killed" };
        Err(format!("{name} did not end in time and {how}").into())
    }
}

/// The code is the manager's, the rest may be of what the procedure raised.
fn said(name: &str, fault: &Fault) -> NotTaken {
    let class = fault.class.as_deref().map(|class| format!("{class}: ")).unwrap_or_default();
    let said = Some(format!("{class}{}", fault.message));
    NotTaken { why: format!("{name}: {}", fault.code.as_str()), said }
}
