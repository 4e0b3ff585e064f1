//! The secrets of the calls that a worker had: what it writes to its standard error about one of them may come when it has another.

use std::collections::VecDeque;
use std::sync::Arc;

use redpoll_common::wire::{Fault, Raw};
use redpoll_common::words::Words;
use redpoll_net::service::Output;

/// Calls with secrets whose secrets are remembered by a worker, beside those of the call that it has.
const MAX_CALLS: usize = 8;

/// The secrets of the last calls, those of the newest first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    calls: VecDeque<Arc<Words>>,
}

impl Recent {
    /// A call begins: masks in its standard error what those before had, and remembers what it has. Gives what is masked there.
    pub(super) fn begin(&mut self, output: &Output) -> Late {
        let own = output.words();
        let mut words = Words::clone(own);
        // the oldest are the first for which there is no room: too many would hide everything
        let _all = self.calls.iter().all(|before| words.extend_within(before));
        if !own.is_empty() {
            self.calls.retain(|before| before != own);
            self.calls.push_front(own.clone());
            self.calls.truncate(MAX_CALLS);
        }
        if words != **own {
            output.mask_stderr(words.clone());
        }
        Late(words)
    }
}

/// What is masked in the standard error of a call.
pub(super) struct Late(Words);

impl Late {
    /// The end of a call whose trace may be the end of its standard error.
    pub(super) fn end(&self, end: Result<Raw, Fault>) -> Result<Raw, Fault> {
        end.map_err(|fault| Fault { trace: fault.trace.map(|trace| self.0.text(&trace)), ..fault })
    }
}

#[cfg(test)]
mod tests {
    use redpoll_common::identity::Identity;
    use redpoll_net::CallContext;
    use redpoll_net::service::{Mask, detached_call};
    use redpoll_net::transport::PeerInfo;

    use super::*;

    fn output(secret: &str) -> Output {
        let caller = PeerInfo {
            identity: Identity::parse("spiffe://home/manager/m").unwrap(),
            address: "test".into(),
            ip: None,
            speaks_rp1: true,
            certificate: None,
        };
        let (CallContext { output, .. }, ..) =
            detached_call(caller, "p", Raw::empty_array(), Raw::empty_map());
        let mut words = Words::default();
        words.add(secret.as_bytes());
        output.masking(Mask::new(Clone::clone).with_words(words))
    }

    fn masked(recent: &mut Recent, secret: &str, text: &str) -> String {
        recent.begin(&output(secret)).0.text(text)
    }

    #[test]
    fn the_secrets_of_some_calls_are_remembered_and_not_of_more() {
        let mut recent = Recent::default();
        assert_eq!(masked(&mut recent, "secret-0", "secret-0 secret-1"), "*** secret-1");
        for call in 1..=MAX_CALLS {
            assert_eq!(masked(&mut recent, &format!("secret-{call}"), "secret-0"), "***", "{call}");
        }
        assert_eq!(masked(&mut recent, "another", "secret-0 secret-1"), "secret-0 ***");
        // calls without secrets, and with the same, push nothing out
        for secret in ["", "another", "secret-8"].repeat(MAX_CALLS) {
            assert_eq!(masked(&mut recent, secret, "secret-2 another"), "*** ***");
        }
        assert_eq!(recent.calls.len(), MAX_CALLS);
    }

    #[test]
    fn too_many_secrets_of_calls_before_hide_not_everything() {
        let mut recent = Recent::default();
        let mut many = Words::default();
        (0..40).for_each(|n| many.add(format!("first-{n:02}").as_bytes()));
        recent.calls.push_front(Arc::new(many));
        let mut more = Words::default();
        (0..40).for_each(|n| more.add(format!("second-{n:02}").as_bytes()));
        recent.calls.push_front(Arc::new(more));
        assert_eq!(masked(&mut recent, "own-one", "own-one second-07 first-07 x"), "*** *** first-07 x");
    }
}
