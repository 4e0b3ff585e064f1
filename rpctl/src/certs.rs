//! `rpctl certs`: an offline authority in a directory. No manager is asked.

use std::error::Error;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Subcommand, ValueEnum};
use redpoll_certs::authority::AUTHORITY_LIFETIME;
use redpoll_certs::credentials::TlsFiles;
use redpoll_certs::describe::{Description, KeyState, Subject, describe};
use redpoll_certs::issue::{IssueOptions, LEAF_LIFETIME};
use redpoll_certs::store;
use redpoll_common::identity::Role;
use redpoll_common::ids::{ClusterName, NameError, PeerId};
use rustls_pki_types::ServerName;
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{Format, Output};
use crate::report::Report;
use crate::settings::parse_duration;
use crate::{Ended, Stop};

/// `rpctl certs`.
#[derive(Debug, Clone, Subcommand)]
pub enum CertsCommand {
    /// Make an authority
    #[command(after_long_help = include_str!("help/certs_init.txt"))]
    Init {
        /// Where; made if it does not exist
        dir: PathBuf,
        /// The name of the cluster
        #[arg(long, value_name = "NAME")]
        cluster: String,
        /// How long the authority is valid [default: 3650d]
        #[arg(long, value_name = "DUR", value_parser = parse_duration)]
        lifetime: Option<Duration>,
    },
    /// Issue a certificate with a new key
    #[command(after_long_help = include_str!("help/certs_issue.txt"))]
    Issue {
        /// For whom
        role: RoleName,
        /// The id: letters, digits, `.`, `_`, `-`
        id: String,
        /// The directory of the authority
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// How long it is valid, at most as long as the authority [default: 90d]
        #[arg(long, value_name = "DUR", value_parser = parse_duration)]
        lifetime: Option<Duration>,
        /// A DNS name of the manager; repeatable
        #[arg(long, value_name = "NAME")]
        dns: Vec<String>,
        /// An address of the manager; repeatable
        #[arg(long, value_name = "ADDR")]
        ip: Vec<IpAddr>,
    },
    /// Show certificates and all that is wrong with them
    #[command(after_long_help = include_str!("help/certs_show.txt"))]
    Show {
        /// Certificate files, or directories with *.crt
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
    },
}

/// A role as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// A machine's daemon
    Agent,
    /// A person or program that asks
    Operator,
    /// The daemon that the others dial
    Manager,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Agent => Self::Agent,
            RoleName::Operator => Self::Operator,
            RoleName::Manager => Self::Manager,
        }
    }
}

/// Runs one of the verbs.
///
/// # Errors
/// [`Stop`] with a report.
pub fn run(command: &CertsCommand, output: &mut Output, now: SystemTime) -> Ended {
    match command {
        CertsCommand::Init { dir, cluster, lifetime } => {
            init(dir, cluster, lifetime.unwrap_or(AUTHORITY_LIFETIME), output, now)
        }
        CertsCommand::Issue { role, id, dir, lifetime, dns, ip } => {
            let id = PeerId::parse(id).map_err(|error| bad_name("an id", id, error))?;
            let mut names = Vec::new();
            for name in dns {
                let parsed = ServerName::try_from(name.clone()).map_err(|_| {
                    Report::usage(
                        format!("{name:?} is no DNS name"),
                        "a DNS name has labels of letters, digits and `-`, with dots between them",
                        "write international names in their xn-- form, and addresses after --ip",
                    )
                })?;
                names.push(parsed);
            }
            names.extend(ip.iter().map(|address| ServerName::IpAddress((*address).into())));
            let options = IssueOptions { lifetime: lifetime.unwrap_or(LEAF_LIFETIME), names };
            let issued = store::issue(dir, (*role).into(), &id, &options, now)
                .map_err(|error| local(&error, error.help()))?;
            print_files(&issued.identity.to_string(), &issued.files, output)
        }
        CertsCommand::Show { paths } => show(paths, output, now),
    }
}

fn init(dir: &Path, cluster: &str, lifetime: Duration, output: &mut Output, now: SystemTime) -> Ended {
    let cluster =
        ClusterName::parse(cluster).map_err(|error| bad_name("the name of a cluster", cluster, error))?;
    store::init(dir, &cluster, lifetime, now).map_err(|error| local(&error, error.help()))?;
    let files = ShownFiles {
        identity: format!("spiffe://{cluster}"),
        cert: dir.join(store::CA_CERT),
        key: dir.join(store::CA_KEY),
        ca: None,
    };
    print_shown(&files, output)?;
    let next = format!("next: rpctl certs issue manager NAME --dir {}", dir.display());
    if output.format() == Format::Table {
        output.note(&next);
    }
    Ok(Exit::Good)
}

