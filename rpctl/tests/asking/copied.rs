//! What an agent says of a file need not be so.

use super::support::{code, err, three_lines};
use super::{ask, world};

#[test]
fn a_size_that_no_file_has_is_a_lie_of_the_agent_and_no_failure_of_the_system() {
    let (home, manager) = world();
    let target = home.path().join("copies");
    std::fs::create_dir(&target).unwrap();
    for to in ["-", target.to_str().unwrap()] {
        let output = ask(home.path(), &manager, &["cp", "web-1:/impossible", to]);
        assert_eq!(code(&output), 1, "{}", err(&output));
        let [what, why, help] = three_lines(&output);
        assert!(what.contains("web-1: file.read gave something else than the file"), "{what}");
        assert!(why.contains("18446744073709551615 bytes"), "{why}");
        assert!(help.contains("do you trust this agent?"), "{help}");
    }
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0, "nothing is left of it");
}
