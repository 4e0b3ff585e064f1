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
    world.rpctl(&["call", "web-9", "sys.ping"])?.exits(5)?.says("web-9")?.says("help:")?;
    println!("  → rpctl exited with 5: the agent is unknown or away");

    part("An agent dies, and comes back");
    world.kill_agent("db-1")?;
    world.wait_for_listing(&["db-1", "away"])?;
    world.rpctl(&["agents", "list"])?.exits(0)?.says("away")?;
    world.start_agent("db-1")?;
    println!("\n  db-1 was started again");
    world.rpctl(&["call", "db-1", "sys.echo", "back"])?.exits(0)?.says("back").map(drop)
}

/// The heading of a part.
pub(super) fn part(title: &str) {
    println!("\n── {title}");
}
