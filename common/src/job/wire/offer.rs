//! `rp.job.offer` and `rp.job.cancel`.

use std::time::Duration;

use super::{RunRef, SpoolState, state};
use crate::job::spec::{Limits, MAX_INFO, Overflow};
use crate::job::submitter::MAX_SUBMITTER;
use crate::roles;
use crate::wire::{DecodeError, Fields, MAX_METHOD_LEN, Raw, RawMap};

/// Bytes the submitter's text may have.
pub const MAX_OPERATOR: usize = MAX_SUBMITTER;

/// The arguments of `rp.job.offer`: run this, once.
///
/// The agent commits it before it accepts. A refusal is a fault (`rejected`, `unknown_procedure`, `bad_arguments`,
/// `overloaded`, `shutting_down`), committed too: the dispatch number is used up. An offer whose number is not above the
/// spool's highest is answered from the spool and never executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Job, attempt and dispatch number.
    pub run: RunRef,
    /// The procedure, `name` or `name@version`.
    pub procedure: String,
    /// Its positional arguments: an array.
    pub args: Raw,
    /// Its named arguments: a map.
    pub kwargs: Raw,
    /// What is left of the limits as the offer leaves; whole milliseconds travel, fractions are rounded up.
    pub limits: Limits,
    /// The caller's own words; `nil` when there are none.
    pub info: Raw,
    /// Who submitted the job.
    pub operator: String,
    /// What that operator is as the offer leaves; an agent has none. `None`: the manager does not say.
    pub roles: Option<Vec<String>>,
}

impl Offer {
    /// Reads the named arguments of a request.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing, has another type or exceeds its limit.
    pub fn read(kwargs: &Raw) -> Result<Self, DecodeError> {
        Self::read_fields(&Fields::of(kwargs)?)
    }

    pub(crate) fn read_fields(fields: &Fields<'_>) -> Result<Self, DecodeError> {
        let info = fields.opt_raw("info")?.unwrap_or_else(Raw::nil);
        if info.len() > MAX_INFO {
            return Err(DecodeError::TooLong { field: "info", len: info.len(), max: MAX_INFO });
        }
        Ok(Self {
            run: RunRef::read(fields)?,
            procedure: fields.text("procedure", MAX_METHOD_LEN)?.to_owned(),
            args: fields.array("args")?,
            kwargs: fields.map("kwargs")?,
            limits: read_limits(fields)?,
            info,
            operator: fields.text("operator", MAX_OPERATOR)?.to_owned(),
            roles: roles::read(fields)?,
        })
    }

    /// Writes them as the named arguments of a request.
    pub fn write(&self) -> Raw {
        let room = self.args.len() + self.kwargs.len() + self.info.len();
        self.write_fields(RawMap::with_capacity(room + 256)).finish()
    }

    pub(crate) fn write_fields(&self, map: RawMap) -> RawMap {
        let map = self.run.write(map);
        let map = map.text("procedure", &self.procedure).raw("args", &self.args).raw("kwargs", &self.kwargs);
        write_limits(map, &self.limits)
            .opt_raw("info", Some(&self.info).filter(|info| !info.is_nil()))
            .text("operator", &self.operator)
            .opt_texts("roles", self.roles.as_deref())
    }
}

fn read_limits(fields: &Fields<'_>) -> Result<Limits, DecodeError> {
    let ms = |field| fields.opt_u64(field).map(|ms| ms.map(Duration::from_millis));
    let overflow = match fields.opt_text("overflow", super::MAX_WORD)? {
        None | Some("truncate") => Overflow::Truncate,
        Some("block") => Overflow::Block,
        Some("kill") => Overflow::Kill,
        Some(_) => {
            return Err(DecodeError::WrongType { field: "overflow", wanted: "block, truncate or kill" });
        }
    };
    Ok(Limits {
        start_within: ms("start_within_ms")?,
        run_timeout: ms("run_ms")?,
        idle_timeout: ms("idle_ms")?,
        grace: ms("grace_ms")?,
        output: fields.opt_u64("output")?,
        overflow,
    })
}

fn write_limits(map: RawMap, limits: &Limits) -> RawMap {
    let ms = |limit: Option<Duration>| limit.map(whole_ms);
    map.opt_uint("start_within_ms", ms(limits.start_within))
        .opt_uint("run_ms", ms(limits.run_timeout))
        .opt_uint("idle_ms", ms(limits.idle_timeout))
        .opt_uint("grace_ms", ms(limits.grace))
        .opt_uint("output", limits.output)
        .opt_text(
            "overflow",
            match limits.overflow {
                Overflow::Truncate => None,
                Overflow::Block => Some("block"),
                Overflow::Kill => Some("kill"),
            },
        )
}

/// Whole milliseconds, fractions rounded up so that a limit never becomes none at all.
pub(crate) fn whole_ms(limit: Duration) -> u64 {
    u64::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The answer of `rp.job.offer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferAnswer {
    /// The agent has it on disk and starts it.
    Accepted,
    /// Its dispatch number was seen before; this is what the spool holds of it. Nothing was executed.
    Known(SpoolState),
}

impl OfferAnswer {
    /// Reads the answer.
    ///
    /// # Errors
    /// [`DecodeError`] when it is neither `accepted: true` nor a state.
    pub fn read(data: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(data)?;
        match fields.opt_bool("accepted")? {
            Some(true) => Ok(Self::Accepted),
            Some(false) => Err(DecodeError::WrongType { field: "accepted", wanted: "true" }),
            None => state(&fields).map(Self::Known),
        }
    }

    /// Writes the answer.
    pub fn write(self) -> Raw {
        match self {
            Self::Accepted => RawMap::new().bool("accepted", true).finish(),
            Self::Known(state) => StateAnswer { state }.write(),
        }
    }
}

/// The arguments of `rp.job.cancel`: end it, or never start it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancel {
    /// Job, attempt and dispatch number.
    pub run: RunRef,
    /// Time between TERM and KILL, in milliseconds; the offer's when it is not given.
    pub grace_ms: Option<u64>,
}

impl Cancel {
    /// Reads the named arguments of a request.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing or has another type.
    pub fn read(kwargs: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(kwargs)?;
        Ok(Self { run: RunRef::read(&fields)?, grace_ms: fields.opt_u64("grace_ms")? })
    }

    /// Writes them as the named arguments of a request.
    pub fn write(&self) -> Raw {
        self.run.write(RawMap::new()).opt_uint("grace_ms", self.grace_ms).finish()
    }
}

/// The answer of `rp.job.cancel`.
///
/// `starting` and `running`: it is being ended, a report follows. `done`: it had ended, or ended now before its start; a
/// report was or will be sent. `absent`: it never ran here and never will; no report follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateAnswer {
    /// What the spool holds.
    pub state: SpoolState,
}

impl StateAnswer {
    /// Reads the answer.
    ///
    /// # Errors
    /// [`DecodeError`] when there is no state in it.
    pub fn read(data: &Raw) -> Result<Self, DecodeError> {
        Ok(Self { state: state(&Fields::of(data)?)? })
    }

    /// Writes the answer.
    pub fn write(self) -> Raw {
        RawMap::new().text("state", self.state.as_str()).finish()
    }
}
