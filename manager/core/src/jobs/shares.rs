//! What the open jobs of each agent take of the room of all: one that is stolen must not leave operators without any.

use std::collections::BTreeMap;

use redpoll_common::job::Submitter;

use super::effect::Refusal;
use super::settings::Settings;

/// What one agent has.
#[derive(Debug, Default)]
struct Share {
    runs: usize,
    bytes: u64,
}

/// What agents have, by agent; operators have all the rest, and are not counted.
#[derive(Debug, Default)]
pub(super) struct Shares(BTreeMap<Submitter, Share>);

impl Shares {
    /// Whether an agent may have so much more.
    pub(super) fn refusal(
        &self,
        submitter: &Submitter,
        (runs, of_job): (usize, u64),
        settings: &Settings,
    ) -> Option<Refusal> {
        let has = self.of(submitter)?;
        let limit = settings.open_runs_of_agent;
        if has.runs.saturating_add(runs) > limit {
            return Some(Refusal::TooManyRunsOfAgent { open: has.runs, runs, limit });
        }
        let (bytes, limit) = (has.bytes.saturating_add(of_job), settings.open_bytes_of_agent);
        (bytes > limit).then_some(Refusal::TooManyBytesOfAgent { bytes, of_job, limit })
    }

    /// Whether an agent may never have so much, whatever else ends.
    pub(super) fn never(
        &self,
        submitter: &Submitter,
        (runs, of_job): (usize, u64),
        settings: &Settings,
    ) -> Option<Refusal> {
        let has = self.of(submitter)?;
        if runs > settings.open_runs_of_agent {
            return Some(Refusal::TooManyRunsOfAgent {
                open: has.runs,
                runs,
                limit: settings.open_runs_of_agent,
            });
        }
        let (bytes, limit) = (has.bytes.saturating_add(of_job), settings.open_bytes_of_agent);
        (of_job > limit).then_some(Refusal::TooManyBytesOfAgent { bytes, of_job, limit })
    }

    /// What a submitter has, if it is an agent.
    fn of(&self, submitter: &Submitter) -> Option<&Share> {
        const NONE: &Share = &Share { runs: 0, bytes: 0 };
        submitter.operator_id().is_none().then(|| self.0.get(submitter).unwrap_or(NONE))
    }

    /// Its submitter has so much more.
    pub(super) fn add(&mut self, submitter: &Submitter, runs: usize, bytes: u64) {
        if submitter.operator_id().is_none() {
            let share = self.0.entry(submitter.clone()).or_default();
            (share.runs, share.bytes) = (share.runs.saturating_add(runs), share.bytes.saturating_add(bytes));
        }
    }

    /// Its submitter has so much less.
    pub(super) fn give_back(&mut self, submitter: &Submitter, runs: usize, bytes: u64) {
        let Some(share) = self.0.get_mut(submitter) else { return };
        (share.runs, share.bytes) = (share.runs.saturating_sub(runs), share.bytes.saturating_sub(bytes));
        if share.runs == 0 && share.bytes == 0 {
            self.0.remove(submitter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redpoll_common::ids::PeerId;

    #[test]
    fn an_agent_is_remembered_as_long_as_it_has_anything_and_an_operator_never() {
        let anna = PeerId::parse("anna").unwrap();
        let (agent, operator) = (Submitter::agent(&anna), Submitter::operator(&anna));
        let mut shares = Shares::default();
        shares.add(&operator, 1, 1);
        assert!(shares.0.is_empty());
        shares.add(&agent, 2, 5);
        for (runs, bytes, is_left) in [(2, 0, true), (0, 4, true), (0, 1, false)] {
            shares.give_back(&agent, runs, bytes);
            assert_eq!(!shares.0.is_empty(), is_left);
        }
        shares.add(&agent, 2, 5);
        for (runs, bytes, is_left) in [(0, 5, true), (1, 0, true), (1, 0, false)] {
            shares.give_back(&agent, runs, bytes);
            assert_eq!(!shares.0.is_empty(), is_left);
        }
    }
}
