//! Says whom a copy lets in again that the store before it shut out.

use redpoll_common::identity::Role;
use redpoll_manager_core::revoked::Denied;

use crate::store::sqlite::Forgotten;

/// So many are named in a question, and in one command.
const NAMED: usize = 20;

/// Whom, before somebody says yes.
pub(super) fn warned(forgotten: &Forgotten) -> Vec<String> {
    let Forgotten { denied, is_unknown } = forgotten;
    let mut lines = Vec::new();
    if !denied.is_empty() {
        let mut names: Vec<_> = denied.iter().take(NAMED).map(named).collect();
        if denied.len() > NAMED {
            names.push(format!("and {} more", denied.len() - NAMED));
        }
        lines.push(format!("revoked in the store, and let in again by the copy: {}", names.join(", ")));
    }
    if *is_unknown {
        lines.push("who is revoked in the store cannot be read; the copy may let them in again".to_owned());
    }
    lines
}

/// What shuts them out again.
pub(super) fn again(forgotten: &Forgotten) -> Vec<String> {
    let Forgotten { denied, is_unknown } = forgotten;
    let mut lines = Vec::new();
    if !denied.is_empty() {
        lines.push("revoked before, and let in again by the copy; as soon as the manager runs:".to_owned());
    }
    for role in [Role::Agent, Role::Operator] {
        let whole = denied.iter().filter(|denied| denied.role == role && denied.certificate.is_none());
        let ids: Vec<_> = whole.map(|denied| denied.id.as_str()).collect();
        lines.extend(ids.chunks(NAMED).map(|ids| format!("  rpctl {role}s revoke {}", ids.join(" "))));
    }
    for Denied { role, id, certificate } in denied {
        if let Some(name) = certificate {
            lines.push(format!("  rpctl {role}s revoke {id} --certificate {}", name.as_str()));
        }
    }
    if *is_unknown {
        let why = "who was revoked before cannot be read: look at rpctl agents list --revoked and rpctl operators list --revoked,";
        lines.push(format!("{why} and revoke again who is missing there"));
    }
    lines
}

fn named(denied: &Denied) -> String {
    let Denied { role, id, certificate } = denied;
    match certificate {
        None => format!("{role} {id}"),
        Some(name) => format!("{role} {id} with certificate {}", name.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use redpoll_common::ids::PeerId;
    use redpoll_manager_core::revoked::CertificateName;

    use super::*;

    fn denied(role: Role, id: &str, certificate: Option<&str>) -> Denied {
        let certificate = certificate.map(|name| CertificateName::parse(name).unwrap());
        Denied { role, id: PeerId::parse(id).unwrap(), certificate }
    }

    #[test]
    fn each_is_named_with_the_command_that_revokes_it() {
        let list = vec![
            denied(Role::Agent, "web-1", None),
            denied(Role::Agent, "web-2", Some("0a1b")),
            denied(Role::Agent, "web-3", None),
            denied(Role::Operator, "eve", None),
        ];
        let forgotten = Forgotten { denied: list, is_unknown: false };
        let said = warned(&forgotten).join("\n");
        assert!(
            said.ends_with("agent web-1, agent web-2 with certificate 0a1b, agent web-3, operator eve"),
            "{said}"
        );
        assert_eq!(
            again(&forgotten).get(1..).unwrap(),
            [
                "  rpctl agents revoke web-1 web-3",
                "  rpctl operators revoke eve",
                "  rpctl agents revoke web-2 --certificate 0a1b",
            ]
        );
        assert!(warned(&Forgotten::default()).is_empty() && again(&Forgotten::default()).is_empty());
        let unknown = Forgotten { denied: Vec::new(), is_unknown: true };
        assert!(
            warned(&unknown)[0].contains("cannot be read") && again(&unknown)[0].contains("list --revoked")
        );
        let many: Vec<_> = (0..21).map(|n| denied(Role::Agent, &format!("a{n}"), None)).collect();
        let many = Forgotten { denied: many, is_unknown: false };
        assert!(warned(&many)[0].ends_with("and 1 more") && again(&many).len() == 3);
    }
}