fn local(error: &(dyn Error + 'static), help: String) -> Stop {
    Report::of_error(Exit::Usage, error, help).into()
}

fn bad_name(what: &str, text: &str, error: NameError) -> Stop {
    let help = "use 1 to 128 letters, digits, `.`, `_` and `-`, a letter or digit first";
    Report::usage(format!("{text:?} cannot be {what}"), error.to_string(), help).into()
}

#[derive(Serialize)]
struct ShownFiles {
    identity: String,
    cert: PathBuf,
    key: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
}

fn print_files(identity: &str, files: &TlsFiles, output: &mut Output) -> Ended {
    let shown = ShownFiles {
        identity: identity.to_owned(),
        cert: files.cert.clone(),
        key: files.key.clone(),
        ca: Some(files.ca.clone()),
    };
    print_shown(&shown, output)?;
    Ok(Exit::Good)
}

fn print_shown(files: &ShownFiles, output: &mut Output) -> Result<(), Stop> {
    if output.format() != Format::Table {
        return Ok(output.document(files)?);
    }
    let mut rows = vec![
        vec!["identity".to_owned(), files.identity.clone()],
        vec!["cert".to_owned(), files.cert.display().to_string()],
        vec!["key".to_owned(), files.key.display().to_string()],
    ];
    if let Some(ca) = &files.ca {
        rows.push(vec!["ca".to_owned(), ca.display().to_string()]);
    }
    Ok(output.table(&[], rows)?)
}

/// A certificate as scripts see it.
#[derive(Serialize)]
struct Shown {
    file: PathBuf,
    subject: String,
    issuer: String,
    serial: String,
    not_before: Option<String>,
    not_after: Option<String>,
    days_left: Option<i64>,
    usages: Vec<&'static str>,
    names: Vec<String>,
    key: &'static str,
    problems: Vec<ShownProblem>,
}

#[derive(Serialize)]
struct ShownProblem {
    what: String,
    help: String,
}

fn show(paths: &[PathBuf], output: &mut Output, now: SystemTime) -> Ended {
    let mut shown = Vec::new();
    for path in paths {
        let found = describe(path, now).map_err(|error| local(&error, error.help()))?;
        if found.is_empty() {
            let what = format!("there are no certificates in {}", path.display());
            let why = "a folder is looked at for files named *.crt, and it has none";
            return Err(Report::usage(what, why, "name the folder that has them, or a file").into());
        }
        shown.extend(found.into_iter().map(shown_of));
    }
    let headers = ["SUBJECT", "UNTIL", "DAYS", "KEY", "STATE", "FILE"];
    output.list(&headers, &shown, |item| {
        let state = if item.problems.is_empty() { "good" } else { "bad" };
        vec![
            item.subject.clone(),
            item.not_after.clone().unwrap_or_else(|| "-".to_owned()),
            item.days_left.map_or_else(|| "-".to_owned(), |days| days.to_string()),
            item.key.to_owned(),
            state.to_owned(),
            item.file.display().to_string(),
        ]
    })?;
    let mut exit = Exit::Good;
    for item in &shown {
        for problem in &item.problems {
            exit = Exit::Usage;
            let what = format!("{} cannot be used", item.file.display());
            output.report(&Report::usage(what, problem.what.clone(), problem.help.clone()));
        }
    }
    Ok(exit)
}

fn shown_of(found: Description) -> Shown {
    Shown {
        file: found.path,
        subject: match found.subject {
            Subject::Peer(identity) => identity.to_string(),
            Subject::Authority(Some(cluster)) => format!("authority of {cluster}"),
            Subject::Authority(None) => "authority".to_owned(),
            Subject::Unknown => "unknown".to_owned(),
        },
        issuer: found.issuer,
        serial: found.serial,
        not_before: found.validity.map(|validity| validity.from_text()),
        not_after: found.validity.map(|validity| validity.until_text()),
        days_left: found.validity.map(|validity| validity.days_left),
        usages: found.usages,
        names: found.names,
        key: match found.key {
            KeyState::Absent => "absent",
            KeyState::Good => "good",
            KeyState::Bad => "bad",
        },
        problems: found
            .problems
            .into_iter()
            .map(|problem| ShownProblem { what: problem.what, help: problem.help })
            .collect(),
    }
}
