//! Orders whose answer says nothing: people see no line, as of other tools, and scripts a small document.

use rmpv::Value;

use super::told;
use crate::Ended;
use crate::exit::Exit;
use crate::follow::records::map;
use crate::output::{Format, Output};
use crate::value::Shown;

/// What was done, in the formats of scripts. `done` and where to `look` are for who has no room for that.
pub(super) fn done<'k>(
    entries: impl IntoIterator<Item = (&'k str, Value)>,
    (done, look): (&str, &str),
    output: &mut Output,
) -> Ended {
    if output.format() == Format::Table {
        return Ok(Exit::Good);
    }
    told(output.document(&Shown(&map(entries))), Exit::Good, done, look)
}
