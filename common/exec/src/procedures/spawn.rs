//! What a process of a procedure is started with.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use redpoll_common::wire::{Fault, FaultCode};
use redpoll_config::{Manifest, ProcedureMode, ProcedureOutput};
use redpoll_net::service::RunContext;

use super::Procedure;
use super::heard::LINE;
use crate::exec::account::Account;
use crate::exec::cgroup::{Cgroup, Usage};
use crate::exec::confine::Confine;
use crate::exec::note::{Kind, Noting};
use crate::exec::{ProcessSpec, is_no_room};
use crate::telling::no_room;

/// What to start, and the control group that is its own for as long as this lives.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) spec: ProcessSpec,
    pub(super) cgroup: Option<Cgroup>,
}

impl Procedure {
    /// Prepares the start of a process, for a run of a job or a call, or of a worker; `is_own`: nobody has called.
    pub(super) fn prepare(
        &self,
        run: Option<&RunContext>,
        is_own: bool,
        run_as: Option<&str>,
        stdin: Bytes,
    ) -> Result<Prepared, Fault> {
        let manifest = self.manifest();
        let account = self.account_for(run_as)?;
        let env = self.environment(run, account.as_ref());
        let (confine, cgroup) = self.confine(account)?;
        let agent = &self.setting.limits;
        // the limits of a run of a job are kept by whoever recorded it
        let (run_timeout, output) = match run {
            Some(_) => (None, u64::MAX),
            None => (agent.run_timeout, agent.output),
        };
        let output_limit = match manifest.output {
            ProcedureOutput::Text => manifest.limits.output.unwrap_or(u64::MAX).min(output),
            // what is limited is what is said, not the lines that say it
            ProcedureOutput::Json => u64::MAX,
        };
        let run_timeout = match manifest.mode {
            ProcedureMode::Once => [manifest.run_timeout, run_timeout].into_iter().flatten().min(),
            ProcedureMode::Worker => None,
        };
        let spec = ProcessSpec {
            argv: manifest.command.iter().map(OsString::from).collect(),
            env,
            cwd: Some(manifest.cwd.clone().unwrap_or_else(|| PathBuf::from("/"))),
            stdin: Some(stdin),
            run_timeout,
            grace: self.grace(),
            output_limit,
            not_after: run.and_then(|run| run.not_after),
            confine,
            noting: self.noting(run, is_own),
        };
        Ok(Prepared { spec, cgroup })
    }

    /// As what a process is noted that is for no run of a job.
    fn noting(&self, run: Option<&RunContext>, is_own: bool) -> Option<Noting> {
        let kind = match self.manifest().mode {
            ProcedureMode::Worker => Kind::Worker,
            ProcedureMode::Once if is_own => Kind::Recurring,
            ProcedureMode::Once => Kind::Call,
        };
        let notes = self.setting.notes.as_ref().filter(|_| run.is_none());
        notes.map(|notes| notes.of(kind, &self.manifest().name))
    }

    /// How long its processes have between TERM and KILL. A job that allows less sees to that itself.
    pub(super) fn grace(&self) -> Duration {
        let agent = self.setting.limits.grace;
        self.manifest().grace.unwrap_or(agent).min(agent)
    }

    fn environment(
        &self,
        run: Option<&RunContext>,
        account: Option<&Account>,
    ) -> BTreeMap<OsString, OsString> {
        let manifest = self.manifest();
        let mut env: BTreeMap<OsString, OsString> = BTreeMap::new();
        if let Some(account) = account {
            env.insert("HOME".into(), account.home.clone().into());
        }
        env.extend(manifest.env.iter().map(|(name, value)| (name.into(), value.into())));
        let procedure = run.map_or_else(|| manifest.name.clone(), |run| run.procedure.clone());
        env.insert("REDPOLL_AGENT".into(), self.setting.agent.to_string().into());
        env.insert("REDPOLL_PROCEDURE".into(), procedure.into());
        env.insert("REDPOLL_MODE".into(), manifest.mode.to_string().into());
        if manifest.output == ProcedureOutput::Json {
            env.insert("REDPOLL_LINE_LIMIT".into(), manifest.limits.line.unwrap_or(LINE).to_string().into());
        }
        if manifest.manager.is_some() {
            env.insert("REDPOLL_MANAGER".into(), "1".into());
        }
        if let Some(RunContext { run, .. }) = run {
            env.insert("REDPOLL_JOB".into(), run.job.to_string().into());
            env.insert("REDPOLL_ATTEMPT".into(), run.attempt.to_string().into());
            env.insert("REDPOLL_DNO".into(), run.dno.to_string().into());
        }
        env
    }

    /// As whom and within what it runs, if it is not as the agent does.
    fn confine(&self, account: Option<Account>) -> Result<(Option<Confine>, Option<Cgroup>), Fault> {
        let usage = usage(self.manifest());
        let groups = self.setting.cgroups.as_ref();
        let is_needed = account.is_some() || !usage.is_unlimited();
        if !is_needed && !groups.is_some_and(|groups| groups.is_for_all()) {
            return Ok((None, None));
        }
        let Some(helper) = self.setting.helper.clone() else {
            let text = "programs cannot be confined here; nothing ran";
            return if is_needed { Err(Fault::new(FaultCode::Internal, text)) } else { Ok((None, None)) };
        };
        // what is kept for the whole tree is not kept for each process, too: a limit of addresses is a poor one of memory
        let (cgroup, rlimits) = match groups {
            None => (None, usage),
            Some(groups) => groups.hold(&usage).map_err(|error| {
                let text = format!("a control group for it cannot be made, and nothing ran: {error}");
                if is_no_room(&error) { no_room(text) } else { Fault::new(FaultCode::Internal, text) }
            })?,
        };
        let path = cgroup.as_ref().map(|group| group.path().to_owned());
        Ok((Some(Confine { helper, account, rlimits, cgroup: path }), cgroup))
    }
}

fn usage(manifest: &Manifest) -> Usage {
    let limits = &manifest.limits;
    Usage { memory: limits.memory, cpu: limits.cpu, processes: limits.processes }
}
