//! What fits into a record and into a report: everything that is written down goes through here first, so that it can be read back and
//! told.

use crate::job::item::Item;
use crate::job::run::{Ending, Outcome};
use crate::wire::codec::MAX_CODE_LEN;
use crate::wire::{Fault, FaultCode, MAX_DEPTH, MAX_NODES, Raw, scan};

/// Levels of nesting that a report puts around a value, and some.
const DEPTH_AROUND: usize = 8;
/// Values that a value may hold, and several together: as many again are left for what is around them.
pub(super) const VALUES: usize = MAX_NODES / 2;
/// Values that an item has beside its content, and some.
const VALUES_OF_ITEM: usize = 8;

/// Whether a value of at most `max` bytes can travel in a report.
pub fn fits(value: &Raw, max: usize) -> bool {
    value.len() <= max && values(value) <= VALUES
}

/// How many values a value holds, itself included; more than there may be when it cannot travel at all.
fn values(value: &Raw) -> usize {
    match scan::measure(value.as_bytes()) {
        Ok(cost) if cost.depth <= MAX_DEPTH - DEPTH_AROUND => cost.nodes,
        Ok(_) | Err(_) => MAX_NODES,
    }
}

/// How many values an item counts among others.
pub(super) fn values_of_item(item: &Item) -> usize {
    values(&item.data) + VALUES_OF_ITEM
}

/// Items in parts that have at most so many items, bytes and values, but at least one item each.
pub(super) fn parts(items: Vec<Item>, max_items: usize, max_bytes: u64) -> Vec<Vec<Item>> {
    let (mut parts, mut part) = (Vec::new(), Vec::new());
    let (mut bytes, mut held) = (0, 0);
    for item in items {
        let (cost, count) = (item.cost(), values_of_item(&item));
        let is_full = part.len() >= max_items || bytes + cost > max_bytes || held + count > VALUES;
        if is_full && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            (bytes, held) = (0, 0);
        }
        (bytes, held) = (bytes + cost, held + count);
        part.push(item);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// An ending that can be written down and told, when a value of it may have `max` bytes: a result that cannot is a failure, and a
/// fault goes without its details.
pub fn fit(mut ending: Ending, max: usize) -> Ending {
    if ending.result.as_ref().is_some_and(|result| !fits(result, max)) {
        let fault = Fault::new(FaultCode::TooLarge, "the result is too large or nests too deep");
        ending = Ending { outcome: Outcome::Failed, result: None, fault: Some(fault), ..ending };
    }
    ending.fault = ending.fault.map(|fault| slim(fault, max));
    ending
}

/// A fault without what would not fit: a message stays.
fn slim(mut fault: Fault, max: usize) -> Fault {
    let details = || [&fault.args, &fault.state, &fault.data].into_iter().flatten();
    let fit = details().all(|raw| raw.len() <= max / 4) && details().map(values).sum::<usize>() <= VALUES;
    if !fit {
        (fault.args, fault.state, fault.data) = (None, None, None);
    }
    let cut = |text: &mut String| text.truncate(text.floor_char_boundary(max / 8));
    cut(&mut fault.message);
    [&mut fault.class, &mut fault.module, &mut fault.trace].into_iter().flatten().for_each(cut);
    if fault.code.as_str().len() > MAX_CODE_LEN {
        fault.code = FaultCode::Internal;
    }
    fault
}

/// About how many bytes an ending takes.
pub(super) fn size(ending: &Ending) -> u64 {
    let fault = ending.fault.as_ref().map_or(0, |fault| {
        let raws = [&fault.args, &fault.state, &fault.data].into_iter().flatten().map(Raw::len);
        let texts = [&fault.class, &fault.module, &fault.trace].into_iter().flatten().map(String::len);
        fault.message.len() + raws.sum::<usize>() + texts.sum::<usize>()
    });
    to_u64(fault + ending.result.as_ref().map_or(0, Raw::len))
}

pub(super) fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
