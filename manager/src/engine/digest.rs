//! What makes two submits the same job.

use aws_lc_rs::digest::{SHA256, digest};
use redpoll_common::api::submit::SubmitArguments;
use redpoll_manager_core::jobs::record::Digest;

/// The digest of what was asked for: the spec, and the agents as they were named, in any order. Not the agents that a `*` stood for:
/// whoever repeats a submit means the job that it made, also when another agent has joined since.
///
/// Taken from the canonical form, so that it does not matter how a number was written. Zeroes for a submit without a key: no other
/// is its repetition, and nothing is compared.
pub fn of(asked: &SubmitArguments) -> Digest {
    let mut out = Digest::default();
    if asked.spec.key.is_none() {
        return out;
    }
    let mut asked = asked.clone();
    asked.agents.sort_unstable();
    asked.agents.dedup();
    // as it was before the two were told apart: whoever repeats an older submit means the same job
    asked.spec.idempotent = Some(asked.spec.idempotent.unwrap_or(false));
    let hash = digest(&SHA256, asked.write().canonical().as_bytes());
    out.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use redpoll_common::wire::{Raw, RawMap};

    #[test]
    fn the_order_of_agents_is_of_no_importance_and_everything_else_is() {
        let submit = |agents: &[&str], procedure: &str| {
            let mut asked =
                SubmitArguments::new(agents.iter().map(|&agent| agent.to_owned()).collect(), procedure);
            asked.spec.key = Some("once".to_owned());
            asked
        };
        let one = of(&submit(&["a", "b"], "p"));
        assert_eq!(one, of(&submit(&["b", "a", "b"], "p")));
        assert_ne!(one, of(&submit(&["a"], "p")));
        assert_ne!(one, of(&submit(&["a", "b"], "q")));
        let mut other = submit(&["a", "b"], "p");
        // older programs said no when they meant nothing, and repeat their submits
        other.spec.idempotent = Some(false);
        assert_eq!(one, of(&other));
        other.spec.info = Raw::text("x");
        assert_ne!(one, of(&other));
        // 5 written in one byte and in nine
        let mut short = submit(&["a"], "p");
        short.spec.kwargs = RawMap::new().uint("n", 5).finish();
        let mut long = short.clone();
        let bytes = [0x81, 0xa1, b'n', 0xcf, 0, 0, 0, 0, 0, 0, 0, 5];
        long.spec.kwargs = Raw::parse(bytes::Bytes::copy_from_slice(&bytes)).unwrap();
        assert_eq!(of(&short), of(&long));
        short.spec.key = None;
        assert_eq!(of(&short), Digest::default(), "nothing repeats what has no key");
    }
}
