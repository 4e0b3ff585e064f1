//! Notifications that do something on the machine, such as `sys.log`: nobody is answered, so they are heard or they are not.

use std::time::Instant;

use redpoll_schema::Readings;
use redpoll_schema::policy::Request;

use super::{Gate, moment};

impl Gate {
    /// Whether the policy lets a notification be heard; then it takes one of the rate of the rule that does. It has no arguments that a rule
    /// could look at, and nobody says for whom the manager sends it.
    pub fn hears(&self, name: &str) -> bool {
        let rules = self.rules.load();
        let request = Request {
            name,
            version: 1,
            is_manifest: false,
            args: &Readings::default(),
            operator: None,
            roles: None,
            user: None,
            user_is_root: false,
            now: moment(),
        };
        let verdict = rules.policy.judge(&request);
        let heard = verdict.allowed && rules.take(verdict.index, Instant::now()).is_ok();
        if !heard {
            // whoever sends them without end fills no log
            tracing::debug!(name, rule = verdict.rule, "a notification that the policy refuses");
        }
        heard
    }
}
