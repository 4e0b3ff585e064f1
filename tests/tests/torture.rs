//! Real daemons are killed two hundred times. No acknowledged job is lost, none is started twice, and no outcome is false.
//!
//! `cargo xtask torture --kills N` does the same for as long as wanted.

use redpoll_net::failpoint;
use redpoll_tests::torture::dice::Dice;
use redpoll_tests::torture::{self, Plan};

/// Deaths that each of the named places has to have.
const AT_EACH_PLACE: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_kills_lose_no_job_start_none_twice_and_leave_no_outcome_false() {
    let seed = Dice::any_seed();
    println!("seed {seed}: cargo xtask torture --kills 200 --seed {seed}");
    let keep = Some(std::env::temp_dir().join("redpoll-torture"));
    let report = torture::run(&Plan { seed, kills: 200, at_once: 4, keep }).await;
    println!("{report}");
    assert_eq!(report.findings, Vec::<String>::new());
    assert!(report.kills.total() >= 200, "too few kills");
    // R1 to R3 lie in recurring procedures, of which the tortured agents have none: tests/recurring.rs dies there
    for name in failpoint::NAMES.into_iter().filter(|name| !name.starts_with('R')) {
        let deaths = report.kills.points.get(name).copied().unwrap_or(0);
        assert!(deaths >= AT_EACH_PLACE, "only {deaths} deaths at {name}");
    }
    assert!(report.outcomes.get("succeeded").is_some_and(|count| *count > 100), "hardly anything ran");
}
