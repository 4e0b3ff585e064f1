//! The secrets of the calls that a worker had: what it writes to its standard error about one of them may come when it has another.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use redpoll_common::wire::{Fault, Raw};
use redpoll_common::words::{Stream, Words};
use redpoll_net::service::Output;

use crate::exec::Tail;

/// Calls with secrets whose secrets are remembered by a worker, beside those of the call that it has.
const MAX_CALLS: usize = 8;
/// Calls whose standard error is not shown after one with more secrets than can be looked for, whether they have any or not.
const BLIND_CALLS: usize = 8;

/// The secrets of the last calls, those of the newest first.
#[derive(Default)]
pub(super) struct Recent {
    calls: VecDeque<Arc<Words>>,
    /// In how many calls more nothing is shown.
    blind: usize,
    /// The end of its standard error, in calls and between them: a secret may begin in one call and end in the next.
    trail: Vec<u8>,
}

impl fmt::Debug for Recent {
    /// Shows the lengths only: all of it may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recent({} calls, {} blind, {} bytes)", self.calls.len(), self.blind, self.trail.len())
    }
}

impl Recent {
    /// Takes what the worker wrote to its standard error, whoever gets it.
    pub(super) fn hear(&mut self, data: &[u8]) {
        let room = self.calls.iter().map(|words| words.most_held()).max().unwrap_or(0);
        let new = data.get(data.len().saturating_sub(room)..).unwrap_or_default();
        self.trail.extend_from_slice(new);
        // not each time: what is kept would be moved for every line
        if self.trail.len() > 2 * room {
            self.trail.drain(..self.trail.len() - room);
        }
    }

    /// A call begins: masks in its standard error what those before had, and remembers what it has. Gives what is masked there.
    pub(super) fn begin(&mut self, output: &Output) -> Late {
        let own = output.words();
        let mut words = Words::clone(own);
        if self.blind > 0 {
            words = Words::everything();
            self.blind -= 1;
        }
        // the oldest are the first for which there is no room: too many would hide everything
        let _all = self.calls.iter().all(|before| words.extend_within(before));
        if own.is_everything() {
            self.blind = BLIND_CALLS;
        } else if !own.is_empty() {
            self.calls.retain(|before| before != own);
            self.calls.push_front(own.clone());
            self.calls.truncate(MAX_CALLS);
        }
        let stream = Stream::behind(&words, &self.trail);
        let is_within = stream.is_within();
        if words != **own || is_within {
            output.mask_stderr(words.clone(), stream);
        }
        Late { words, is_within }
    }
}

/// What is masked in the standard error of a call.
pub(super) struct Late {
    words: Words,
    /// It may begin in the middle of one.
    is_within: bool,
}

impl Late {
    /// The end of the standard error of the call, as long as there is none.
    pub(super) fn tail(&self) -> Tail {
        if self.is_within { Tail::rest() } else { Tail::default() }
    }

    /// The end of a call whose trace may be the end of its standard error.
    pub(super) fn end(&self, end: Result<Raw, Fault>) -> Result<Raw, Fault> {
        end.map_err(|fault| Fault { trace: fault.trace.map(|trace| self.words.text(&trace)), ..fault })
    }
}

#[cfg(test)]
mod tests {
    use redpoll_common::identity::Identity;
    use redpoll_common::job::ItemKind;
    use redpoll_common::wire::FaultCode;
    use redpoll_net::CallContext;
    use redpoll_net::service::{DetachedOutput, Mask, detached_call};
    use redpoll_net::transport::PeerInfo;

    use super::*;

    fn output(words: Words) -> (Output, DetachedOutput) {
        let caller = PeerInfo {
            identity: Identity::parse("spiffe://home/manager/m").unwrap(),
            address: "test".into(),
            ip: None,
            speaks_rp1: true,
            certificate: None,
        };
        let (CallContext { output, .. }, given, _stop) =
            detached_call(caller, "p", Raw::empty_array(), Raw::empty_map());
        (output.masking(Mask::new(Clone::clone).with_words(words)), given)
    }

