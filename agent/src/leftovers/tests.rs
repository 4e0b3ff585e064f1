use redpoll_common::job::{Attempt, Dno};

use super::*;

#[test]
fn of_too_many_runs_the_oldest_are_forgotten() {
    let run = |dno: u64| {
        // the order of jobs is not that of the runs
        let job = JobId::from_bytes([u8::try_from(9 - dno).unwrap(); 16]);
        RunRef { job, attempt: Attempt(1), dno: Dno(dno) }
    };
    let empty = Run { note: Note { procedure: String::new(), since_ms: 0 }, processes: Vec::new() };
    let mut runs: BTreeMap<RunRef, Run> = (1..6).map(|dno| (run(dno), empty.clone())).collect();
    forget_beyond(&mut runs, 3);
    let left: BTreeSet<u64> = runs.keys().map(|run| run.dno.0).collect();
    assert_eq!(left, BTreeSet::from([3, 4, 5]));
}
