//! What of a procedure's values nobody may see, taken out before they leave the process.

use std::fmt;
use std::sync::Arc;

use redpoll_common::wire::{Fault, Raw};

/// Takes secrets out of a value.
#[derive(Clone)]
pub struct Mask(Arc<dyn Fn(&Raw) -> Raw + Send + Sync>);

impl Mask {
    /// A mask that gives each value without its secrets.
    pub fn new(mask: impl Fn(&Raw) -> Raw + Send + Sync + 'static) -> Self {
        Self(Arc::new(mask))
    }

    /// A value without its secrets.
    pub fn apply(&self, value: &Raw) -> Raw {
        (self.0)(value)
    }

    /// An answer without its secrets. Message and trace of a fault are texts, which have no paths, and stay.
    pub fn answer(&self, answer: Result<Raw, Fault>) -> Result<Raw, Fault> {
        let part = |value: Option<Raw>| value.map(|value| self.apply(&value));
        match answer {
            Ok(result) => Ok(self.apply(&result)),
            Err(fault) => Err(Fault {
                args: part(fault.args),
                state: part(fault.state),
                data: part(fault.data),
                ..fault
            }),
        }
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mask")
    }
}
