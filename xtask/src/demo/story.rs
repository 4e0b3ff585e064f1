//! What the demo shows, in order. Each step checks what it shows.

use crate::demo::world::World;

/// The agents of the story.
const AGENTS: [&str; 3] = ["web-1", "web-2", "db-1"];

/// Lines with pauses, as a deployment would print them.
const DEPLOY: &str =
    "for step in fetch unpack migrate restart; do echo \"$step …\"; sleep 0.4; done; echo done";

/// Tells the whole story but its end, which depends on whether the daemons are kept.
///
/// # Errors
/// The first step that did not do what it says.
pub(super) fn tell(world: &mut World) -> anyhow::Result<()> {
    part("A certificate authority, and a certificate for each who takes part");
    world.make_certificates(&AGENTS)?;

    part("One manager, three agents: separate processes that dial the manager over mutual TLS");
    let address = world.start_manager()?;
    println!("\n  the manager listens on {address}");
    for name in AGENTS {
        world.start_agent(name)?;
        println!("  {name} is connected");
    }

    let mut listing = world.rpctl(&["agents", "list"])?.exits(0)?;
    for name in AGENTS {
        listing = listing.says(name)?;
    }
    world.rpctl(&["agents", "ping", "web-2"])?.exits(0)?;

    part("Calls: to an agent through the manager, and back");
    world.rpctl(&["call", "web-1", "sys.facts"])?.exits(0)?.says("kernel")?;
    world.rpctl(&["call", "db-1", "sys.echo", "hello", "n:=1"])?.exits(0)?.says("hello")?;

    part("A command on another machine: its output comes while it runs");
    world
        .rpctl(&["call", "web-1", "exec.run", "--", "sh", "-c", DEPLOY])?
        .exits(0)?
        .says("migrate")?
        .says("done")?;

    part("What goes wrong is told as it is: a command that fails, an agent that does not exist");
    let script = "echo 'disk is full' >&2; exit 42";
    world
        .rpctl(&["call", "web-2", "exec.run", "--", "sh", "-c", script])?
        .exits(1)?
        .says("disk is full")?
        .says("42")?;
    println!("  → rpctl exited with 1: the procedure failed");
    let words = ["call", "web-1", "exec.run", "--", "shutdown", "now"];
    world.rpctl(&words)?.exits(3)?.says("no shutting down")?;
    println!(
        "  → rpctl exited with 3: the policy of the machine's owner forbids it, whatever a manager says"
    );
    world.rpctl(&["call", "web-9", "sys.ping"])?.exits(5)?.says("web-9")?.says("help:")?;
    println!("  → rpctl exited with 5: the agent is unknown or away");

    jobs(world)
}

fn jobs(world: &mut World) -> anyhow::Result<()> {
    part("A job: stored first, then run on every machine, each line marked with its agent");
    let script = "echo \"$REDPOLL_AGENT is up\"";
    world
        .rpctl(&["run", "*", "exec.run", "--", "sh", "-c", script])?
        .exits(0)?
        .says("db-1: db-1 is up")?
        .says("3 succeeded")?;

    part("An agent dies. Work for it waits, and runs when it is back");
    world.kill_agent("db-1")?;
    world.wait_for_listing(&["db-1", "away"])?;
    world.rpctl(&["agents", "list"])?.exits(0)?.says("away")?;
    let words = ["run", "--detach", "db-1", "exec.run", "--", "echo", "I waited"];
    let waiting = world.rpctl(&words)?.exits(0)?.first_line()?;
    world.start_agent("db-1")?;
    println!("\n  db-1 was started again");
    world.rpctl(&["jobs", "follow", &waiting])?.exits(0)?.says("I waited")?;

    part("The manager dies in the middle of a job, and nothing is lost");
    let script = "for n in 1 2 3 4; do echo \"line $n\"; sleep 1; done";
    let words = ["run", "--detach", "--queue", "demo", "web-1", "exec.run", "--", "sh", "-c", script];
    let job = world.rpctl(&words)?.exits(0)?.first_line()?;
    world.rpctl(&["queues", "list"])?.exits(0)?.says("demo")?;
    world.kill_manager()?;
    world.start_manager()?;
    println!("\n  the manager was started again");
    world.rpctl(&["jobs", "follow", &job])?.exits(0)?.says("line 1")?.says("line 4")?;
    world.rpctl(&["jobs", "list"])?.exits(0)?.says("succeeded").map(drop)
}

/// The heading of a part.
pub(super) fn part(title: &str) {
    println!("\n── {title}");
}