    fn words(secret: &str) -> Words {
        let mut words = Words::default();
        words.add(secret.as_bytes());
        words
    }

    fn masked(recent: &mut Recent, secret: &str, text: &str) -> String {
        recent.begin(&output(words(secret)).0).words.text(text)
    }

    /// What a call with this secret is given of its standard error, and in the trace of its fault.
    async fn told(recent: &mut Recent, secret: &str, pieces: &[&str]) -> (String, String) {
        let (output, mut given) = output(words(secret));
        let late = recent.begin(&output);
        let mut tail = late.tail();
        for piece in pieces {
            recent.hear(piece.as_bytes());
            tail.push(piece.as_bytes());
            output.chunk(ItemKind::Stderr, piece.as_bytes()).await.unwrap();
        }
        output.flush().await.unwrap();
        drop(output);
        let mut shown = String::new();
        while let Some(Ok(value)) = given.next().await {
            let bytes = value.as_bytes();
            let begin = bytes.windows(5).position(|name| name == b"\xa4data").unwrap() + 7;
            shown += std::str::from_utf8(&bytes[begin..]).unwrap();
        }
        let fault = Fault { trace: tail.text(), ..Fault::new(FaultCode::Failed, "any") };
        (shown, late.end(Err(fault)).unwrap_err().trace.unwrap_or_default())
    }

    #[tokio::test]
    async fn a_secret_that_comes_in_two_halves_is_told_to_no_later_call() {
        for form in ["hunter2", "hunter%32", "\\u0068unter2", "aHVudGVyMg"] {
            for cut in 1..form.len() {
                let (first, second) = form.split_at(cut);
                let second = format!("{second} is bad");
                // while it has no call
                let mut recent = Recent::default();
                told(&mut recent, "hunter2", &["begin\n"]).await;
                recent.hear(b"late: ");
                recent.hear(first.as_bytes());
                let (shown, trace) = told(&mut recent, "", &[&second]).await;
                assert_eq!(shown, " is bad", "{form} cut at {cut}");
                // half of a form of one character is left where it stands alone
                let is_alone = form.len() - cut < 3 && trace == format!("…{second}");
                assert!(is_alone || trace == "…*** is bad", "{form} cut at {cut}: {trace}");
                // at the end of the call
                let mut recent = Recent::default();
                told(&mut recent, "hunter2", &["late: ", first]).await;
                let (shown, _) = told(&mut recent, "another", &[&second]).await;
                assert_eq!(shown, " is bad", "{form} cut at {cut}");
                // with the same secret, and no other before
                let mut recent = Recent::default();
                let (shown, _) = told(&mut recent, "hunter2", &["hunter2, ", first]).await;
                assert!(shown.starts_with("***, "), "{shown}");
                let (shown, _) = told(&mut recent, "hunter2", &[&second]).await;
                assert_eq!(shown, " is bad", "{form} cut at {cut}");
            }
        }
    }

    #[tokio::test]
    async fn what_only_may_have_been_a_secret_is_shown_from_where_the_call_began() {
        let mut recent = Recent::default();
        told(&mut recent, "hunter2", &[]).await;
        recent.hear(b"it went hun");
        assert_eq!(told(&mut recent, "", &["gry 2"]).await, ("gry 2".to_owned(), "…gry 2".to_owned()));
        assert_eq!(told(&mut recent, "", &["2"]).await.0, "2");
        for _ in 0..1000 {
            recent.hear(&[b'x'; 100]);
            assert!(recent.trail.len() <= 2 * words("hunter2").most_held());
        }
    }

    #[test]
    fn after_a_call_with_too_many_secrets_nothing_is_shown_for_some_calls_and_not_for_ever() {
        let mut recent = Recent::default();
        assert_eq!(masked(&mut recent, "first-one", "first-one"), "***");
        recent.begin(&output(Words::everything()).0);
        for call in 0..BLIND_CALLS {
            let secret = if call % 2 == 0 { "" } else { "second-one" };
            assert_eq!(masked(&mut recent, secret, "anything"), "***", "{call}");
        }
        assert_eq!(masked(&mut recent, "", "first-one second-one anything"), "*** *** anything");
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
