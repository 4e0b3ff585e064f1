//! Rules of a policy about the paths of `file.*`: whatever form a path has, it is the same path.

#![allow(clippy::unwrap_used, reason = "test code")]

mod files_support;
mod gate_support;
mod procedures_support;

use std::fs;
use std::sync::Arc;

use files_support::registry;
use gate_support::{gate, rule};
use procedures_support::{caller, setting};
use redpoll_agent::gate::{Asked, Counting, moment};
use redpoll_agent::offered::{Described, Offered};
use redpoll_common::wire::{Fault, FaultCode, Raw, RawMap};
use redpoll_net::service::detached_call;
use redpoll_schema::policy::{Constraint, Effect, Rule};
use serde_json::{Value, json};
use tempfile::TempDir;

const METHODS: [&str; 6] = ["file.read", "file.hash", "file.stat", "file.list", "file.write", "file.remove"];

/// `file.*` behind a rule about paths, and what lies there.
struct Desk {
    offered: Arc<Offered>,
    folder: TempDir,
}

impl Desk {
    fn new(effect: Effect, path: impl Fn(&str) -> Constraint) -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["state", "root", "root/secret", "root/open"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("root/secret/a"), "secret").unwrap();
        let root = folder.path().join("root").display().to_string();
        let about =
            Rule { args: [("path".to_owned(), path(&root))].into(), ..rule("paths", effect, "file.*") };
        let rules = match effect {
            Effect::Deny => vec![about, rule("files", Effect::Allow, "file.*")],
            Effect::Allow => vec![about],
        };
        let source = Box::new(Described::default);
        let base = registry(folder.path(), |_| {});
        let offered =
            Offered::new(base, (true, false), setting().0, source, folder.path(), gate(rules)).unwrap();
        assert_eq!(offered.reload().problems, Vec::<String>::new());
        Self { offered: Arc::new(offered), folder }
    }

    fn kwargs(&self, method: &str, path: &[u8], binary: bool) -> Raw {
        let path = [self.folder.path().join("root").to_str().unwrap().as_bytes(), path].concat();
        let map = match std::str::from_utf8(&path) {
            Ok(text) if !binary => RawMap::new().text("path", text),
            _ => RawMap::new().bin("path", &path),
        };
        if method == "file.write" { map.text("data", "new").finish() } else { map.finish() }
    }

    async fn call(&self, method: &str, path: &[u8], binary: bool) -> Result<Value, Fault> {
        let kwargs = self.kwargs(method, path, binary);
        let args = &Raw::empty_array();
        let (operator, counting) = (Some("ada"), Counting::Looks);
        let asked = Asked { args, kwargs: &kwargs, operator, roles: None, now: moment(), counting };
        let trial = self.offered.now().trial(method, asked);
        let (call, mut output, _stop) = detached_call(caller(), method, args.clone(), kwargs.clone());
        let drain = async { while output.next().await.is_some() {} };
        let running = self.offered.now().start(call);
        let (answer, ()) = tokio::join!(running.answer, drain);
        let is_refused = matches!(&answer, Err(fault) if fault.message.contains("agent's policy"));
        assert_eq!(trial.allowed, !is_refused, "{method} {path:?}: a trial says something else");
        answer.map(|answer| answer.decode().unwrap())
    }

    /// Whether the policy refuses it.
    async fn is_refused(&self, method: &str, path: &[u8], binary: bool) -> bool {
        let answer = self.call(method, path, binary).await;
        answer.is_err_and(|fault| fault.code == FaultCode::Rejected && fault.message.contains("\"paths\""))
    }
}

#[tokio::test]
async fn no_form_of_a_path_passes_a_rule_that_denies_it() {
    let glob: fn(&str) -> Constraint = |root| Constraint::Glob(format!("{root}/secret/*"));
    // as docs/policy.md has it for a folder
    let regex: fn(&str) -> Constraint =
        |root| Constraint::regex(&format!("{root}/secret(/.*)?"), Effect::Deny).unwrap();
    for constraint in [glob, regex] {
        no_form_passes(&Desk::new(Effect::Deny, constraint)).await;
    }
}

async fn no_form_passes(desk: &Desk) {
    let forms: [&[u8]; 12] = [
        b"/secret/a",
        b"/secret//a",
        b"//secret/a",
        b"/./secret/a",
        b"/secret/././a",
        b"/secret/a/",
        b"/secret/a/.",
        b"/secret/a//",
        b"/secret/not-a-text-\xff",
        b"/secret/a\n",
        b"/secret/\n/a",
        b"/secret/a\n.conf",
    ];
    for form in forms {
        for method in METHODS {
            for binary in [false, true] {
                let shown = String::from_utf8_lossy(form);
                assert!(desk.is_refused(method, form, binary).await, "{method} {shown} binary: {binary}");
            }
        }
    }
    assert_eq!(fs::read(desk.folder.path().join("root/secret/a")).unwrap(), b"secret");
    for path in [&b"/open//b"[..], b"/open/./b/"] {
        desk.call("file.write", path, false).await.unwrap();
    }
    assert_eq!(fs::read(desk.folder.path().join("root/open/b")).unwrap(), b"new");
    // what leads elsewhere is refused by whoever reads it
    let up = desk.call("file.read", b"/open/../secret/a", false).await.unwrap_err();
    assert_eq!(up.code, FaultCode::BadArguments);
}

#[tokio::test]
async fn a_path_that_a_rule_allows_is_allowed_in_every_form_and_nothing_beside_it() {
    let exact = |root: &str| Constraint::OneOf(vec![json!(format!("{root}/open/b"))]);
    let desk = Desk::new(Effect::Allow, exact);
    for path in [&b"/open/b"[..], b"//open/b", b"/open/./b", b"/open/b/"] {
        desk.call("file.write", path, false).await.unwrap();
    }
    for path in [&b"/open/c"[..], b"/open", b"/secret/a", b"/open/b/../../secret/a", b"/open/\xff"] {
        assert!(desk.is_refused("file.read", path, false).await, "{path:?}");
    }
}

#[test]
fn a_rule_that_names_a_path_as_none_is_judged_is_told() {
    let said = |procedure: &str, path: Constraint| {
        let rule = Rule { args: [("path".to_owned(), path)].into(), ..rule("r", Effect::Deny, procedure) };
        gate(vec![rule]).doubts(&[])
    };
    let exact = |text: &str| Constraint::OneOf(vec![json!("/x"), json!(text)]);
    for (path, plain) in
        [(exact("/srv/secret/"), "/srv/secret"), (Constraint::Glob("/srv//*".into()), "/srv/*")]
    {
        let doubts = said("file.*", path);
        assert!(doubts.len() == 1 && doubts[0].ends_with(&format!("write {plain:?}")), "{doubts:?}");
    }
    for (procedure, path) in [
        ("file.read", exact("/srv/secret")),
        ("file.read", Constraint::Glob("/srv/*".into())),
        ("file.read", Constraint::Glob("*.conf".into())),
        ("web.deploy", exact("/srv/")),
        ("*", exact("/srv/")),
    ] {
        assert_eq!(said(procedure, path), Vec::<String>::new());
    }
}
