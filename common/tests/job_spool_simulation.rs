//! The spool in a world that crashes, cuts and loses: at most one start per attempt, no lost result, no false ending.

mod job_support;

use job_support::world::{Step, World};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop::bool::weighted(0.15).prop_map(|refused| Step::Submit { refused }),
        1 => any::<usize>().prop_map(Step::Cancel),
        2 => Just(Step::Connect),
        1 => Just(Step::Cut),
        12 => Just(Step::ToAgent),
        12 => Just(Step::ToManager),
        14 => Just(Step::Sync),
        1 => (0_usize..4).prop_map(|survive| Step::Crash { survive }),
        5 => any::<usize>().prop_map(Step::Spawned),
        1 => any::<usize>().prop_map(Step::NotSpawned),
        8 => any::<usize>().prop_map(Step::Item),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(which, good)| Step::Exit(which, good)),
        6 => prop_oneof![Just(5_u64), Just(1_000)].prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Full),
    ]
}

fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let persistence = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(persistence)), max_shrink_iters: 20_000, ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_each_attempt_starts_once_at_most_and_ends_as_it_did(steps in vec(steps(), 1..300)) {
        let mut world = World::new();
        world.step(Step::Connect);
        for step in steps {
            world.step(step);
        }
        world.settle();
    }
}
