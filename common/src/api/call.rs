//! The arguments of `rp.call` and `rp.notify`.

use crate::wire::{DecodeError, Fields, Raw, RawMap};

/// The arguments of `rp.call`. `args` and `kwargs` are not looked into on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallArguments {
    /// The agent to call.
    pub agent: String,
    /// The procedure, `name` or `name@version`.
    pub procedure: String,
    /// Its positional arguments: an array.
    pub args: Raw,
    /// Its named arguments: a map.
    pub kwargs: Raw,
}

impl CallArguments {
    /// Reads the named arguments of a request.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing or has another type.
    pub fn read(kwargs: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(kwargs)?;
        Ok(Self {
            agent: fields.text("agent", crate::ids::MAX_NAME_LEN)?.to_owned(),
            procedure: fields.text("procedure", crate::wire::MAX_METHOD_LEN)?.to_owned(),
            args: fields.opt_array("args")?.unwrap_or_else(Raw::empty_array),
            kwargs: fields.opt_map("kwargs")?.unwrap_or_else(Raw::empty_map),
        })
    }

    /// Writes them as the named arguments of a request.
    pub fn write(&self) -> Raw {
        let bytes = self.args.len() + self.kwargs.len();
        begin(&self.agent, &self.procedure, bytes)
            .raw("args", &self.args)
            .raw("kwargs", &self.kwargs)
            .finish()
    }

    /// Writes a call with named arguments only, which `fill` puts where they will stand: large ones, some `bytes` in all, are
    /// not copied from a map of their own.
    pub fn write_named(
        agent: &str,
        procedure: &str,
        bytes: usize,
        fill: impl FnOnce(RawMap) -> RawMap,
    ) -> Raw {
        begin(agent, procedure, bytes).raw("args", &Raw::empty_array()).map("kwargs", fill).finish()
    }
}

fn begin(agent: &str, procedure: &str, bytes: usize) -> RawMap {
    RawMap::with_capacity(agent.len() + procedure.len() + bytes + 64)
        .text("agent", agent)
        .text("procedure", procedure)
}

/// The arguments of `rp.notify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyArguments {
    /// The agent to tell.
    pub agent: String,
    /// The notification's type.
    pub kind: String,
    /// Its content.
    pub data: Raw,
}

impl NotifyArguments {
    /// Reads the named arguments of a request.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing or has another type.
    pub fn read(kwargs: &Raw) -> Result<Self, DecodeError> {
        let fields = Fields::of(kwargs)?;
        Ok(Self {
            agent: fields.text("agent", crate::ids::MAX_NAME_LEN)?.to_owned(),
            kind: fields.text("type", crate::wire::MAX_METHOD_LEN)?.to_owned(),
            data: fields.opt_raw("data")?.unwrap_or_else(Raw::nil),
        })
    }

    /// Writes them as the named arguments of a request.
    pub fn write(&self) -> Raw {
        RawMap::new().text("agent", &self.agent).text("type", &self.kind).raw("data", &self.data).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_and_with_what_is_checked_before_it_is_passed_on() {
        let good = RawMap::new().text("agent", "web-1").text("procedure", "sys.echo");
        let read = CallArguments::read(&good.finish()).unwrap();
        assert_eq!((read.args, read.kwargs), (Raw::empty_array(), Raw::empty_map()));
        for (field, wrong) in
            [("args", Raw::empty_map()), ("kwargs", Raw::empty_array()), ("args", Raw::text("x"))]
        {
            let kwargs =
                RawMap::new().text("agent", "web-1").text("procedure", "sys.echo").raw(field, &wrong);
            let error = CallArguments::read(&kwargs.finish()).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
        assert!(CallArguments::read(&RawMap::new().text("agent", "web-1").finish()).is_err());
    }

    #[test]
    fn arguments_that_are_put_in_place_are_those_that_are_copied() {
        let named = |map: RawMap| map.text("path", "/x").bin("data", &[7; 300]);
        let copied = CallArguments {
            agent: "web-1".to_owned(),
            procedure: "file.write".to_owned(),
            args: Raw::empty_array(),
            kwargs: named(RawMap::new()).finish(),
        };
        assert_eq!(CallArguments::write_named("web-1", "file.write", 300, named), copied.write());
    }
}
